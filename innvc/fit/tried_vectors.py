"""What block matching found for the vectors that it tried last, so that it looks at none twice."""

from __future__ import annotations

import numpy as np

from innvc.compiled import compiled, inlined
from innvc.model.motion import VECTOR_LIMIT

KEPT = 64  # vectors of each cell
NEVER = 1 << 62  # no vector's number


class TriedVectors:
    """The last vectors of each cell, and what was found for them: two numbers each.

    Args:
        cells: How many there are.
    """

    def __init__(self, cells: int) -> None:
        self._numbers = np.full((cells, KEPT), NEVER)
        self._found = np.zeros((cells, KEPT, 2), np.float32)
        self._turn = np.zeros(cells, np.int64)

    def recall(self, vector: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What was found for some cells' vectors [n, 2], and which of the n are not known.

        Args:
            vector: Of all cells [2, rows, columns].
            cells: Numbers of some [n].
        """
        return _recall(vector, cells, self._numbers, self._found)

    def keep(self, vector: np.ndarray, cells: np.ndarray, found: np.ndarray) -> None:
        """Writes what was found [n, 2] over the oldest of each cell; see `recall`."""
        _keep(vector, cells, found, self._numbers, self._found, self._turn)


@compiled
def _recall(
    vector: np.ndarray, cells: np.ndarray, numbers: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    found, new = np.empty((len(cells), 2), np.float32), np.empty(len(cells), np.int64)
    count = 0
    for k, n in enumerate(cells):
        wanted, slot = _number(vector, n), 0
        while slot < KEPT and numbers[n, slot] != wanted:
            slot += 1
        if slot < KEPT:
            found[k] = kept[n, slot]
        else:
            new[count] = k
            count += 1
    return found, new[:count]


@compiled
def _keep(
    vector: np.ndarray,
    cells: np.ndarray,
    found: np.ndarray,
    numbers: np.ndarray,
    kept: np.ndarray,
    turn: np.ndarray,
) -> None:
    for k, n in enumerate(cells):
        numbers[n, turn[n]], kept[n, turn[n]] = _number(vector, n), found[k]
        turn[n] = (turn[n] + 1) % KEPT


@inlined
def _number(vector: np.ndarray, cell: int) -> int:
    """A vector as one number."""
    row, column = cell // vector.shape[2], cell % vector.shape[2]
    number: int = 4 * VECTOR_LIMIT * vector[0, row, column] + vector[1, row, column]
    return number
