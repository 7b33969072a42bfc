"""How parameters are arranged for coding: quantisation steps, rows and columns, blocks of grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import isqrt, prod

import numpy as np

STEP_UNIT_BITS = 20  # quantisation steps are multiples of 2^-20
STEP_LEVELS = 64  # a quarter of an octave each
STEP_LOWEST = -60  # log2 of the least step, in quarters of an octave
LEAST_AXIS = 128  # elements of a row or column that has a learned step of its own (as in NVRC)
BLOCK = (16, 8, 8)  # T, H, W of the blocks of grids that have steps of their own


@cache
def step_sizes() -> np.ndarray:
    """[64] int64 quantisation steps in units of 2^-20: floor(2^((k + 20) / 4) + 1/2)."""
    octaves = 4 * STEP_UNIT_BITS + STEP_LOWEST
    doubled = [isqrt(isqrt(16 << (k + octaves))) for k in range(STEP_LEVELS)]
    return np.array([(x + 1) // 2 for x in doubled], dtype=np.int64)


def step_index(exponent: float) -> int:
    """The index of the step 2^-exponent."""
    return min(max(round(-4 * exponent) - STEP_LOWEST, 0), STEP_LEVELS - 1)


@dataclass(frozen=True)
class Matrix:
    """A tensor seen as rows and columns, which have steps and scales of their own.

    Attributes:
        row_of, column_of: Of each coded element, int64 [n], in coding order.
    """

    rows: int
    columns: int
    row_of: np.ndarray
    column_of: np.ndarray

    def __len__(self) -> int:
        return len(self.row_of)


def matrix_of(name: str, shape: tuple[int, ...], mask: np.ndarray | None = None) -> Matrix:
    """Rows and columns of a parameter.

    Rows are output channels and columns all other axes; for the prior's tables columns are the
    latent channels. The middle layers of the post-filter are one below the other. A skew-symmetric
    matrix has its elements above the diagonal.

    Args:
        mask: Flat, of the elements that are coded; None is all.
    """
    if name.endswith(".skew"):
        channels = (1 + isqrt(1 + 8 * shape[0])) // 2
        return Matrix(channels, channels, *np.triu_indices(channels, 1))
    size = prod(shape)
    tables = name.startswith("prior.") and not name.startswith("prior.hidden")
    layers = name == "filter.middle"
    columns = size if len(shape) < 2 else shape[-1] if tables else prod(shape[1 + layers :])
    rows = size // columns if columns else 0
    row_of, column_of = np.divmod(np.arange(size), max(1, columns))
    if mask is not None:
        row_of, column_of = row_of[mask], column_of[mask]
    return Matrix(rows, columns, row_of, column_of)


def long_axes(rows: int, columns: int, elements: int) -> tuple[bool, bool]:
    """Whether rows, and columns, are long enough to learn a step for each of them."""
    most = elements // LEAST_AXIS
    return 1 < rows <= most, 1 < columns <= most


def block_counts(shape: Sequence[int]) -> tuple[int, int, int]:
    """Blocks along T, H and W of a grid level."""
    time, height, width = (-(-n // b) for n, b in zip(shape, BLOCK, strict=True))
    return time, height, width


def over_blocks(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Values [C, T', H', W'] of the blocks, at each element of a grid [C, T, H, W]."""
    for axis, (size, block) in enumerate(zip(shape, BLOCK, strict=True), 1):
        values = values.take(np.arange(size) // block, axis)
    return values
