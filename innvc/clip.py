"""The source of an encode: its frames, counted, read twice, in segments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from innvc.bitstream.chunks import SIGNATURE
from innvc.bitstream.header import Limits
from innvc.bitstream.streams import StreamsRecord
from innvc.errors import InputError, LimitError
from innvc.video.formats import Frame
from innvc.video.scenes import scene_cuts
from innvc.video.source import VideoSource

SEGMENT_SAMPLES = 1 << 26  # of all planes: what a segment may hold in memory
SEGMENT_FRAMES = 32  # at least, whatever their size
RATIO_LIMIT = 1 << 31  # of numerators and denominators in a file


class Clip:
    """The selected frames of a source.

    Args:
        video: The source.
        from_stdin: It cannot be read twice.
        segment: Frames of each segment but the last; None goes by their size and by scene cuts.

    Attributes:
        info: What the file will say of them.
        count: How many there are.
        lengths: Frames of each segment.

    Raises:
        InputError: there are no frames.
        LimitError: the size or the number of frames is above what a file can hold.
    """

    def __init__(self, video: VideoSource, from_stdin: bool, segment: int | None = None) -> None:
        info = video.info
        self.info = replace(
            info,
            frame_rate=_storable(info.frame_rate),
            time_base=_storable(info.time_base),
            sample_aspect=_storable(info.sample_aspect),
        )
        self._video = video
        self._samples = info.format.frame_bytes(info.width, info.height)
        self._samples //= info.format.dtype.itemsize
        _check_limit("width or height", max(info.width, info.height), Limits.dimension)
        _check_limit("samples a frame", self._samples, Limits.frame_samples)
        # A pipe cannot be read twice.
        self._kept: list[Frame] | None = list(video) if from_stdin else None
        if self._kept is not None:
            self.count = len(self._kept)
        elif video.frame_count is not None:
            self.count = video.frame_count
        else:
            self.count = sum(1 for _ in video)
        if not self.count:
            raise InputError("The input has no frames.")
        _check_limit("frames", self.count, Limits.frames)
        if segment is None:
            self.lengths = self._lengths()
        else:
            self.lengths = _lengths(self.count, segment, segment, [])

    def _lengths(self, cuts: bool = True) -> list[int]:
        """Of segments as long as memory allows, ending with a scene where one ends."""
        longest = max(SEGMENT_FRAMES, SEGMENT_SAMPLES // self._samples // 32 * 32)
        found = scene_cuts(self, self.info) if cuts and self.count > longest else []
        return _lengths(self.count, longest, 32, found)

    def streams(self) -> StreamsRecord | None:
        """Audio and subtitles beside the frames, None where there are none."""
        return self._video.streams()

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._video if self._kept is None else self._kept)

    def sample(self, count: int, run: int) -> Clip:
        """Some frames as a clip of their own in memory, without time stamps.

        Args:
            count: How many, at most half of them.
            run: How many at most follow each other; runs are spread evenly.
        """
        runs, run = -(-count // run), min(run, count)
        wanted = {
            round((i // run + 0.5) * self.count / runs) - run // 2 + i % run for i in range(count)
        }
        result = copy(self)
        result._kept = [
            replace(frame, pts=None) for number, frame in enumerate(self) if number in wanted
        ]
        result.count = len(result._kept)
        result.lengths = result._lengths(cuts=False)
        return result

    def segments(self) -> Iterator[list[Frame]]:
        """The frames of one segment after the other; the total must be what was counted."""
        run: list[Frame] = []
        total = number = 0
        for frame in self:
            run.append(frame)
            total += 1
            if number < len(self.lengths) and len(run) == self.lengths[number]:
                yield run
                run, number = [], number + 1
        if run:
            yield run
        if total != self.count:
            raise InputError(
                f"The input gave {total} frames where {self.count} were expected.",
                "Choose those that can be read with --frames, or repair the file.",
            )


def _lengths(count: int, longest: int, unit: int, cuts: Sequence[int]) -> list[int]:
    """Lengths of segments: nearly equal, in whole units but the last, or ending where a scene does.

    Args:
        count: Frames.
        longest: Of a segment.
        cuts: First frames of scenes, ascending.
    """
    ends = [0]
    while ends[-1] < count:
        rest = count - ends[-1]
        equal = -(-rest // (-(-rest // longest) * unit)) * unit
        end = ends[-1] + min(longest, equal)
        near = [cut for cut in cuts if end - equal // 4 <= cut < end]
        ends.append(min(near[-1] if near and end < count else end, count))
    return [b - a for a, b in pairwise(ends)]


def refuse_innv(path: str) -> None:
    """Refuses an .innv file as the source of an encode.

    Raises:
        InputError: the file is one.
    """
    if path != "-" and is_innv(path):
        raise InputError(
            f"'{path}' is an .innv file, not video.", "Decode it first, with innvc decode."
        )


def is_innv(path: str | os.PathLike[str]) -> bool:
    """Whether a file has the signature; the name decides where it cannot be read."""
    try:
        with open(path, "rb") as file:
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
    except (OSError, ValueError):
        pass
    return os.fspath(path).lower().endswith(".innv")


def _check_limit(what: str, value: int, limit: int) -> None:
    if value > limit:
        raise LimitError(f"The input has {what} of {value}, above the limit of {limit}.")


def _storable(ratio: Fraction | None) -> Fraction | None:
    """The ratio, or the nearest one that a file can hold; None where none is near."""
    if ratio is None or max(ratio.numerator, ratio.denominator) < RATIO_LIMIT:
        return ratio
    near = ratio.limit_denominator(max(1, int((RATIO_LIMIT - 1) / max(ratio, Fraction(1)))))
    return near if 0 < near.numerator < RATIO_LIMIT else None
