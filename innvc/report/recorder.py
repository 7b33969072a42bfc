"""Keeps, while an encode runs, what its report shows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from innvc.progress import EncodeProgress
from innvc.report.pictures import Painter, spread
from innvc.video.formats import VideoInfo

PICTURES = 8  # frames that are shown, at most
POINTS = 400  # of a curve, at most


class Curve:
    """Means over equal runs of steps; the runs grow with the number of steps."""

    def __init__(self) -> None:
        self.run = 1  # steps of a point
        self._sums: list[list[float]] = []  # count, step, and the values of each point

    def add(self, step: int, *values: float) -> None:
        """The values after a step."""
        new = [1.0, float(step), *values]
        if self._sums and self._sums[-1][0] < self.run:
            self._sums[-1] = _added(self._sums[-1], new)
            return
        if len(self._sums) == POINTS:
            self._sums = [_added(*self._sums[i : i + 2]) for i in range(0, POINTS, 2)]
            self.run *= 2
        self._sums.append(new)

    def points(self) -> list[list[float]]:
        """Step and values of each point, means of its run."""
        return [[total / sums[0] for total in sums[1:]] for sums in self._sums]


def _added(a: list[float], b: list[float]) -> list[float]:
    return [x + y for x, y in zip(a, b, strict=True)]


@dataclass
class PassRecord:
    """What one pass over the whole clip gave.

    Attributes:
        decibels: PSNR of each plane of each frame.
        pictures: Original and decoded picture of some frames, by their number.
        bytes, psnr_y: Of the file.
    """

    lambda_: float
    chosen: frozenset[int]
    painter: Painter
    decibels: list[list[float]] = field(default_factory=list)
    pictures: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    bytes: int = 0
    psnr_y: float = math.nan

    def add(
        self, original: Sequence[np.ndarray], decoded: Sequence[np.ndarray], decibels: list[float]
    ) -> None:
        """The next frame."""
        number = len(self.decibels)
        if number in self.chosen:
            self.pictures[number] = self.painter.webp(original), self.painter.webp(decoded)
        self.decibels.append(decibels)


class Recorder:
    """Follows an encode.

    Args:
        info: Of the clip.
        frames: It has.

    Attributes:
        passes: Over the whole clip.
        fits: The curve of each segment: loss, bits per sample, distortion.
        seconds: Of each phase of the encode, in all passes.
    """

    def __init__(self, info: VideoInfo, frames: int) -> None:
        self.info = info
        self.painter = Painter(info)
        self._chosen = frozenset(spread(frames, PICTURES))
        self.passes: list[PassRecord] = []
        self.fits: dict[int, Curve] = {}
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def begin_pass(self, lambda_: float) -> PassRecord:
        """The record of a pass that begins."""
        if not self.passes:
            self.fits.clear()  # those of a sample of the clip
        self.passes.append(PassRecord(lambda_, self._chosen, self.painter))
        return self.passes[-1]

    def following(
        self, report: Callable[[EncodeProgress], None]
    ) -> Callable[[EncodeProgress], None]:
        """A report of progress that is kept, too."""

        def both(state: EncodeProgress) -> None:
            now = time.monotonic()
            self.seconds[state.phase] = self.seconds.get(state.phase, 0.0) + now - self._last
            self._last = now
            if state.fit is not None:
                curve = self.fits.setdefault(state.segment, Curve())
                curve.add(state.fit.step, state.fit.loss, state.fit.bpp, state.fit.distortion)
            report(state)

        return both
