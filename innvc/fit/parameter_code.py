"""How a tensor is coded at the least bits: tables and offsets of rows and columns, by real cost.

Costs come from histograms of magnitudes, so that a search costs a few passes over the elements
whatever the number of candidates.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.tables import LEVELS
from innvc.bitstream.vectors import HEADER_BITS, TABLE_BITS, symbol_costs, vector_bits
from innvc.bitstream.weights import STEP_BITS, Axes, CodedTensor, fold
from innvc.model.parameter_layout import Matrix

REACH = 15  # of offsets, in quarters of an octave
_EXACT, _PER_OCTAVE, _OCTAVES = 16, 4, 22
BINS = _EXACT + _PER_OCTAVE * _OCTAVES


def bins_of(values: Tensor) -> Tensor:
    """Bins of the magnitudes of integers: exact below 16, four an octave above."""
    magnitude = values.abs().long()
    octaves = torch.log2(magnitude.clamp(min=_EXACT).double() / _EXACT)
    above = (_PER_OCTAVE * octaves).clamp(max=BINS - _EXACT - 1).long()
    return torch.where(magnitude < _EXACT, magnitude, _EXACT + above)


@cache
def bin_costs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bits [64, bins] under each table of a symbol, of its sign, and of its magnitude if not 0."""
    octave = (np.arange(BINS - _EXACT) + 0.5) / _PER_OCTAVE
    middle = np.concatenate([np.arange(_EXACT), np.round(_EXACT * 2.0**octave)]).astype(np.int64)
    rest = symbol_costs(np.abs(fold(np.maximum(middle - 1, 0)))) * (middle > 0)
    return symbol_costs(middle), symbol_costs(np.minimum(middle, 1)), rest


def choose(values: Tensor | np.ndarray, matrix: Matrix, step: int, step_axes: Axes) -> CodedTensor:
    """The tensor under the tables and offsets that take the least bits.

    Args:
        values: Numbers of steps [n], integers on the device that counts them.
        step: Index of the step, and its offsets by row and column.
    """
    values = torch.as_tensor(values)
    coded = values.cpu().numpy().astype(np.int32)
    if not coded.any():
        return CodedTensor(coded)
    search = _Search(values, matrix, step_axes, Axes())
    candidates = []
    for split in (False, True):
        tables, plain = search.tables(split)
        candidates.append((plain, tables, Axes()))
        if plain < 2 * HEADER_BITS:
            continue
        costs = search.costs(tables)
        candidates += [(bits, tables, axes) for bits, axes in search.axes(costs)]
    _, tables, axes = min(candidates, key=lambda candidate: candidate[0])
    return CodedTensor(coded, step, tables, step_axes, axes)


def choose_tables(
    values: Tensor, matrix: Matrix, step_axes: Axes, scale_axes: Axes
) -> tuple[int, ...]:
    """The tables that take the least bits under known offsets."""
    search = _Search(values, matrix, step_axes, scale_axes)
    options = [search.tables(split) for split in (False, True)]
    return min(options, key=lambda option: option[1])[0]


def plain_header(split: bool) -> float:
    """Bits of a tensor before its elements, without offsets."""
    return 2.0 + STEP_BITS + TABLE_BITS * (1 + split) + 1


