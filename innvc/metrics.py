"""Quality of decoded video: PSNR, MS-SSIM, BD-rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from innvc.errors import UsageError

if TYPE_CHECKING:
    from innvc.video.formats import PixelFormat

Plane = np.ndarray[Any, np.dtype[Any]]

MSSSIM_WINDOW = 11
MSSSIM_MIN_SIDE = (MSSSIM_WINDOW - 1) * 16 + 1  # four halvings


def squared_error(reference: Plane, plane: Plane) -> int:
    """Sum of the squared differences of two integer planes, exact.

    Raises:
        ValueError: the planes differ in shape or do not hold integers.
    """
    if reference.shape != plane.shape:
        raise ValueError(f"planes of {reference.shape} and {plane.shape} cannot be compared")
    if reference.dtype.kind not in "iu" or plane.dtype.kind not in "iu":
        raise ValueError("planes must hold integers")
    difference = np.subtract(reference, plane, dtype=np.int64)
    return int(np.vdot(difference, difference))


def plane_mse(reference: Plane, plane: Plane) -> float:
    """Mean squared error of two integer planes, in squared code values.

    Raises:
        ValueError: the planes differ in shape or do not hold integers.
    """
    return squared_error(reference, plane) / reference.size


def psnr(mse: float, peak: int) -> float:
    """PSNR in dB of a mean squared error; infinite where it is 0."""
    return math.inf if mse == 0 else 10 * math.log10(peak * peak / mse)


def to_json_value(value: float | None) -> float | None:
    """The value as JSON can hold it: infinite (identical) and unknown values become null."""
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Quality:
    """Quality of a video. For RGB the planes are named by position: y is G, u is B, v is R.

    Attributes:
        frames: Frames that were compared.
        psnr_y: dB, from the mean squared error over all frames; infinite for identical planes.
        psnr_u: dB; None for gray.
        psnr_v: dB; None for gray.
        psnr_611: (6 y + u + v) / 8 in dB. For gray it is psnr_y. For RGB it is the equal mean of
            the three, since each of them carries luma. Identical planes are left out of the mean
            (an untouched chroma plane says nothing of the luma) unless all are identical.
        msssim_y: MS-SSIM of plane 0, mean over the frames; None if not asked for, or where a side
            is below 161 samples.
    """

    frames: int
    psnr_y: float
    psnr_u: float | None
    psnr_v: float | None
    psnr_611: float
    msssim_y: float | None


class QualityMeter:
    """Compares two videos frame by frame.

    Args:
        format: The pixel format of both.
        msssim: Whether to compute MS-SSIM, which is slow and needs torch and pytorch-msssim.
    """

    def __init__(self, format: PixelFormat, msssim: bool = False) -> None:
        self.format = format
        self.msssim = msssim
        self._frames = 0
        self._errors = [0] * format.planes  # sums of squared differences
        self._samples = [0] * format.planes
        self._similarity: float | None = 0.0 if msssim else None

    def update(self, reference: Sequence[Plane], planes: Sequence[Plane]) -> list[float]:
        """Adds a frame, given as its planes.

        Returns:
            PSNR of each of its planes in dB.

        Raises:
            ValueError: the planes differ in number or shape.
        """
        if not len(reference) == len(planes) == self.format.planes:
            raise ValueError(f"a frame of {self.format.name} has {self.format.planes} planes")
        decibels = []
        for index, (a, b) in enumerate(zip(reference, planes, strict=True)):
            error = squared_error(a, b)
            self._errors[index] += error
            self._samples[index] += a.size
            decibels.append(psnr(error / a.size, self.format.peak))
        self._frames += 1
        if self._similarity is not None:
            value = plane_msssim(reference[0], planes[0], self.format.peak)
            self._similarity = None if value is None else self._similarity + value
        return decibels

    def result(self) -> Quality:
        """The quality of the frames so far.

        Raises:
            ValueError: there are none.
        """
        if not self._frames:
            raise ValueError("no frames were compared")
        decibels = [
            psnr(error / samples, self.format.peak)
            for error, samples in zip(self._errors, self._samples, strict=True)
        ]
        chroma = decibels[1:]
        weights = (6, 1, 1) if self.format.family == "yuv" else (1, 1, 1)
        similarity = self._similarity
        return Quality(
            frames=self._frames,
            psnr_y=decibels[0],
            psnr_u=chroma[0] if chroma else None,
            psnr_v=chroma[1] if chroma else None,
            psnr_611=_weighted(decibels, weights),
            msssim_y=None if similarity is None else similarity / self._frames,
        )


def _weighted(decibels: Sequence[float], weights: Sequence[int]) -> float:
    pairs = [(d, w) for d, w in zip(decibels, weights, strict=False) if math.isfinite(d)]
    if not pairs:
        return math.inf
    return sum(d * w for d, w in pairs) / sum(w for _, w in pairs)


def plane_msssim(reference: Plane, plane: Plane, peak: int) -> float | None:
    """MS-SSIM of two planes (pytorch-msssim, window 11, five scales), in float64.

    Args:
        reference: [height, width] integers.
        plane: The same shape.
        peak: The largest code value.

    Returns:
        At most 1; None where a side is below 161 samples, too small for five scales.
    """
    if min(reference.shape) < MSSSIM_MIN_SIDE:
        return None
    import torch
    from pytorch_msssim import ms_ssim

    # float32 loses the local variances (a difference of squares) at high quality and depth.
    pair = [torch.from_numpy(p.astype(np.float64))[None, None] for p in (reference, plane)]
    with torch.inference_mode():
        return float(ms_ssim(*pair, data_range=peak, win_size=MSSSIM_WINDOW))


@dataclass(frozen=True)
class BdRate:
    """The mean rate difference of two curves at equal quality.

    Attributes:
        percent: Rate of the test over the anchor; negative is better. None without overlap.
        low_db: Lower end of the interval that was integrated, in dB.
        high_db: Upper end; not above low_db if there is no overlap.
    """

    percent: float | None
    low_db: float
    high_db: float


def bd_rate(
    anchor: Sequence[tuple[float, float]],
    test: Sequence[tuple[float, float]],
    low: float | None = None,
    high: float | None = None,
    method: Literal["pchip", "akima"] = "pchip",
) -> BdRate:
    """Bjontegaard's delta rate, by the library ``bjontegaard``.

    Args:
        anchor: Points (rate in any unit, PSNR in dB) in any order; those of infinite PSNR are left
            out.
        test: The same for the codec under test.
        low: Integrate from this PSNR, where the curves reach so far down.
        high: Integrate up to this PSNR, where the curves reach so far up.
        method: Interpolation of log rate over PSNR.

    Raises:
        UsageError: a curve has fewer than two points, a rate that is not positive, or a PSNR that
            does not rise with the rate; or the library is not installed.
    """
    try:
        import bjontegaard
    except ImportError as error:
        raise UsageError(
            "BD-rate needs the package 'bjontegaard'.", "Install it with: pip install bjontegaard"
        ) from error
    curves = [_curve(points) for points in (anchor, test)]
    (rate_a, psnr_a), (rate_t, psnr_t) = curves
    low_db = max(psnr_a[0], psnr_t[0], -math.inf if low is None else low)
    high_db = min(psnr_a[-1], psnr_t[-1], math.inf if high is None else high)
    if high_db <= low_db:
        return BdRate(None, low_db, high_db)
    # The library integrates over the whole overlap; its interpolators know narrower intervals.
    _, curve_a, curve_t = bjontegaard.bd_rate(
        rate_a, psnr_a, rate_t, psnr_t, method=method, require_matching_points=False,
        interpolators=True, min_overlap=0,
    )  # fmt: skip
    difference = curve_t.integrate(low_db, high_db) - curve_a.integrate(low_db, high_db)
    return BdRate(float(10 ** (difference / (high_db - low_db)) - 1) * 100, low_db, high_db)


def _curve(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Rates and PSNRs in rising order."""
    finite = sorted((rate, quality) for rate, quality in points if math.isfinite(quality))
    rates, qualities = [p[0] for p in finite], [p[1] for p in finite]
    if len(finite) < 2 or rates[0] <= 0:
        raise UsageError("A rate-distortion curve needs at least two points of positive rate.")
    steps = zip(qualities, qualities[1:], strict=False)
    if any(a >= b for a, b in steps):
        raise UsageError("PSNR must rise with the rate along a rate-distortion curve.")
    return rates, qualities
