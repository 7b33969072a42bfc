"""Shipped starting points: trained values that parameters are differences from (docs/starts.md).

Id 0 is the analytic start of `start.py` and fits every model. The others are data files made by
`training/train_start.py`, integers in units of 2^-10, for one plane layout each.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from innvc.errors import InnvcError, UnsupportedError

UNIT = 2.0**-10


@dataclass(frozen=True)
class StartingPoint:
    """One data file: what it fits and its checksum."""

    file: str
    layout: tuple[str, int, int]  # family and chroma shifts
    sha256: str


STARTING_POINTS = {
    1: StartingPoint(
        "start1.npz",
        ("yuv", 1, 1),
        "b5ccdd99dc47f6dc3a197adf4f3af81032b404d39eac9c9cf8480ed997864cc8",
    ),
}


def best_for(layout: tuple[str, int, int]) -> int:
    """Id of the newest starting point for a plane layout; 0 where there is none."""
    return max((i for i, s in STARTING_POINTS.items() if s.layout == layout), default=0)


@cache
def load(number: int) -> dict[str, np.ndarray]:
    """Parameter values (float32) by name.

    Raises:
        UnsupportedError: this version does not have the starting point.
        InnvcError: the installed file is damaged.
    """
    if number not in STARTING_POINTS:
        raise UnsupportedError(
            f"The file needs starting point {number}, which this version does not have.",
            "Install a newer innvc.",
        )
    point = STARTING_POINTS[number]
    data = files("innvc.model").joinpath(point.file).read_bytes()
    if hashlib.sha256(data).hexdigest() != point.sha256:
        raise InnvcError(f"The installed file {point.file} is damaged.", "Install innvc again.")
    with np.load(io.BytesIO(data)) as arrays:
        return {name: arrays[name].astype(np.float32) * np.float32(UNIT) for name in arrays.files}
