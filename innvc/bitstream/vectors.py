"""Integer vectors that describe how others are coded: steps, scales, weights of context networks.

One path codes and decodes (docs/format.md): with an `Encoder` the values are given, with a
`Decoder` they are None.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import numpy as np

from innvc.bitstream import tables
from innvc.bitstream.coder import Decoder, Encoder
from innvc.errors import CorruptError

Coder = Encoder | Decoder
S = TypeVar("S")
T = TypeVar("T")

SHIFT_BITS = 3
MEAN_BITS = 8
TABLE_BITS = 6
MEAN_OFFSET = 1 << (MEAN_BITS - 1)
VALUE_LIMIT = 1 << 20  # of |value|
HEADER_BITS = 2 + SHIFT_BITS + MEAN_BITS + TABLE_BITS


def given(source: S | None, get: Callable[[S], T]) -> T | None:
    """What an encoder codes, taken from its source; None in a decoder."""
    return None if source is None else get(source)


def number(coder: Coder, bits: int, value: int | None) -> int:
    """Codes one unsigned integer with equal probabilities."""
    if isinstance(coder, Encoder):
        assert value is not None
        coder.integers(bits, np.array([value]))
        return value
    return int(coder.integers(bits, 1)[0])


def code_symbols(coder: Coder, scale: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
    """Codes symbols [n] under the tables `scale` [n]."""
    return coder.code(scale.astype(np.uint8), symbols)


def code_vector(coder: Coder, size: int, values: np.ndarray | None) -> np.ndarray:
    """Codes integers [size]; they cost one bit where all are zero.

    Raises:
        CorruptError: decoded values are out of range.
    """
    changed = number(coder, 1, None if values is None else int(values.any()))
    if not changed:
        return np.zeros(size, np.int64)
    found = None if values is None else _cheapest(values)
    running, shift, mean, table = (None,) * 4 if found is None else found[:4]
    running = number(coder, 1, running)
    shift = number(coder, SHIFT_BITS, shift)
    mean = number(coder, MEAN_BITS, None if mean is None else mean + MEAN_OFFSET) - MEAN_OFFSET
    table = number(coder, TABLE_BITS, table)
    symbols = None if found is None else found[4].astype(np.int32)
    symbols = code_symbols(coder, np.full(size, table), symbols).astype(np.int64)
    coded = mean + np.cumsum(symbols) if running else mean + symbols
    if np.abs(coded).max(initial=0) << shift > VALUE_LIMIT:
        raise CorruptError("A value that describes parameters is out of range.")
    return coded << shift


def _cheapest(values: np.ndarray) -> tuple[int, int, int, int, np.ndarray]:
    """Whether differences are coded, shift, mean, table and symbols, at the least bits."""
    shift = 0
    while shift < (1 << SHIFT_BITS) - 1 and not (values & ((2 << shift) - 1)).any():
        shift += 1
    scaled = values.astype(np.int64) >> shift
    choices = []
    for running, mean in ((0, int(np.median(scaled))), (0, 0), (1, int(scaled[0]))):
        mean = min(max(mean, -MEAN_OFFSET), MEAN_OFFSET - 1)
        symbols = np.diff(scaled, prepend=mean) if running else scaled - mean
        table, bits = best_table(symbols)
        choices.append((bits, running, mean, table, symbols))
    _, running, mean, table, symbols = min(choices, key=lambda choice: choice[0])
    return running, shift, mean, table, symbols


def vector_bits(values: np.ndarray) -> float:
    """What `code_vector` takes."""
    if not values.any():
        return 1.0
    _, _, _, table, symbols = _cheapest(values)
    return HEADER_BITS + float(symbol_costs(np.abs(symbols))[table].sum())


@cache
def _edges() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each table its largest symbol K, bits of 0..K behind each other's starts, and escape."""
    bits = tables.bits()[: tables.LEVELS]
    halves = np.array([len(b) // 2 for b in bits])
    escapes = np.array(
        [tables.PRECISION - np.log2(float(f[-1])) for f in tables.frequencies()[: tables.LEVELS]]
    )
    padded = np.zeros((tables.LEVELS, halves.max() + 1))
    for index, (table, half) in enumerate(zip(bits, halves, strict=True)):
        padded[index, : half + 1] = table[half:]
    return halves, padded, escapes


def symbol_costs(magnitudes: np.ndarray) -> np.ndarray:
    """Bits [64, n] of symbols of magnitudes [n] under each table, escapes included."""
    halves, padded, escapes = _edges()
    excess = magnitudes[None] - halves[:, None]
    inside = padded[:, np.minimum(magnitudes, padded.shape[1] - 1)]
    outside = escapes[:, None] + 6 + np.floor(np.log2(np.maximum(excess, 1)))
    return np.where(excess > 0, outside, inside)


def best_table(symbols: np.ndarray) -> tuple[int, float]:
    """The table under which the symbols cost least, and their bits."""
    if not symbols.size:
        return 0, 0.0
    values, counts = np.unique(np.abs(symbols), return_counts=True)
    costs = symbol_costs(values) @ counts
    best = int(costs.argmin())
    return best, float(costs[best])
