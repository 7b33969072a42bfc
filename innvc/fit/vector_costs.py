"""What block matching takes vectors to cost, beside those around them."""

from __future__ import annotations

from functools import cache

import numpy as np

from innvc.compiled import compiled
from innvc.model.motion import VECTOR_LIMIT


@cache
def log_sizes(unit: int) -> np.ndarray:
    """log2(1 + n / unit) for differences n of components."""
    result: np.ndarray = np.log2(1 + np.arange(2 * VECTOR_LIMIT + 1) / unit).astype(np.float32)
    return result


@compiled
def sum_of_sizes(vector: np.ndarray, predicted: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Of the differences of both components, [rows, columns]."""
    result = np.empty(vector.shape[1:], sizes.dtype)
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            first = sizes[abs(vector[0, i, j] - predicted[0, i, j])]
            result[i, j] = first + sizes[abs(vector[1, i, j] - predicted[1, i, j])]
    return result


@compiled
def is_beside(
    vector: np.ndarray, best: np.ndarray, offsets: tuple[tuple[int, int], ...]
) -> np.ndarray:
    """Whether a cell around has this vector, [rows, columns]; outside are those at the edge."""
    _, rows, columns = vector.shape
    result = np.zeros((rows, columns), np.bool_)
    for i in range(rows):
        for j in range(columns):
            for y, x in offsets:
                row, column = min(max(i + y, 0), rows - 1), min(max(j + x, 0), columns - 1)
                across = vector[1, i, j] == best[1, row, column]
                result[i, j] |= across and vector[0, i, j] == best[0, row, column]
    return result


@compiled
def medians(vector: np.ndarray, offsets: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Of the vectors around, by component [2, rows, columns]; outside are those at the edge."""
    result = np.empty_like(vector)
    found = np.empty(len(offsets), vector.dtype)
    _, rows, columns = vector.shape
    for axis in range(2):
        for i in range(rows):
            for j in range(columns):
                for n, (y, x) in enumerate(offsets):
                    row, column = min(max(i + y, 0), rows - 1), min(max(j + x, 0), columns - 1)
                    value, k = vector[axis, row, column], n
                    while k > 0 and found[k - 1] > value:
                        found[k] = found[k - 1]
                        k -= 1
                    found[k] = value
                result[axis, i, j] = found[len(offsets) // 2]
    return result
