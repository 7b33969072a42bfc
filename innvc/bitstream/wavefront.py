"""An order of a picture's cells in which many are coded at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def wavefront(rows: int, columns: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the cells of equal 2 row + column, ascending.

    The cells to the left, above, above to the left and above to the right come before a cell.
    """
    for step in range(2 * (rows - 1) + columns):
        i = np.arange(max(0, -(-(step - columns + 1) // 2)), min(rows, step // 2 + 1))
        yield i, step - 2 * i
