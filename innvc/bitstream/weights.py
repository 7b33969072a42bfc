"""Tensors with scales and steps of their rows and columns (NVRC's dual-axis coding, in integers).

The scale index of an element is a base plus offsets of its row and its column, and so is the index
of its quantisation step. Sparse tensors code signs and magnitudes apart. One path codes and decodes
(docs/format.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from innvc.bitstream.tables import LEVELS
from innvc.bitstream.vectors import TABLE_BITS, Coder, code_symbols, code_vector, given, number
from innvc.model.parameter_layout import STEP_LEVELS, STEP_UNIT_BITS, Matrix, step_sizes

STEP_BITS = 6
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Axes:
    """Offsets of the rows and of the columns of a matrix; empty is none."""

    rows: np.ndarray = field(default_factory=lambda: _NONE)
    columns: np.ndarray = field(default_factory=lambda: _NONE)

    def __bool__(self) -> bool:
        return bool(self.rows.any() or self.columns.any())

    def at(self, matrix: Matrix) -> np.ndarray:
        """The sum of both at each element."""
        total = np.zeros(len(matrix), np.int64)
        if self.rows.any():
            total += self.rows[matrix.row_of]
        if self.columns.any():
            total += self.columns[matrix.column_of]
        return total


@dataclass(frozen=True)
class CodedTensor:
    """Differences from the start value: integers, and how they are coded.

    Attributes:
        values: Numbers of steps, int32 [n], in coding order.
        step: Index of the quantisation step, 0..63.
        tables: Table index of the symbols, or those of signs and magnitudes.
        step_axes: Offsets of the step index.
        scale_axes: Offsets of the table indexes.
    """

    values: np.ndarray
    step: int = 0
    tables: tuple[int, ...] = (0,)
    step_axes: Axes = field(default_factory=Axes)
    scale_axes: Axes = field(default_factory=Axes)

    def differences(self, matrix: Matrix) -> np.ndarray:
        """The coded differences, float64 [n], all exact."""
        steps = step_indexes(self.step, self.step_axes, matrix)
        differences: np.ndarray = self.values * step_sizes()[steps] * 2.0**-STEP_UNIT_BITS
        return differences


def step_indexes(step: int, axes: Axes, matrix: Matrix) -> np.ndarray:
    """Index of the quantisation step of each element [n], or of all [1]."""
    return (step + axes.at(matrix) if axes else np.array([step])).clip(0, STEP_LEVELS - 1)


def code_tensor(coder: Coder, matrix: Matrix, tensor: CodedTensor | None) -> CodedTensor:
    """Codes a tensor; it costs one bit where all differences are zero.

    Raises:
        CorruptError: the data is not a valid code.
    """
    if not number(coder, 1, given(tensor, lambda t: int(t.values.any()))):
        return CodedTensor(np.zeros(len(matrix), np.int32))
    step = number(coder, STEP_BITS, given(tensor, lambda t: t.step))
    split = number(coder, 1, given(tensor, lambda t: len(t.tables) - 1))
    table = number(coder, TABLE_BITS, given(tensor, lambda t: t.tables[0]))
    tables: tuple[int, ...] = (table,)
    if split:
        tables += (number(coder, TABLE_BITS, given(tensor, lambda t: t.tables[1])),)
    step_axes, scale_axes = Axes(), Axes()
    if number(coder, 1, given(tensor, lambda t: int(bool(t.step_axes or t.scale_axes)))):
        step_axes = _code_axes(coder, matrix, given(tensor, lambda t: t.step_axes))
        scale_axes = _code_axes(coder, matrix, given(tensor, lambda t: t.scale_axes))
    # Scales are those of the parameter: in coarser steps they are smaller.
    offsets = scale_axes.at(matrix) - step_axes.at(matrix)
    indexes = [(table + offsets).clip(0, LEVELS - 1) for table in tables]
    values = given(tensor, lambda t: t.values)
    if split:
        values = code_split(coder, indexes[0], indexes[1], values)
    else:
        values = code_symbols(coder, indexes[0], values)
    return CodedTensor(values, step, tables, step_axes, scale_axes)


def _code_axes(coder: Coder, matrix: Matrix, axes: Axes | None) -> Axes:
    coded = []
    for size, part in ((matrix.rows, "rows"), (matrix.columns, "columns")):
        values = None if axes is None else getattr(axes, part)
        if values is not None and not values.size:
            values = np.zeros(size, np.int64)
        coded.append(code_vector(coder, size, values))
    return Axes(*coded)


def code_split(
    coder: Coder, first: np.ndarray, second: np.ndarray, values: np.ndarray | None
) -> np.ndarray:
    """Signs under the first tables, then the magnitudes of the others under the second."""
    signs = np.sign(code_symbols(coder, first, None if values is None else np.sign(values)))
    chosen = signs != 0
    rest = None if values is None else fold(np.abs(values[chosen]) - 1)
    rest = code_symbols(coder, second[chosen], rest)
    result = np.zeros(len(signs), np.int32)
    result[chosen] = signs[chosen] * (_unfold(rest) + 1)
    return result


def fold(magnitude: np.ndarray) -> np.ndarray:
    """0, 1, 2, 3, 4 ... to 0, -1, 1, -2, 2 ...: magnitudes under a symmetric table."""
    return np.where(magnitude % 2, -(magnitude + 1) // 2, magnitude // 2).astype(np.int32)


def _unfold(symbol: np.ndarray) -> np.ndarray:
    return np.where(symbol < 0, -2 * symbol - 1, 2 * symbol)
