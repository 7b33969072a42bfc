"""Block matching: one vector a cell, and where it pays one for each quarter of a cell."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from innvc.compiled import compiled
from innvc.fit.coefficient_cost import add_costs
from innvc.fit.tried_vectors import TriedVectors
from innvc.fit.vector_costs import is_beside, log_sizes, medians, sum_of_sizes
from innvc.model.blocks import add_sizes
from innvc.model.motion import CELL, VECTOR_LIMIT, in_quarters
from innvc.model.planes import Plane
from innvc.model.warp import QUARTER, PredictionErrors

PREDICTING = ((0, -1), (-1, 0), (-1, 1))
CROSS = ((0, -1), (-1, 0), (0, 1), (1, 0), (0, 0))
AROUND = (*CROSS[:4], (1, 1), (1, -1), (-1, 1), (-1, -1))
REACH = 12  # of the full search, in samples of a quarter of the size
# Of both sums and of the coefficients' cost, in the last steps; there are 9/4 times as many of them
# as are coded, for cells are blended.
NEARBY = 0.3
# A trial is given up when its sum of absolute differences is so many times that of the best one, as
# far as the vector's bits leave it room.
TOLERANCE = 1.5
# Guesses: of a vector, of one that a neighbour has in place of the predicted one, of a divided
# cell, of a quarter that takes a neighbour's vector, of one with its own.
VECTOR_BITS, BESIDE_BITS, DIVIDED_BITS, NEAR_BITS, OWN_BITS = 2.0, 2.0, 3.0, 2.0, 4.0


class Search:
    """Finds the vectors from one picture to another, both [H, W] luma.

    A cell counts with the samples around that it is blended into. The measure is the mean of the
    absolute differences' sum and that of their DCT, which is nearer to what coding them costs. The
    last steps also count what the coefficients cost, which would lead a search from afar astray.

    Args:
        rate: Difference that one bit of a vector is worth.
        unit: Vectors are multiples of it: 1 or 2 eighths of a sample.
    """

    size = CELL
    _near = False

    def __init__(
        self, target: Tensor, reference: Tensor, plane: Plane, rate: float, unit: int
    ) -> None:
        self.target, self.reference, self.plane, self.rate = target, reference, plane, rate
        self.unit = unit
        self.rows, self.columns = (n // self.size for n in target.shape)
        self._sizes = log_sizes(unit)
        self._errors = PredictionErrors(target, reference, plane, self.size)

    def _begin(self, vector: np.ndarray) -> None:
        """Takes vectors as the best so far."""
        self.vector = vector.copy()
        cells = np.arange(self.rows * self.columns)
        self._tried = TriedVectors(len(cells))
        limits = np.full(len(cells), np.inf, np.float32)
        self._found = self._differences(self.vector, cells, limits)
        self._count_bits()

    def _count_bits(self) -> None:
        """Costs of the best vectors, beside each other as they are now."""
        self._cost = self._found[:, 0] + self._cost_of(self.vector)

    def _cost_of(self, vector: np.ndarray) -> np.ndarray:
        cost: np.ndarray = np.float32(self.rate) * self.bits(vector).ravel()
        return cost

    def _differences(self, vector: np.ndarray, cells: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """How far the predictions of some cells are off; most are tried more than once.

        Returns:
            The measure and the sum of absolute differences [n, 2], infinite where that is clearly
            above its limit [n].
        """
        found, new = self._tried.recall(vector, cells)
        if len(new):
            found[new] = self._new_differences(vector, cells[new], limits[new])
            self._tried.keep(vector, cells[new], found[new])
        return found

    def _new_differences(
        self, vector: np.ndarray, cells: np.ndarray, limits: np.ndarray
    ) -> np.ndarray:
        """The same, of vectors that were not tried yet."""
        errors, sizes = self._errors(vector, cells, limits)
        side, kept = errors.shape[-1], np.isfinite(sizes)
        basis = dct(side)
        down = basis @ torch.from_numpy(errors).flatten(1)
        coefficients = (down.view(-1, side) @ basis.T).view(errors.shape).numpy()
        both, bits = sizes[kept].astype(np.float64), np.zeros(errors.shape[1])
        add_sizes(coefficients, both)
        if self._near:
            add_costs(coefficients, self.rate, bits)
        measure = np.full_like(sizes, np.inf)
        measure[kept] = NEARBY * (both + self.rate * bits) if self._near else both / 2
        return np.stack([measure, sizes], 1)

    def bits(self, vector: np.ndarray) -> np.ndarray:
        """About what vectors cost beside those that were found so far, [rows, columns]."""
        own = 2 * sum_of_sizes(vector, medians(self.vector, PREDICTING), self._sizes)
        beside = is_beside(vector, self.vector, PREDICTING)
        bits: np.ndarray = VECTOR_BITS + np.where(beside, own.clip(max=BESIDE_BITS), own)
        return bits

    def _try(self, vector: np.ndarray) -> None:
        vector = np.ascontiguousarray(vector.clip(-VECTOR_LIMIT, VECTOR_LIMIT))
        cost = self._cost_of(vector)
        # The others cost too much by their vectors alone, or are those that were found.
        cells, limits = _promising(vector, self.vector, cost, self._cost, self._found)
        found = self._differences(vector, cells, limits)
        _take_better(vector, cost, cells, found, self.vector, self._found, self._cost)

    def _coarse(self) -> Iterator[np.ndarray]:
        """Best vectors at a quarter of the size: of each cell, and of its neighbourhood."""
        small = [F.avg_pool2d(x[None, None], 4)[0, 0] for x in (self.target, self.reference)]
        margin = F.pad(small[1][None, None], (REACH,) * 4, mode="replicate")[0, 0]
        height, width = small[0].shape
        offsets, costs = [], []
        for dy in range(-REACH, REACH + 1):
            lines = margin[REACH + dy : REACH + dy + height]
            shifted = lines.unfold(1, width, 1).transpose(0, 1)  # [2 REACH + 1, height, width]
            difference = (small[0] - shifted).abs()
            costs.append(F.avg_pool2d(difference[:, None], CELL // 4)[:, 0])
            offsets += [(dy, dx) for dx in range(-REACH, REACH + 1)]
        cells = torch.cat(costs)
        shifts = np.array(offsets) * 32
        wide = F.avg_pool2d(F.pad(cells[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
        for cost in (cells, wide):
            yield shifts[cost.argmin(0).numpy()].transpose(2, 0, 1)
        whole = shifts[int(cells.mean((1, 2)).argmin())]
        yield whole[:, None, None].repeat(self.rows, 1).repeat(self.columns, 2)

    def _neighbours(self) -> None:
        """Tries the vectors of the cells around, their median, and none."""
        for shift in AROUND:
            self._try(np.roll(self.vector, shift, (1, 2)))
        self._try(medians(self.vector, CROSS) // self.unit * self.unit)
        self._try(np.zeros_like(self.vector))

    def _refine(self, *steps: int) -> None:
        """Tries the vectors around, at distances that are not finer than the unit."""
        for step in steps:
            if step < self.unit:
                continue
            centre = self.vector.copy()
            for shift in product((-step, 0, step), repeat=2):
                if any(shift):
                    self._try(centre + np.array(shift)[:, None, None])

    def run(self) -> np.ndarray:
        """Vectors [2, rows, columns] in eighths of a sample."""
        self._begin(np.zeros((2, self.rows, self.columns), np.int64))
        for vector in self._coarse():
            self._try(vector)
        self._count_bits()
        self._refine(16)
        self._neighbours()
        self._refine(8, 4, 2, 1)
        for _ in range(2):
            self._count_bits()
            self._neighbours()
            self._refine(8, self.unit)
        return self.around(self.vector)

    def around(self, vector: np.ndarray) -> np.ndarray:
        """The best vectors within a sample of the given ones, or those of the cells around."""
        self._near = True
        self._begin(vector)
        self._refine(4, 2, 1)
        self._neighbours()
        return self.vector


class QuarterSearch(Search):
    """Finds the vectors of the quarters of cells, most of them those of a cell around.

    Args:
        cells: Vectors of the cells [2, rows, columns].
    """

    size = QUARTER
    _near = True

    def __init__(
        self,
        target: Tensor,
        reference: Tensor,
        plane: Plane,
        rate: float,
        unit: int,
        cells: np.ndarray,
    ) -> None:
        around = np.pad(cells, ((0, 0), (1, 1), (1, 1)), mode="edge")
        rows, columns = (np.arange(2 * n) for n in cells.shape[1:])
        here = [(n // 2 + 1) for n in (rows, columns)]
        near = [(n + 1) // 2 + n % 2 for n in (rows, columns)]
        self.cells = around[:, here[0][:, None], here[1]]
        self.beside = around[:, here[0][:, None], near[1]]
        self.upright = around[:, near[0][:, None], here[1]]
        super().__init__(target, reference, plane, rate, unit)

    def bits(self, vector: np.ndarray) -> np.ndarray:
        """About what they cost in a cell that is divided, [2 rows, 2 columns]."""
        own = np.float32(OWN_BITS) + 2 * sum_of_sizes(vector, self.cells, self._sizes)
        near = (vector == self.beside).all(0) | (vector == self.upright).all(0)
        bits: np.ndarray = np.where(near, own.clip(max=NEAR_BITS), own)
        bits = bits * (vector != self.cells).any(0)
        return bits

    def run(self) -> np.ndarray:
        """Vectors [2, 2 rows, 2 columns] in eighths of a sample."""
        self._begin(self.cells)
        whole = self._cost.copy()
        self._try(self.beside)
        self._try(self.upright)
        self._refine(8, 4, 2, 1)
        self._count_bits()
        self._neighbours()
        self._refine(self.unit)
        saved = (whole - self._cost).reshape(self.rows, self.columns)
        divided = in_quarters(_sums(saved) > self.rate * DIVIDED_BITS)
        self.vector = np.where(divided, self.vector, self.cells)
        return self.vector

    def division_bits(self) -> np.ndarray:
        """About what the quarters cost, [rows, columns]."""
        divided = _sums((self.vector != self.cells).any(0)) > 0
        return _sums(self.bits(self.vector)) + np.float32(DIVIDED_BITS) * divided


def _sums(quarters: np.ndarray) -> np.ndarray:
    """Sums of each cell's quarters, [rows, columns]."""
    rows, columns = quarters.shape
    total: np.ndarray = quarters.reshape(rows // 2, 2, columns // 2, 2).sum((1, 3))
    return total


@compiled
def _promising(
    vector: np.ndarray, best: np.ndarray, bits: np.ndarray, cost: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the cells whose vector is another, and may cost less than the best so far.

    And the sums of absolute differences above which it hardly does: they grow as the measure does.
    """
    new, old = vector.reshape(2, -1), best.reshape(2, -1)
    cells, limits = np.empty(len(cost), np.int64), np.empty(len(cost), np.float32)
    count = 0
    for n in range(len(cost)):
        if (new[0, n] != old[0, n] or new[1, n] != old[1, n]) and bits[n] < cost[n]:
            cells[count] = n
            tolerated = TOLERANCE * kept[n, 1] * (cost[n] - bits[n])
            limits[count] = tolerated / kept[n, 0] if kept[n, 0] > 0 else np.inf
            count += 1
    return cells[:count], limits[:count]


@compiled
def _take_better(
    vector: np.ndarray,
    bits: np.ndarray,
    cells: np.ndarray,
    found: np.ndarray,
    best: np.ndarray,
    kept: np.ndarray,
    cost: np.ndarray,
) -> None:
    """Takes the vectors that cost less.

    Args:
        vector, bits: All vectors that were tried, and what their bits are worth.
        cells, found: Those cells whose differences were found.
        best, kept, cost: Vectors to keep, their differences and costs; changed.
    """
    new, old = vector.reshape(2, -1), best.reshape(2, -1)
    for n in range(len(cost)):
        if new[0, n] == old[0, n] and new[1, n] == old[1, n]:
            # Its neighbours may have come nearer.
            cost[n] = min(cost[n], kept[n, 0] + bits[n])
    for k, n in enumerate(cells):
        if found[k, 0] + bits[n] < cost[n]:
            old[0, n], old[1, n] = new[0, n], new[1, n]
            kept[n], cost[n] = found[k], found[k, 0] + bits[n]


@cache
def dct(size: int) -> Tensor:
    """[size, size] the orthonormal DCT, float32."""
    k = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(torch.pi * (2 * k[None] + 1) * k[:, None] / (2 * size)) * sqrt(2 / size)
    basis[0] /= sqrt(2)
    return basis.float()
