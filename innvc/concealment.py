"""Frames in place of those that a damaged file has lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from innvc.errors import CorruptError, DamageError, merged
from innvc.video.formats import Frame, VideoInfo


class Concealment:
    """Gives each frame of a video, one in its place where it is lost.

    That is the picture of the field where there is one, else the last frame before that is not
    lost, else the next one after, else mid grey.

    Args:
        decode: Gives a frame of the video; raises DamageError where it is lost.
        field: Gives the field's picture of a lost frame; None where the model has no field. It may
            raise CorruptError.
        pts: Gives the time stamp of a frame; may raise CorruptError.
        count: Frames of the video.
        info: Of the frames.

    Attributes:
        lost: Half-open ranges of the lost frames that were met, ascending.
    """

    def __init__(
        self,
        decode: Callable[[int], Frame],
        field: Callable[[int], Frame] | None,
        pts: Callable[[int], int | None],
        count: int,
        info: VideoInfo,
    ) -> None:
        self.lost: list[tuple[int, int]] = []
        self._decode = decode
        self._field = field
        self._pts = pts
        self._count = count
        self._info = info
        self._near: tuple[int, Frame] | None = None  # what stands in for others, and its place

    def frame(self, index: int) -> Frame:
        """A frame of the video, or the one in its place."""
        good = self._good(index)
        if good is not None:
            return good
        if self._field is not None:
            try:
                return self._field(index)
            except CorruptError:
                pass  # its parameters are damaged, too
        place, shown = self._nearest(index)
        try:
            pts = self._pts(index)
        except CorruptError:  # stamps ascend, so that there is room for these
            pts = None if shown.pts is None else shown.pts + index - place
        return replace(shown, pts=pts)

    def _good(self, index: int) -> Frame | None:
        """The frame itself; None if it is lost."""
        if self._run(index):
            return None
        try:
            return self._decode(index)
        except DamageError as error:
            self.lost = merged([*self.lost, *error.frames])
            if not self._run(index):
                raise
            return None

    def _run(self, index: int) -> tuple[int, int] | None:
        """The run of lost frames that a frame is in; None if it is not known to be lost."""
        return next(((first, last) for first, last in self.lost if first <= index < last), None)

    def _nearest(self, index: int) -> tuple[int, Frame]:
        """The place of the frame that stands in for a lost one, and that frame."""
        while run := self._run(index):
            place = run[0] - 1 if run[0] else run[1]
            if self._near is not None and self._near[0] == place:
                break
            shown = self._good(place) if place < self._count else self._grey()
            if shown is not None:  # else the run has grown
                self._near = place, shown
        assert self._near is not None  # there is a run: the frame is lost
        return self._near

    def _grey(self) -> Frame:
        form, size = self._info.format, (self._info.width, self._info.height)
        return Frame(
            [
                np.full(form.plane_size(plane, *size), 1 << (form.depth - 1), form.dtype)
                for plane in range(form.planes)
            ]
        )
