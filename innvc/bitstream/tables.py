"""The frozen CDF tables: integer frequencies of zero-mean distributions (docs/format.md)."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

import numpy as np

from innvc.errors import InnvcError

SHA256 = "5c555659238682e54fe816ec6d2cfe64295c6e4a0ac4c11d1968f5da54da8176"
LEVELS = 64
KINDS = 3  # independent quantisation; quantisers 0 and 1 of the dependent one
COUNT = KINDS * LEVELS
PRECISION = 24  # bits of the frequencies' sum


@cache
def frequencies() -> tuple[np.ndarray, ...]:
    """Frequencies of symbols -K..K and the escape, of each kind by scale index; sums are 2^24.

    Raises:
        InnvcError: the installed table file is not the specified one.
    """
    data = files("innvc.bitstream").joinpath("tables.bin").read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise InnvcError("The installed CDF tables are damaged.", "Install innvc again.")
    words = np.frombuffer(data, "<u4")
    ends = np.cumsum(words[:COUNT])
    return tuple(np.split(words[COUNT:], ends[:-1].astype(np.int64)))


@cache
def bits() -> tuple[np.ndarray, ...]:
    """Cost in bits of symbols -K..K in each table (encoder decisions only)."""
    return tuple(PRECISION - np.log2(f[:-1].astype(np.float64)) for f in frequencies())
