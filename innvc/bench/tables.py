"""BD-rates of InnVC against each peer, clip by clip, and their means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from innvc.errors import UsageError
from innvc.metrics import bd_rate

Row = dict[str, Any]
Curves = Mapping[tuple[str, str], Sequence[Row]]  # by clip and codec

METRICS = {"psnr_y": "PSNR-Y", "psnr_611": "PSNR 6:1:1"}
SPLIT_DB = 40.0
RANGES: dict[str, tuple[float | None, float | None]] = {
    "below 40 dB": (None, SPLIT_DB),
    "above 40 dB": (SPLIT_DB, None),
    "whole": (None, None),
}
ENOUGH = 4  # points of a curve in or beside an interval, as Bjontegaard's method was made for
NARROW_DB = 2.0
EITHER = "either"  # the upper envelope of all of InnVC's curves


@dataclass(frozen=True)
class Cell:
    """One BD-rate.

    Attributes:
        percent: Rate of `test` over that of `anchor` at equal quality, negative is better; None
            where the curves do not overlap in the range.
        low_db, high_db: The interval that it holds for.
        anchor_points, test_points: Points of the curves in the interval or next to it.
        trusted: Whether both have four and the interval has 2 dB.
    """

    test: str
    anchor: str
    clip: str
    metric: str
    range: str
    percent: float | None
    low_db: float | None
    high_db: float | None
    anchor_points: int
    test_points: int

    @property
    def trusted(self) -> bool:
        return (
            self.low_db is not None
            and self.high_db is not None
            and min(self.anchor_points, self.test_points) >= ENOUGH
            and self.high_db - self.low_db >= NARROW_DB
        )

    def to_json(self) -> Row:
        return asdict(self) | {"trusted": self.trusted}


@dataclass(frozen=True)
class Mean:
    """The mean of a column of cells.

    Attributes:
        percent: None where no clip has a value.
        clips: Clips that have one.
        worst_percent, worst_clip: The largest.
    """

    test: str
    anchor: str
    metric: str
    range: str
    percent: float | None
    clips: int
    worst_percent: float | None
    worst_clip: str | None


def front(rows: Sequence[Row], metric: str) -> list[tuple[float, float]]:
    """(bytes, dB) of the points that no smaller point equals or beats, in rising order.

    Lossless points have no place on a curve and are left out.
    """
    result: list[tuple[float, float]] = []
    for size, db in sorted((r["bytes"], r[metric]) for r in rows if r[metric] is not None):
        if not result or db > result[-1][1]:
            if result and result[-1][0] == size:
                result.pop()
            result.append((size, db))
    return result


def _near(curve: Sequence[tuple[float, float]], low: float, high: float) -> int:
    """Points in [low, high] and the nearest one on either side."""
    inside = sum(low <= db <= high for _, db in curve)
    return inside + any(db < low for _, db in curve) + any(db > high for _, db in curve)


def cell(
    anchor: Sequence[Row], test: Sequence[Row], metric: str, range_: str
) -> tuple[float | None, float | None, float | None, int, int]:
    """Percent, interval and counts of one BD-rate (see Cell)."""
    curves = [front(rows, metric) for rows in (anchor, test)]
    low, high = RANGES[range_]
    try:
        found = bd_rate(curves[0], curves[1], low, high)
    except UsageError:  # fewer than two points
        return None, None, None, len(curves[0]), len(curves[1])
    if found.percent is None:
        return None, None, None, 0, 0
    counts = [_near(curve, found.low_db, found.high_db) for curve in curves]
    return found.percent, found.low_db, found.high_db, counts[0], counts[1]


def with_envelope(curves: Curves, tests: Sequence[str]) -> tuple[Curves, list[str]]:
    """Adds the envelope of InnVC's curves where there are several: the better one at each rate."""
    if len(tests) < 2:
        return curves, list(tests)
    clips = dict.fromkeys(clip for clip, _ in curves)
    either = {
        (clip, EITHER): [row for test in tests for row in curves.get((clip, test), ())]
        for clip in clips
    }
    return {**curves, **either}, [*tests, EITHER]


def cells(curves: Curves, tests: Sequence[str], anchors: Sequence[str]) -> list[Cell]:
    """All BD-rates: by test, anchor, metric, range and clip."""
    clips = dict.fromkeys(clip for clip, _ in curves)
    return [
        Cell(test, anchor, clip, metric, range_, *cell(theirs, ours, metric, range_))
        for test in tests
        for anchor in anchors
        for metric in METRICS
        for range_ in RANGES
        for clip in clips
        if (ours := curves.get((clip, test))) and (theirs := curves.get((clip, anchor)))
    ]


def means(table: Sequence[Cell]) -> list[Mean]:
    """Means over the clips."""
    columns: dict[tuple[str, str, str, str], list[Cell]] = {}
    for item in table:
        key = (item.test, item.anchor, item.metric, item.range)
        columns.setdefault(key, []).append(item)
    result = []
    for key, column in columns.items():
        known = [(c.percent, c.clip) for c in column if c.percent is not None]
        worst = max(known, default=(None, None))
        average = mean(percent for percent, _ in known) if known else None
        result.append(Mean(*key, average, len(known), *worst))
    return result
