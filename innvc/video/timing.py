"""Timestamps: is a list of them a constant rate that its time base had to round?"""

from __future__ import annotations

from fractions import Fraction

DEFAULT_FRAME_RATE = Fraction(25)
_ROUNDED_STEP = 4
_NTSC = [Fraction(base * 1000, 1001) for base in (12, 15, 24, 30, 48, 60, 120, 240)]


def fraction(value: Fraction | None) -> Fraction | None:
    """A rational of any PyAV version; None for unset, 0/0 and values that are not positive."""
    if not value or not value.denominator or value.numerator <= 0:
        return None
    return Fraction(value.numerator, value.denominator)


def nominal_rate(frames_per_second: float) -> Fraction:
    """The exact rate behind a decimal such as 29.97."""
    for rate in _NTSC:
        if abs(float(rate) - frames_per_second) < 0.005:
            return rate
    return Fraction(frames_per_second).limit_denominator(1001)


def standard_rate(rate: Fraction | None) -> Fraction | None:
    """The standard rate that a container could only write roughly, such as 19001/317 for 60/1.001.

    A rate that is not within a millionth of a standard one comes back as it is.
    """
    near = (r for r in _NTSC if rate and abs(rate / r - 1) < Fraction(1, 10**6))
    return next(near, rate)


def is_constant(pts: list[int], time_base: Fraction, rate: Fraction) -> bool:
    """Whether every timestamp is at its place of a constant rate, but for rounding.

    Two roundings, that of the first timestamp and that of the one compared, stay below one unit
    of the time base together; a whole unit is already a displaced picture. Where a picture lasts
    only a few units, rounding and displacement look alike, so there the match must be exact.
    """
    step = 1 / (rate * time_base)
    if step < _ROUNDED_STEP:
        return all(t - pts[0] == i * step for i, t in enumerate(pts))
    return all(abs(t - pts[0] - i * step) < 1 for i, t in enumerate(pts))


def constant_rate(
    pts: list[int], time_base: Fraction, declared: list[Fraction | None]
) -> Fraction | None:
    """The constant rate that explains the timestamps, or None where they vary.

    Args:
        pts: timestamps in display order, in units of `time_base`.
        time_base: seconds a unit.
        declared: rates the container claims, the most trusted first; the mean rate of the
            timestamps and the standard rates near it are tried after them.
    """
    candidates = [rate for rate in declared if rate]
    if len(pts) > 1 and pts[-1] > pts[0]:
        mean = Fraction(len(pts) - 1) / ((pts[-1] - pts[0]) * time_base)
        standard = [*map(Fraction, (24, 25, 30, 50, 60, 100, 120)), *_NTSC]
        candidates += sorted(standard, key=lambda rate: abs(rate - mean))[:2] + [mean]
    return next((r for r in candidates if is_constant(pts, time_base, r)), None)


def mean_rate(pts: list[int], time_base: Fraction) -> Fraction | None:
    """Pictures a second over the whole list, None for fewer than two."""
    if len(pts) < 2 or pts[-1] <= pts[0]:
        return None
    return Fraction(len(pts) - 1) / ((pts[-1] - pts[0]) * time_base)