class _Search:
    def __init__(self, values: Tensor, matrix: Matrix, step_axes: Axes, scale_axes: Axes) -> None:
        self.matrix = matrix
        self.bins = bins_of(values)
        self.used = int(self.bins.max()) + 1
        self.row_of, self.column_of = (
            torch.from_numpy(places).to(values.device)
            for places in (matrix.row_of, matrix.column_of)
        )
        # The known offset of each element, in a few classes.
        self.shifts, self.classes = np.zeros(1, np.int64), None
        if step_axes or scale_axes:
            offsets = scale_axes.at(matrix) - step_axes.at(matrix)
            shifts, self.classes = (
                torch.from_numpy(offsets).to(values.device).unique(return_inverse=True)
            )
            self.shifts = shifts.cpu().numpy()

    def histogram(self, groups: list[tuple[Tensor | None, int]]) -> np.ndarray:
        """Counts of bins by several classes of the elements, [..., bins]."""
        index: Tensor | int = 0
        for of, count in groups:
            if of is not None:
                index = index * count + of
        index = index * self.used + self.bins
        sizes = [count for _, count in groups]
        total = int(np.prod(sizes)) * self.used
        counts: np.ndarray = torch.bincount(index, minlength=total).cpu().numpy()
        return counts.reshape(*sizes, self.used)

    def shifted(self, costs: np.ndarray, shift: np.int64) -> np.ndarray:
        """Costs [64 + 2 reach.., bins] at table indexes moved by an offset and clamped."""
        rows = (np.arange(len(costs)) + shift).clip(0, len(costs) - 1)
        moved: np.ndarray = costs[rows]
        return moved

    def tables(self, split: bool) -> tuple[tuple[int, ...], float]:
        """The best tables without offsets of scales, and the bits of header and elements."""
        direct, sign, rest = (c[:, : self.used] for c in bin_costs())
        counts = self.histogram([(self.classes, len(self.shifts))])
        chosen, total = [], plain_header(split)
        for costs in (sign, rest) if split else (direct,):
            by_table = np.zeros(len(costs))
            for shift, count in zip(self.shifts, counts, strict=True):
                by_table += self.shifted(costs, shift) @ count
            chosen.append(int(by_table.argmin()))
            total += float(by_table.min())
        return tuple(chosen), total

    def costs(self, tables: tuple[int, ...]) -> np.ndarray:
        """Bits [offsets of -64..64, bins] of an element."""
        direct, sign, rest = (c[:, : self.used] for c in bin_costs())
        offsets = np.arange(-LEVELS, LEVELS + 1)
        of_first = direct if len(tables) == 1 else sign
        costs: np.ndarray = of_first[(tables[0] + offsets).clip(0, LEVELS - 1)]
        if len(tables) > 1:
            costs = costs + rest[(tables[1] + offsets).clip(0, LEVELS - 1)]
        return costs

    def axes(self, costs: np.ndarray) -> list[tuple[float, Axes]]:
        """Offsets for the rows, for the columns, and for both, with their bits."""
        m, row_of, column_of = self.matrix, self.row_of, self.column_of
        found = []
        rows, bits = self.one_axis(costs, row_of, m.rows, None)
        found.append((bits, Axes(rows=rows)))
        columns, bits = self.one_axis(costs, column_of, m.columns, None)
        found.append((bits, Axes(columns=columns)))
        for _ in range(2):
            columns, bits = self.one_axis(costs, column_of, m.columns, (rows, row_of))
            bits += vector_bits(rows)
            found.append((bits, Axes(rows, columns)))
            rows, bits = self.one_axis(costs, row_of, m.rows, (columns, column_of))
            bits += vector_bits(columns)
            found.append((bits, Axes(rows, columns)))
        return found

    def one_axis(
        self,
        costs: np.ndarray,
        index: Tensor,
        size: int,
        other: tuple[np.ndarray, Tensor] | None,
    ) -> tuple[np.ndarray, float]:
        """Offsets of one axis given those of the other, and the bits of elements and offsets."""
        groups: list[tuple[Tensor | None, int]] = [
            (index, size),
            (self.classes, len(self.shifts)),
        ]
        offsets = np.zeros(1, np.int64)
        if other is not None:
            offsets, place = np.unique(other[0], return_inverse=True)
            of = torch.from_numpy(place).to(index.device)[other[1]] if len(offsets) > 1 else None
            groups.append((of, len(offsets)))
        counts = self.histogram(groups).reshape(size, len(self.shifts), len(offsets), self.used)
        reach = np.arange(-REACH, REACH + 1)
        data = np.zeros((size, len(reach)))
        for i, shift in enumerate(self.shifts):
            for j, offset in enumerate(offsets):
                rows = (reach + shift + offset + LEVELS).clip(0, 2 * LEVELS)
                data += counts[:, i, j] @ costs[rows].T
        return offsets_for(data)


def offsets_for(data: np.ndarray) -> tuple[np.ndarray, float]:
    """Offsets [n] for the bits [n, 2 reach + 1] they lead to, and all bits with their own."""
    size = len(data)
    best = np.zeros(size, np.int64), float(data[:, REACH].sum()) + 1
    if size < 2:
        return best
    for chosen in _vectors(data):
        bits = float(data[np.arange(size), chosen + REACH].sum()) + vector_bits(chosen)
        if bits < best[1]:
            best = chosen, bits
    return best


def _vectors(data: np.ndarray) -> list[np.ndarray]:
    """Offsets [n] for costs [n, 2 reach + 1], that are cheap to code in several ways."""
    found = []
    reach = np.arange(-REACH, REACH + 1)
    wide = symbol_costs(np.arange(2 * REACH + 1))
    for shift in (0, 1, 2):
        places = reach[reach % (1 << shift) == 0]
        some = data[:, places + REACH]
        steps = places >> shift
        table, mean = 20, 0
        for _ in range(3):  # each symbol by itself
            prices = wide[table][np.abs(steps - mean)]
            chosen = steps[(some + prices).argmin(1)]
            mean = int(np.median(chosen))
            table = _table(chosen - mean)
        found.append(chosen << shift)
        table = 16
        for _ in range(2):  # differences to the one before
            chosen = _smooth(some, wide[table][np.abs(steps[:, None] - steps)])
            table = _table(np.diff(steps[chosen]))
        found.append(steps[chosen] << shift)
    return found


def _table(symbols: np.ndarray) -> int:
    values, counts = np.unique(np.abs(symbols), return_counts=True)
    return int((symbol_costs(values) @ counts).argmin()) if symbols.size else 0


def _smooth(data: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """The path [n] of least costs [n, states] plus prices [states, states] of its steps."""
    total, back, states = data[0], [], np.arange(data.shape[1])
    prices = np.ascontiguousarray(prices.T)
    for row in data[1:]:
        options = total + prices
        back.append(options.argmin(1))
        total = options[states, back[-1]] + row
    path = [int(total.argmin())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return np.array(path[::-1])
