"""Step offsets: a low-pass frame's quantisation, finer or coarser by position (docs/format.md).

An offset of k makes the steps of a position 2^(-k / 4) times the channels' own, in whole sixteenths
of them, and its scale indexes k larger.
"""

from __future__ import annotations

import numpy as np

from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.vectors import best_table
from innvc.bitstream.wavefront import wavefront
from innvc.errors import CorruptError

# In sixteenths of the channels' own steps, for offsets from -4 up.
STEPS = np.array([32, 27, 23, 19, 16, 13, 11, 10, 8, 7, 6, 5, 4])
LEAST = -4
MOST = LEAST + len(STEPS) - 1
TABLE_BITS = 6
CLASSES = 2  # whether the neighbours agree


def steps_of(offsets: np.ndarray) -> np.ndarray:
    """Steps in sixteenths of the channels' own."""
    steps: np.ndarray = STEPS[offsets - LEAST]
    return steps


def encode(offsets: np.ndarray) -> bytes:
    """Codes offsets [H, W]; nothing where all are zero."""
    if not offsets.any():
        return b""
    classes, differences = _differences(offsets)
    tables = np.array([best_table(differences[classes == c])[0] for c in range(CLASSES)], np.uint8)
    coder = Encoder()
    coder.integers(TABLE_BITS, tables)
    for places in wavefront(*offsets.shape):
        coder.code(tables[classes[places]], differences[places])
    return coder.finish()


def decode(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Offsets [H, W].

    Raises:
        CorruptError: an offset is out of range.
    """
    offsets = np.zeros(size, np.int32)
    if not data:
        return offsets
    coder = Decoder(data)
    tables = coder.integers(TABLE_BITS, CLASSES).astype(np.uint8)
    for i, j in wavefront(*size):
        classes, expected = _expected(offsets, i, j)
        offsets[i, j] = coder.code(tables[classes]) + expected
    if offsets.min() < LEAST or offsets.max() > MOST:
        raise CorruptError("A step offset is out of range.")
    return offsets


def _differences(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class of each position, and its offset's difference from what is expected."""
    classes, expected = _expected(offsets, *map(np.asarray, np.indices(offsets.shape)))
    return classes, (offsets - expected).astype(np.int32)


def _expected(offsets: np.ndarray, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes of positions, and their offsets as the ones to the left and above suggest."""
    left = np.where(j > 0, offsets[i, j - 1], 0)
    above = np.where(i > 0, offsets[i - 1, j], 0)
    corner = np.where((i > 0) & (j > 0), offsets[i - 1, j - 1], 0)
    least, most = np.minimum(left, above), np.maximum(left, above)
    apart = np.maximum(most, corner) > np.minimum(least, corner)
    return apart.astype(int), np.clip(left + above - corner, least, most)
