"""Block matching: one vector a cell, and where it pays one for each quarter of a cell."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from innvc.model.motion import CELL, VECTOR_LIMIT
from innvc.model.warp import (
    QUARTER,
    Plane,
    Warp,
    add_sizes,
)

CROSS = ((0, -1), (-1, 0), (0, 1), (1, 0), (0, 0))
AROUND = (*CROSS[:4], (1, 1), (1, -1), (-1, 1), (-1, -1))
REACH = 12  # of the full search, in samples of a quarter of the size
# Guesses: of a divided cell, of a quarter that takes a neighbour's vector, of one with its own.
DIVIDED_BITS, NEAR_BITS, OWN_BITS = 3.0, 2.0, 4.0


class Search:
    """Finds the vectors from one picture to another, both [H, W] luma.

    A cell counts with the samples around that it is blended into. The measure is the mean of the
    absolute differences' sum and that of their DCT, which is nearer to what coding them costs.

    Args:
        rate: Difference that one bit of a vector is worth.
        unit: Vectors are multiples of it: 1 or 2 eighths of a sample.
    """

    size = CELL

    def __init__(
        self, target: Tensor, reference: Tensor, plane: Plane, rate: float, unit: int
    ) -> None:
        self.target, self.reference, self.plane, self.rate = target, reference, plane, rate
        self.unit = unit
        self.rows, self.columns = (n // self.size for n in target.shape)
        self.vector = torch.zeros(2, self.rows, self.columns, dtype=torch.long)

    def _begin(self, vector: Tensor) -> None:
        """Takes vectors as the best so far."""
        self.vector = vector
        every = torch.arange(self.rows * self.columns)
        self._difference = self._differences(vector, every).view(self.rows, self.columns)
        self._count_bits()

    def _count_bits(self) -> None:
        """Costs of the best vectors, beside each other as they are now."""
        self.cost = self._difference + self.rate * self.bits(self.vector)

    def _differences(self, vector: Tensor, cells: Tensor) -> Tensor:
        """How far the predictions of some cells are off, [n]."""
        warp = Warp(vector, None, self.plane, self.reference, self.size, cells=cells)
        errors = warp.errors(self.reference, self.target)
        side = errors.shape[-1]
        basis = dct(side).to(errors)
        coefficients = (basis @ errors.flatten(1)).view(-1, side) @ basis.T
        found = errors.new_zeros(len(cells))
        for part in (errors, coefficients.view_as(errors)):
            add_sizes(part.numpy(), found.numpy())
        return found / 2

    def bits(self, vector: Tensor) -> Tensor:
        """About what vectors cost beside those that were found so far, [rows, columns]."""
        padded = self._padded()
        near = torch.stack([padded[:, 1:-1, :-2], padded[:, :-2, 1:-1], padded[:, :-2, 2:]])
        predicted = near.median(0).values
        return (1 + 2 * torch.log2(1 + (vector - predicted).abs() / self.unit)).sum(0)

    def _try(self, vector: Tensor) -> None:
        vector = vector.clamp(-VECTOR_LIMIT, VECTOR_LIMIT)
        bits = self.rate * self.bits(vector)
        new = (vector != self.vector).any(0)
        # The others cost too much by their vectors alone, or are those that were found.
        cells = (new & (bits < self.cost)).flatten().nonzero()[:, 0]
        difference = torch.where(new, torch.inf, self._difference)
        if len(cells):
            difference.view(-1)[cells] = self._differences(vector, cells)
        cost = difference + bits
        better = cost < self.cost
        self.vector = torch.where(better, vector, self.vector)
        self._difference = torch.where(better, difference, self._difference)
        self.cost = torch.where(better, cost, self.cost)

    def _coarse(self) -> Iterator[Tensor]:
        """Best vectors at a quarter of the size: of each cell, and of its neighbourhood."""
        small = [F.avg_pool2d(x[None, None], 4)[0, 0] for x in (self.target, self.reference)]
        margin = F.pad(small[1][None, None], (REACH,) * 4, mode="replicate")[0, 0]
        height, width = small[0].shape
        offsets, costs = [], []
        for dy in range(-REACH, REACH + 1):
            for dx in range(-REACH, REACH + 1):
                shifted = margin[REACH + dy : REACH + dy + height, REACH + dx : REACH + dx + width]
                difference = (small[0] - shifted).abs()
                costs.append(F.avg_pool2d(difference[None, None], CELL // 4)[0, 0])
                offsets.append((dy, dx))
        cells = torch.stack(costs)
        shifts = torch.tensor(offsets)
        wide = F.avg_pool2d(F.pad(cells[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
        for cost in (cells, wide):
            yield (shifts[cost.argmin(0)] * 32).permute(2, 0, 1)
        whole = shifts[cells.mean((1, 2)).argmin()] * 32
        yield whole[:, None, None].expand(2, self.rows, self.columns)

    def _padded(self) -> Tensor:
        return F.pad(self.vector[None].float(), (1, 1, 1, 1), mode="replicate")[0]

    def _neighbours(self) -> None:
        """Tries the vectors of the cells around, their median, and none."""
        for shift in AROUND:
            self._try(torch.roll(self.vector, shift, (1, 2)))
        padded = self._padded()
        cross = [padded[:, 1 + y :, 1 + x :][:, : self.rows, : self.columns] for y, x in CROSS]
        median = torch.stack(cross).median(0).values.long()
        self._try(median // self.unit * self.unit)
        self._try(torch.zeros_like(self.vector))

    def _refine(self, *steps: int) -> None:
        """Tries the vectors around, at distances that are not finer than the unit."""
        for step in steps:
            if step < self.unit:
                continue
            centre = self.vector
            for shift in product((-step, 0, step), repeat=2):
                if any(shift):
                    self._try(centre + torch.tensor(shift)[:, None, None])

    def run(self) -> Tensor:
        """Vectors [2, rows, columns] in eighths of a sample."""
        self._begin(self.vector)
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
        return self.vector

    def around(self, vector: Tensor) -> Tensor:
        """The best vectors within a sample of the given ones."""
        self._begin(vector)
        self._refine(4, 2, 1)
        return self.vector


class QuarterSearch(Search):
    """Finds the vectors of the quarters of cells, most of them those of a cell around.

    Args:
        cells: Vectors of the cells [2, rows, columns].
    """

    size = QUARTER

    def __init__(
        self,
        target: Tensor,
        reference: Tensor,
        plane: Plane,
        rate: float,
        unit: int,
        cells: Tensor,
    ) -> None:
        around = F.pad(cells[None].float(), (1, 1, 1, 1), mode="replicate")[0].long()
        rows, columns = (torch.arange(2 * n) for n in cells.shape[1:])
        here = [(n // 2 + 1) for n in (rows, columns)]
        near = [(n + 1) // 2 + n % 2 for n in (rows, columns)]
        self.cells = around[:, here[0][:, None], here[1]]
        self.beside = around[:, here[0][:, None], near[1]]
        self.upright = around[:, near[0][:, None], here[1]]
        super().__init__(target, reference, plane, rate, unit)

    def bits(self, vector: Tensor) -> Tensor:
        """About what they cost in a cell that is divided, [2 rows, 2 columns]."""
        own = OWN_BITS + 2 * torch.log2(1 + (vector - self.cells).abs() / self.unit).sum(0)
        near = (vector == self.beside).all(0) | (vector == self.upright).all(0)
        bits = torch.where(near, own.clamp(max=NEAR_BITS), own)
        return bits * (vector != self.cells).any(0)

    def run(self) -> Tensor:
        """Vectors [2, 2 rows, 2 columns] in eighths of a sample."""
        self._begin(self.cells)
        whole = self.cost
        self._try(self.beside)
        self._try(self.upright)
        self._refine(8, 4, 2, 1)
        gain = _sums(whole - self.cost) > self.rate * DIVIDED_BITS
        divided = gain.repeat_interleave(2, 0).repeat_interleave(2, 1)
        self.vector = torch.where(divided, self.vector, self.cells)
        return self.vector

    def division_bits(self) -> Tensor:
        """About what the quarters cost, [rows, columns]."""
        divided = _sums((self.vector != self.cells).any(0).float()) > 0
        return _sums(self.bits(self.vector)) + DIVIDED_BITS * divided


def _sums(quarters: Tensor) -> Tensor:
    """Sums of each cell's quarters, [rows, columns]."""
    return quarters.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).sum((1, 3))


@cache
def dct(size: int) -> Tensor:
    """[size, size] the orthonormal DCT."""
    k = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(torch.pi * (2 * k[None] + 1) * k[:, None] / (2 * size)) * sqrt(2 / size)
    basis[0] /= sqrt(2)
    return basis
