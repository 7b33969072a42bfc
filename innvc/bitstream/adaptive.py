"""Frequencies that follow what was coded by them (docs/format.md, section 10).

A key is 192 c + t: symbols of context c (which only its own counts know of) under table t.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from innvc.bitstream import tables

LONGEST = 256  # tables with more entries stay as they are
PERIOD = 8  # frequencies are renewed when all that is counted has grown by one in so many
COUNTED = 1 << 15  # symbols, after which all counts are halved


class AdaptiveTables:
    """Frequencies of each key, from its table and the symbols it has coded.

    Args:
        weight: How many symbols the table counts as.

    Attributes:
        changed: Integers >= 1 of sum 2^24 for the entries of keys whose frequencies are not the
            table's any more.
        models: The coder's, of the frequencies of a key.
    """

    def __init__(self, weight: int) -> None:
        self.changed: dict[int, np.ndarray] = {}
        self.models: dict[int, Any] = {}
        self._weight = weight
        self._row = np.full(tables.COUNT, -1)  # of each key
        # Row 0 is for all that stay as they are.
        self._counts = np.zeros((1, LONGEST), np.int64)
        self._totals = np.zeros(1, np.int64)
        self._due = np.full(1, np.iinfo(np.int64).max)  # totals at which frequencies are renewed

    def count(self, keys: np.ndarray, lengths: np.ndarray, entries: np.ndarray) -> None:
        """Counts coded entries of the keys' tables.

        Args:
            keys: All different.
            lengths: Entries of each.
            entries: Those of the first key, those of the second, and so on.
        """
        if keys.max(initial=0) >= len(self._row):
            more = keys.max() + 1 - len(self._row)
            self._row = np.pad(self._row, (0, more), constant_values=-1)
        rows = self._row[keys]
        if rows.min(initial=0) < 0:
            self._begin(keys[rows < 0])
            rows = self._row[keys]
        places = np.repeat(rows * LONGEST, lengths) + np.minimum(entries, LONGEST - 1)
        np.add.at(self._counts.reshape(-1), places, 1)
        self._totals[rows] += lengths
        for place in np.flatnonzero(self._totals[rows] >= self._due[rows]):
            self._renew(int(keys[place]), rows[place])

    def _begin(self, keys: np.ndarray) -> None:
        sizes = np.array([len(tables.frequencies()[key % tables.COUNT]) for key in keys])
        adapt = sizes <= LONGEST
        count = int(adapt.sum())
        self._row[keys] = 0
        self._row[keys[adapt]] = len(self._totals) + np.arange(count)
        self._counts = np.pad(self._counts, ((0, count), (0, 0)))
        self._totals = np.pad(self._totals, (0, count))
        first = self._weight // PERIOD
        self._due = np.pad(self._due, (0, count), constant_values=first)

    def _renew(self, key: int, row: int) -> None:
        own = tables.frequencies()[key % tables.COUNT]
        while self._totals[row] >= COUNTED:
            self._counts[row] >>= 1
            self._totals[row] = self._counts[row].sum()
        weight = self._weight + int(self._totals[row])
        self._due[row] = self._totals[row] + weight // PERIOD
        self.changed[key] = mixed(own, self._weight, self._counts[row, : len(own)], weight)
        self.models.pop(key, None)


def mixed(own: np.ndarray, share: int, counts: np.ndarray, weight: int) -> np.ndarray:
    """The mean of a table, `share` of `weight`, and of counts, the rest; each at least 1."""
    total = own.astype(np.int64) * share + (counts << tables.PRECISION)
    result: np.ndarray = np.maximum(total // weight, 1)
    # What rounding takes or gives is the likeliest entry's.
    result[result.argmax()] += (1 << tables.PRECISION) - result.sum()
    return result
