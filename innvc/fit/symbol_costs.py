"""What symbols cost under the coder's tables, for the encoder's decisions."""

from __future__ import annotations

from functools import cache

import numpy as np

from innvc.bitstream import tables

TABLED = 256  # magnitudes of which costs are known; above, all cost the same


@cache
def _costs() -> np.ndarray:
    """[KINDS, LEVELS x TABLED] bits of magnitudes by kind of table and scale index."""
    halves = [bits[len(bits) // 2 :][:TABLED] for bits in tables.bits()]
    rows = [np.pad(half, (0, TABLED - len(half)), mode="edge") for half in halves]
    return np.array(rows, np.float32).reshape(tables.KINDS, -1)


def symbol_costs(magnitudes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Bits (float32) of symbols in independent quantisation.

    Args:
        magnitudes: Of the symbols, whole numbers.
        scale: Scale indexes (int), broadcast with them.
    """
    place = scale * TABLED + np.minimum(magnitudes, TABLED - 1)
    result: np.ndarray = _costs()[0][place]
    return result


@cache
def dependent_costs() -> np.ndarray:
    """Bits (float32) in dependent quantisation, by quantiser, scale index and magnitude."""
    result: np.ndarray = np.ascontiguousarray(_costs()[1:].reshape(2, -1, TABLED))
    return result
