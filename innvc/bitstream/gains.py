"""Coded gains of the filters of one packet (docs/format.md, sections 16 and 17)."""

from __future__ import annotations

import numpy as np

from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.vectors import best_table
from innvc.errors import CorruptError
from innvc.model.post_filter import GAIN_LIMIT

TABLE_BITS = 6
Shape = tuple[int, int, int, int, int]  # frames, planes, rows and columns of regions, corrections


def encode(gains: np.ndarray) -> bytes:
    """Codes gains [frames, planes, rows, columns, K]; nothing where all are zero."""
    if not gains.any():
        return b""
    differences = _differences(gains)
    planes = range(gains.shape[1])
    used = [d[d.any(-1)].ravel() for d in differences.swapaxes(0, 1)]
    tables = np.array([best_table(symbols)[0] for symbols in used], np.uint8)
    coder = Encoder()
    coder.integers(TABLE_BITS, tables)
    counts = np.ones((len(planes), 2), np.int64)
    for frame in differences:
        for plane in planes:
            wanted = frame[plane].reshape(-1, gains.shape[-1])
            _code(coder, int(tables[plane]), counts[plane : plane + 1], wanted.astype(np.int32))
    return coder.finish()


def decode(coded: bytes, shape: Shape) -> np.ndarray:
    """Gains int16 of `shape`.

    Raises:
        CorruptError: a gain is out of range.
    """
    coder = Decoder(coded)
    tables = coder.integers(TABLE_BITS, shape[1])
    counts = np.ones((shape[1], 2), np.int64)
    differences = np.zeros(shape, np.int64)
    for frame in differences:
        for plane, part in enumerate(frame):
            found = np.zeros((part[..., 0].size, shape[-1]), np.int32)
            _code(coder, int(tables[plane]), counts[plane : plane + 1], found)
            part[:] = found.reshape(part.shape)
    gains = _sums(differences)
    if abs(gains).max() > GAIN_LIMIT:
        raise CorruptError("A gain of the post-filter is out of range.")
    return gains.astype(np.int16)


def _code(coder: Encoder | Decoder, table: int, counts: np.ndarray, values: np.ndarray) -> None:
    """Codes or fills in the differences [regions, K] of one plane of a frame."""
    own = coder.flags(counts, np.zeros(len(values)), np.any(values, axis=1))
    if own.any():
        scale = np.full(own.sum() * values.shape[1], table, np.uint8)
        values[own] = coder.code(scale, values[own].ravel()).reshape(-1, values.shape[1])


def _differences(gains: np.ndarray) -> np.ndarray:
    """To the same region of the frame before; in the first frame to the left, else above."""
    wide = gains.astype(np.int64)
    result = np.diff(wide, axis=0, prepend=0)
    result[0] = np.diff(wide[0], axis=2, prepend=0)
    result[0, :, :, 0] = np.diff(wide[0, :, :, 0], axis=1, prepend=0)
    return result


def _sums(differences: np.ndarray) -> np.ndarray:
    """The inverse of `_differences`."""
    result = differences.copy()
    result[0, :, :, 0] = result[0, :, :, 0].cumsum(1)
    result[0] = result[0].cumsum(2)
    return result.cumsum(0)
