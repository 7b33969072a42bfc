"""What a file shall reach, and the search for the lambda that reaches it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from innvc.errors import UsageError
from innvc.metrics import Quality
from innvc.video.formats import VideoInfo

LAMBDAS = 1e-5, 1e4
PSNR_TOLERANCE = 0.1  # dB to either side
SIZE_TOLERANCE = 0.02  # below the size; a file is never meant to be larger
LOSSLESS_DB = 120.0  # stands for an infinite PSNR


def lambda_of(quality: float) -> float:
    """The lambda of a quality of 0 to 100: about 25 to 60 dB, 50 is about 42.

    Raises:
        UsageError: it is out of range.
    """
    if not 0 <= quality <= 100:
        raise UsageError(f"A quality of {quality:g} is out of range.", "Give 0 to 100.")
    return float(10 ** (0.035 * quality - 2.3))


@dataclass(frozen=True)
class Target:
    """A quantity that the file shall have; it grows with lambda.

    Attributes:
        psnr_y: PSNR of plane 0 of all frames, in dB; or None.
        bytes: Of the file; or None.
    """

    psnr_y: float | None = None
    bytes: int | None = None

    def value(self, size: int, quality: Quality) -> float:
        """The quantity, on a scale that is nearly linear in log lambda."""
        if self.bytes is None:
            return min(quality.psnr_y, LOSSLESS_DB)
        return math.log10(size)

    @property
    def slope(self) -> float:
        """How the value grows with log10 lambda, about."""
        return 10.0 if self.bytes is None else 0.35

    @property
    def accepted(self) -> tuple[float, float]:
        """The values that are near enough."""
        if self.bytes is None:
            assert self.psnr_y is not None
            return self.psnr_y - PSNR_TOLERANCE, self.psnr_y + PSNR_TOLERANCE
        return math.log10(self.bytes * (1 - SIZE_TOLERANCE)), math.log10(self.bytes)

    @property
    def guess(self) -> float:
        """log10 lambda to begin with, where nothing is known of the clip."""
        return 0.0 if self.psnr_y is None else (self.psnr_y - 48) / 10

    def of_part(self, share: float, fixed: int) -> Target:
        """The target for a part of the frames, without `fixed` bytes of the file."""
        if self.bytes is None:
            return self
        return Target(bytes=max(1, round((self.bytes - fixed) * share)))

    def __str__(self) -> str:
        return f"{self.psnr_y:g} dB" if self.bytes is None else f"{self.bytes} bytes"


def target_of(
    info: VideoInfo,
    frames: int,
    psnr: float | None,
    size: int | None,
    bitrate: float | None,
) -> Target | None:
    """The target that at most one of the options sets.

    Args:
        info, frames: Of the clip.
        psnr: In dB.
        size: In bytes.
        bitrate: In bits a second.

    Raises:
        UsageError: it cannot be meant.
    """
    if psnr is not None:
        if not 10 <= psnr <= 100:
            raise UsageError(f"A PSNR of {psnr:g} dB is out of range.", "Give 10 to 100.")
        return Target(psnr_y=psnr)
    if bitrate is not None:
        if info.frame_rate is None:
            raise UsageError("The input has no frame rate.", "Give --target-size, or --fps.")
        size = int(Fraction(bitrate) * frames / info.frame_rate / 8)
    if size is None:
        return None
    if not 0 < size < 1 << 50:
        raise UsageError(f"A file of {size} bytes cannot be made.", "Give more, as in 10M.")
    return Target(bytes=size)


class Search:
    """Finds the lambda of a target by trying: secants, and what lies between two tries.

    Args:
        target: To reach.
        start: log10 lambda of the first try.
        slope: Of the target's value there.
        most: Tries.

    Attributes:
        next: log10 lambda that is expected to reach it.
        tries: log10 lambda and value of each try.
    """

    def __init__(self, target: Target, start: float, slope: float, most: int) -> None:
        self.target = target
        self.slope = slope
        self.next = start
        self._most = most
        self.tries: list[tuple[float, float]] = []

    def lambda_(self) -> float | None:
        """What to try next; None is the end."""
        low, high = self.target.accepted
        if len(self.tries) == self._most or (self.tries and low <= self.tries[-1][1] <= high):
            return None
        x = min(max(self.next, math.log10(LAMBDAS[0])), math.log10(LAMBDAS[1]))
        if any(abs(x - known) < 1e-4 for known, _ in self.tries):
            return None
        return min(max(10**x, LAMBDAS[0]), LAMBDAS[1])

    def add(self, lambda_: float, value: float) -> None:
        """What a try gave."""
        x, aim = math.log10(lambda_), sum(self.target.accepted) / 2
        self.tries.append((x, value))
        below = max((t for t in self.tries if t[1] <= aim), default=None)
        above = min((t for t in self.tries if t[1] > aim), default=None)
        usual = self.target.slope
        if below and above and below[0] < above[0]:
            self.slope = (above[1] - below[1]) / (above[0] - below[0])
        elif len(self.tries) > 1:
            (x0, y0), (x1, y1) = self.tries[-2:]
            self.slope = min(max((y1 - y0) / (x1 - x0), usual / 4), usual * 4)
        near = min(self.tries, key=lambda t: abs(t[1] - aim))
        self.next = near[0] + (aim - near[1]) / self.slope

    @property
    def best(self) -> int:
        """Number of the try that came nearest; of sizes, one that is not too large."""
        low, high = self.target.accepted

        def miss(i: int) -> tuple[bool, float]:
            value = self.tries[i][1]
            too_large = self.target.bytes is not None and value > high
            return too_large, abs(value - (low + high) / 2)

        return min(range(len(self.tries)), key=miss)

    @property
    def reached(self) -> bool:
        """Whether the best try is near enough."""
        low, high = self.target.accepted
        return low <= self.tries[self.best][1] <= high
