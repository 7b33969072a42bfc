"""Motion estimation: hierarchical block matching, and modes by rate and distortion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from innvc.model import lifting
from innvc.model.motion import (
    AFTER,
    BEFORE,
    BOTH,
    CELL,
    DETAIL_ENERGY,
    VECTOR_LIMIT,
    LevelMotion,
    Motion,
    MotionLifting,
    Plane,
    Warp,
    to_cells,
    used,
)
from innvc.model.subbands import low_counts

REACH = 12  # of the full search, in samples of a quarter of the size
MODE_BITS = (4.0, 1.0, 2.0, 0.0)  # a guess, by mode
UNLIKE_BITS = 3.0  # a guess, for each neighbour of another mode


def coefficient_cost(x: Tensor) -> Tensor:
    """Bits and distortion of coefficients in quantisation steps, in bits: reverse water-filling.

    Small ones are left out at 6 / ln 2 bits for a squared step (where rate and distortion
    balance), large ones cost the logarithm of their size.
    """
    return 0.5 * torch.log2(1 + 12 * x.square())


class Search:
    """Finds the vectors from one picture to another, both [H, W] luma.

    Args:
        rate: Sum of absolute differences that one bit of a vector is worth.
    """

    def __init__(self, target: Tensor, reference: Tensor, plane: Plane, rate: float) -> None:
        self.target, self.reference, self.plane, self.rate = target, reference, plane, rate
        self.rows, self.columns = target.shape[0] // CELL, target.shape[1] // CELL
        self.vector = torch.zeros(2, self.rows, self.columns, dtype=torch.long)
        self.cost = self._cost(self.vector)

    def _differences(self, vector: Tensor) -> Tensor:
        """Sum of absolute differences of each cell, [rows, columns]."""
        predicted = compensated(self.reference, vector, self.plane)
        difference = to_cells((self.target - predicted).abs(), (CELL, CELL))
        return difference.sum((1, 2)).view(self.rows, self.columns)

    def _cost(self, vector: Tensor) -> Tensor:
        return self._differences(vector) + self.rate * self.bits(vector)

    def bits(self, vector: Tensor) -> Tensor:
        """About what vectors cost beside those that were found so far, [rows, columns]."""
        padded = F.pad(self.vector[None].float(), (1, 1, 1, 1), mode="replicate")[0]
        near = torch.stack([padded[:, 1:-1, :-2], padded[:, :-2, 1:-1], padded[:, :-2, 2:]])
        predicted = near.median(0).values
        return (1 + 2 * torch.log2(1 + (vector - predicted).abs())).sum(0)

    def _try(self, vector: Tensor) -> None:
        vector = vector.clamp(-VECTOR_LIMIT, VECTOR_LIMIT)
        cost = self._cost(vector)
        better = cost < self.cost
        self.vector = torch.where(better, vector, self.vector)
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
            yield (shifts[cost.argmin(0)] * 16).permute(2, 0, 1)
        whole = shifts[cells.mean((1, 2)).argmin()] * 16
        yield whole[:, None, None].expand(2, self.rows, self.columns)

    def _neighbours(self) -> None:
        for axis, shift in ((1, 1), (1, -1), (2, 1), (2, -1)):
            self._try(torch.roll(self.vector, shift, axis))

    def _refine(self, step: int) -> None:
        centre = self.vector
        for dy in (-step, 0, step):
            for dx in (-step, 0, step):
                if dy or dx:
                    self._try(centre + torch.tensor([dy, dx])[:, None, None])

    def run(self) -> Tensor:
        """Vectors [2, rows, columns] in quarter samples."""
        for vector in self._coarse():
            self._try(vector)
        self.cost = self._cost(self.vector)
        self._refine(8)
        self._neighbours()
        for step in (4, 2, 1):
            self._refine(step)
        self.cost = self._cost(self.vector)
        self._neighbours()
        self._refine(1)
        return self.vector

    def around(self, vector: Tensor) -> Tensor:
        """The best vectors within a sample of the given ones."""
        self.vector = vector
        self.cost = self._cost(vector)
        for step in (2, 1):
            self._refine(step)
        return self.vector


@dataclass(frozen=True)
class LevelSearch:
    """What was found for one lifting level: enough to take any part of it.

    Attributes:
        vector: [P, 2, 2, rows, columns] for each of the references alone.
        joint: The same where both are used.
        cost: [P, 4, rows, columns] bits of each mode.
    """

    vector: np.ndarray
    joint: np.ndarray
    cost: np.ndarray

    def motion(self, first: int, count: int, open_end: bool) -> LevelMotion:
        """The best modes for some frames; `open_end`: the last has no reference after it."""
        cost = self.cost[first : first + count].copy()
        if open_end:
            cost[-1, [AFTER, BOTH]] = np.inf
        mode = smooth_modes(cost)
        both = (mode == BOTH)[:, None, None]
        part = slice(first, first + count)
        vector = np.where(both, self.joint[part], self.vector[part])
        return LevelMotion(mode, vector * used(mode)[:, :, None])


def smooth_modes(cost: np.ndarray) -> np.ndarray:
    """The modes of least cost where a mode unlike a neighbour's costs bits (iterated conditional).

    Args:
        cost: Bits [P, 4, rows, columns].
    """
    mode = cost.argmin(1)
    i, j = np.indices(mode.shape[1:])
    for turn in range(4):
        padded = np.pad(mode, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
        near = np.stack(
            [padded[:, 1:-1, :-2], padded[:, 1:-1, 2:], padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]]
        )
        unlike = (near[:, :, None] != np.arange(4)[:, None, None]) & (near[:, :, None] >= 0)
        better = (cost + UNLIKE_BITS * unlike.sum(0)).argmin(1)
        mode = np.where((i + j) % 2 == turn % 2, better, mode)
    return mode.astype(np.uint8)


class GroupSearch:
    """Motion of one aligned group, found level by level on the frames as lifted so far.

    Args:
        frames: Packed [G, C, H, W].
        planes: Of the packed channels.
        steps: Quantisation step of each plane at the low-pass.
    """

    def __init__(self, frames: Tensor, planes: Sequence[Plane], steps: Sequence[float]) -> None:
        self.frames = frames
        self.planes = planes
        self.steps = steps
        self.levels: list[LevelSearch] = []
        low, gain, level = frames, 1.0, 1
        while len(low) > 1:
            a, b = low[0::2], low[1::2]
            found = self._level(a, b, gain)
            self.levels.append(found)
            chosen = found.motion(0, len(b), len(a) == len(b))
            step = MotionLifting([chosen] * level, planes)
            low = a + step.update(b - step.predict(a, level, len(b)), level, len(a))
            gain *= sqrt(2)
            level += 1

    def _level(self, a: Tensor, b: Tensor, gain: float) -> LevelSearch:
        luma = self.planes[0]
        targets, references = luma.unpack(b), luma.unpack(a)
        rows, columns = (n // CELL for n in targets.shape[1:])
        vector = np.zeros((len(b), 2, 2, rows, columns), np.int16)
        joint = np.zeros_like(vector)
        cost = np.full((len(b), 4, rows, columns), np.inf, np.float32)
        rate = 0.6 * self.steps[0] / gain
        for p in range(len(b)):
            target, near = targets[p], references[p : p + 2]
            searches = [Search(target, reference, luma, rate) for reference in near]
            found = [search.run() for search in searches]
            both = list(found)
            if len(found) > 1:  # each in turn, given the other: |t - (x + y) / 2|
                for side in (1, 0):
                    other = compensated(near[1 - side], both[1 - side], luma)
                    search = Search(2 * target - other, near[side], luma, 2 * rate)
                    both[side] = search.around(both[side])
            bits = [search.bits(v) for search, v in zip(searches, found, strict=True)]
            vectors = [*found, *both]
            vector[p, : len(found)] = torch.stack(found).numpy()
            joint[p, : len(found)] = torch.stack(both).numpy()
            cost[p] = self._modes(a[p : p + 2], b[p : p + 1], vectors, gain)
            cost[p, BEFORE] += bits[0].numpy()
            if len(found) > 1:
                cost[p, AFTER] += bits[1].numpy()
                cost[p, BOTH] += (bits[0] + bits[1]).numpy()
        return LevelSearch(vector, joint, cost)

    def _modes(self, a: Tensor, b: Tensor, vectors: Sequence[Tensor], gain: float) -> np.ndarray:
        """Bits of each mode but those of the vectors, [4, rows, columns].

        Args:
            a, b: Packed references [1 or 2, C, H, W] and target [1, C, H, W].
            vectors: To each reference alone, then to each where both are used.
        """
        total: Tensor | float = 0.0
        for plane, step in zip(self.planes, self.steps, strict=True):
            target, references = plane.unpack(b)[0], plane.unpack(a)
            sources = [*references, *references]
            warped = [compensated(r, v, plane) for r, v in zip(sources, vectors, strict=True)]
            residuals = [target, target - warped[0]]
            if len(references) > 1:
                residuals += [target - warped[1], target - (warped[2] + warped[3]) / 2]
            scale = DETAIL_ENERGY[: len(residuals)].sqrt() * gain / step
            cells = to_cells(torch.stack(residuals), plane.samples(CELL))
            vertical, horizontal = (_dct(n).to(cells) for n in plane.samples(CELL))
            coefficients = vertical @ cells @ horizontal.T * scale[:, None, None, None]
            total = total + coefficient_cost(coefficients).sum((2, 3))
        rows, columns = vectors[0].shape[1:]
        cost = np.full((4, rows, columns), np.inf, np.float32)
        bits = torch.tensor(MODE_BITS)[: len(total), None]
        cost[: len(total)] = (total + bits).view(-1, rows, columns).numpy()
        return cost

    def motion(self, start: int, size: int) -> Motion:
        """The motion of a part of the group that begins at a multiple of a larger power of two."""
        levels = zip(self.levels, pairwise(low_counts(size)), strict=False)
        return [
            found.motion(start >> level, frames - low, frames % 2 == 0)
            for level, (found, (frames, low)) in enumerate(levels, 1)
        ]

    def lifted(self, start: int, size: int) -> Tensor:
        """Subband frames [size, C, H, W] of an aligned part."""
        part = self.frames[start : start + size]
        if size == 1:
            return part
        return lifting.forward(part, MotionLifting(self.motion(start, size), self.planes))


def compensated(reference: Tensor, vector: Tensor, plane: Plane) -> Tensor:
    """Prediction from samples [H, W] by vectors [2, rows, columns], cell by cell."""
    weight = torch.ones(vector.shape[1:])
    return Warp(vector, weight, plane, reference, overlap=0)(reference)


@cache
def _dct(size: int) -> Tensor:
    """[size, size] the orthonormal DCT."""
    k = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(torch.pi * (2 * k[None] + 1) * k[:, None] / (2 * size)) * sqrt(2 / size)
    basis[0] /= sqrt(2)
    return basis
