"""The frozen CDF tables: integer frequencies of 64 zero-mean distributions (docs/format.md)."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

import numpy as np

from innvc.errors import InnvcError

SHA256 = "7fa56afe49fe4afae9e16308ebef6962efafdae77fcf00dc350c213fcfe0ed0c"
LEVELS = 64


@cache
def frequencies() -> tuple[np.ndarray, ...]:
    """Frequencies of symbols -K..K and the escape for each scale index; each sums to 2^24.

    Raises:
        InnvcError: the installed table file is not the specified one.
    """
    data = files("innvc.bitstream").joinpath("tables.bin").read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise InnvcError("The installed CDF tables are damaged.", "Install innvc again.")
    words = np.frombuffer(data, "<u4")
    ends = np.cumsum(words[:LEVELS])
    return tuple(np.split(words[LEVELS:], ends[:-1].astype(np.int64)))


@cache
def bits() -> tuple[np.ndarray, ...]:
    """Cost in bits of symbols -K..K for each scale index (encoder decisions only)."""
    return tuple(24 - np.log2(f[:-1].astype(np.float64)) for f in frequencies())
