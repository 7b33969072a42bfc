"""Tables of frequencies for the symbol coder, frozen or adaptive (docs/format.md, section 10)."""

from __future__ import annotations

from functools import cache

import numpy as np

from innvc.bitstream import table_coder, tables
from innvc.bitstream.table_coder import BEGIN, DUE, LONGEST, PERIOD, RENEWED, SIZE, WEIGHT


class AdaptiveTables:
    """Frequencies of each table, by itself and by the symbols it has coded.

    Args:
        weight: How many symbols a table counts as; 0 is a set that stays as it is.

    Attributes:
        tables: The state, for the compiled coder.
    """

    def __init__(self, weight: int) -> None:
        sums, keys = _frozen()
        keys = keys.copy()
        keys[:, WEIGHT], keys[:, DUE] = weight, weight // PERIOD
        learning = len(keys) if weight else 0
        counts = np.zeros((learning, LONGEST), np.int64)
        own = np.zeros(learning * (LONGEST + 1), np.uint32)
        self.tables = table_coder.Tables(sums, keys, counts, own)

    def frequencies(self, key: int) -> np.ndarray:
        """Integers >= 1 of sum 2^24 for the entries of a table."""
        sums, begin = self.tables.sums, self.tables.keys[key, BEGIN]
        if self.tables.keys[key, RENEWED]:
            sums, begin = self.tables.own, key * (LONGEST + 1)
        own = sums[begin : begin + self.tables.keys[key, SIZE] + 1]
        return np.diff(own.astype(np.int64))


@cache
def frozen() -> AdaptiveTables:
    """All tables, as they are."""
    return AdaptiveTables(0)


@cache
def _frozen() -> tuple[np.ndarray, np.ndarray]:
    """Sums and keys of all tables, see table_coder.Tables."""
    every = tables.frequencies()
    sums = [np.append(0, np.cumsum(f, dtype=np.int64)).astype(np.uint32) for f in every]
    keys = np.zeros((len(every), 1 + RENEWED), np.int64)
    keys[:, SIZE] = [len(f) for f in every]
    keys[1:, BEGIN] = np.cumsum(keys[:-1, SIZE] + 1)
    return np.concatenate(sums), keys
