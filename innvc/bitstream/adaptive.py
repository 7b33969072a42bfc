"""Frequencies that follow what was coded by them (docs/format.md, section 10).

A key is 192 c + t: symbols of context c (which only its own counts know of) under table t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from innvc.bitstream import tables

LONGEST = 256  # tables with more entries stay as they are
PERIOD = 8  # frequencies are renewed when all that is counted has grown by one in so many
COUNTED = 1 << 15  # symbols, after which all counts are halved


@dataclass
class _Counts:
    counts: np.ndarray  # of the table's entries, int64
    total: int
    due: int  # total at which the frequencies are renewed
    frequencies: np.ndarray | None = None


class AdaptiveTables:
    """Frequencies of each key, from its table and the symbols it has coded.

    Args:
        weight: How many symbols the table counts as.

    Attributes:
        models: The coder's, of the changed frequencies of a key.
    """

    def __init__(self, weight: int) -> None:
        self.models: dict[int, Any] = {}
        self._weight = weight
        self._known: dict[int, _Counts] = {}

    def changed(self, key: int) -> np.ndarray | None:
        """Integers >= 1 of sum 2^24 for the entries; None while they are the table's."""
        known = self._known.get(key)
        return None if known is None else known.frequencies

    def count(self, key: int, entries: np.ndarray) -> None:
        """Counts coded entries of the key's table."""
        own = tables.frequencies()[key % tables.COUNT]
        if len(own) > LONGEST:
            return
        known = self._known.get(key)
        if known is None:
            empty = np.zeros(len(own), np.int64)
            known = self._known[key] = _Counts(empty, 0, self._weight // PERIOD)
        known.counts += np.bincount(entries, minlength=len(own))
        known.total += len(entries)
        if known.total < known.due:
            return
        while known.total >= COUNTED:
            known.counts >>= 1
            known.total = int(known.counts.sum())
        weight = self._weight + known.total
        known.due = known.total + weight // PERIOD
        known.frequencies = mixed(own, self._weight, known.counts, weight)
        self.models.pop(key, None)


def mixed(own: np.ndarray, share: int, counts: np.ndarray, weight: int) -> np.ndarray:
    """The mean of a table, `share` of `weight`, and of counts, the rest; each at least 1."""
    total = own.astype(np.int64) * share + (counts << tables.PRECISION)
    result: np.ndarray = np.maximum(total // weight, 1)
    # What rounding takes or gives is the likeliest entry's.
    result[result.argmax()] += (1 << tables.PRECISION) - result.sum()
    return result
