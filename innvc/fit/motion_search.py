"""Motion estimation: vectors by block matching, modes by rate and distortion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from innvc.device import side_by_side
from innvc.fit.block_matching import QuarterSearch, Search, dct
from innvc.fit.coefficient_cost import coefficient_cost
from innvc.model import lifting
from innvc.model.motion import (
    AFTER,
    BEFORE,
    BOTH,
    CELL,
    DETAIL_ENERGY,
    LevelMotion,
    Motion,
    MotionLifting,
    in_quarters,
    to_cells,
    used,
)
from innvc.model.planes import Plane
from innvc.model.subbands import is_centred, low_counts
from innvc.model.warp import QUARTER, Warp

MIXED = 0.6  # of coefficients' cost and of their sizes in steps, as bits of a mode's errors
MODE_BITS = (8.0, 2.0, 4.0, 0.0)  # a guess, by mode
LOW_PASS_SHARE = 0.15  # of what a cell would cost by itself, for its part of the low-pass frame
# That noise of one of two details brings into three frames whose middle one is kept: both together
# are as many octaves as the low-pass gains.
CENTRED_ENERGY = torch.tensor([1.0, 3**-0.5, 3**-0.5, 1.0])
UNLIKE_BITS = 10.0  # a guess, for each neighbour of another mode
EIGHTHS_BELOW = 11.0  # step of luma, in 8-bit code values, below which vectors are eighths


@dataclass(frozen=True)
class Vectors:
    """Vectors of cells [P, 2, 2, rows, columns] and of their quarters."""

    cells: np.ndarray
    quarters: np.ndarray

    @classmethod
    def zeros(cls, frames: int, rows: int, columns: int) -> Vectors:
        cells = np.zeros((frames, 2, 2, rows, columns), np.int16)
        return cls(cells, in_quarters(cells))

    def put(self, frame: int, cells: Sequence[np.ndarray], quarters: Sequence[np.ndarray]) -> None:
        self.cells[frame, : len(cells)] = cells
        self.quarters[frame, : len(cells)] = quarters


@dataclass(frozen=True)
class LevelSearch:
    """What was found for one lifting level: enough to take any part of it.

    Attributes:
        alone: Vectors where one reference is used.
        joint: Vectors where both are.
        cost: [P, 4, rows, columns] bits of each mode.
    """

    alone: Vectors
    joint: Vectors
    cost: np.ndarray

    def motion(self, first: int, count: int, open_end: bool) -> LevelMotion:
        """The best modes for some frames; `open_end`: the last has no reference after it."""
        cost = self.cost[first : first + count].copy()
        if open_end:
            cost[-1, [AFTER, BOTH]] = np.inf
        mode = smooth_modes(cost)
        both, uses = (mode == BOTH)[:, None, None], used(mode)[:, :, None]
        part = slice(first, first + count)
        vector = np.where(both, self.joint.cells[part], self.alone.cells[part]) * uses
        both, uses = in_quarters(both), in_quarters(uses)
        quarters = np.where(both, self.joint.quarters[part], self.alone.quarters[part]) * uses
        return LevelMotion(mode, vector, quarters)


def smooth_modes(cost: np.ndarray) -> np.ndarray:
    """The modes of least cost where a mode unlike a neighbour's costs bits (iterated conditional).

    Args:
        cost: Bits [P, 4, rows, columns].
    """
    mode: np.ndarray = cost.argmin(1)
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


class _Alone(NamedTuple):
    """Vectors of cells and of quarters to one reference, their bits, and those of division."""

    cells: np.ndarray
    quarters: np.ndarray
    bits: np.ndarray
    division: np.ndarray


class _Found(NamedTuple):
    """Vectors of cells and of quarters to each reference, and costs [4, rows, columns] of modes."""

    alone: tuple[list[np.ndarray], list[np.ndarray]]
    joint: tuple[list[np.ndarray], list[np.ndarray]]
    cost: np.ndarray


class LevelMatcher:
    """Searches the motion of one lifting level.

    Args:
        planes: Of the packed channels.
        steps: Quantisation step of each plane at the low-pass.
    """

    def __init__(self, planes: Sequence[Plane], steps: Sequence[float]) -> None:
        self.planes = planes
        self.steps = steps
        self._unit = 1 if steps[0] < EIGHTHS_BELOW else 2

    def search(
        self, a: Tensor, b: Tensor, gain: float, energy: Tensor = DETAIL_ENERGY
    ) -> LevelSearch:
        """Finds the motion from even frames a to odd frames b, both packed [., C, H, W].

        Args:
            gain: Of b, against steps.
            energy: That noise brings into the frames, by mode.
        """
        luma, rate = self.planes[0], self.steps[0] / gain
        targets, references = luma.unpack(b), luma.unpack(a)
        pairs = [(p, q) for p in range(len(b)) for q in (p, p + 1) if q < len(a)]
        alone = side_by_side(
            lambda pair: self._alone(targets[pair[0]], references[pair[1]], rate), pairs
        )
        by_pair = dict(zip(pairs, alone, strict=True))
        found = side_by_side(
            lambda p: self._pair(
                a[p : p + 2],
                b[p : p + 1],
                gain,
                energy,
                [by_pair[p, q] for q in (p, p + 1) if q < len(a)],
            ),
            range(len(b)),
        )
        rows, columns = found[0].cost.shape[1:]
        singly, jointly = (Vectors.zeros(len(b), rows, columns) for _ in range(2))
        for p, frame in enumerate(found):
            singly.put(p, *frame.alone)
            jointly.put(p, *frame.joint)
        return LevelSearch(singly, jointly, np.stack([frame.cost for frame in found]))

    def _alone(self, target: Tensor, reference: Tensor, rate: float) -> _Alone:
        """Finds the motion to one reference, both [H, W] luma."""
        search = Search(target, reference, self.planes[0], rate, self._unit)
        cells = search.run()
        divided = QuarterSearch(target, reference, self.planes[0], rate, self._unit, cells)
        return _Alone(cells, divided.run(), search.bits(cells), divided.division_bits())

    def _pair(
        self, a: Tensor, b: Tensor, gain: float, energy: Tensor, alone: Sequence[_Alone]
    ) -> _Found:
        """Finds the motion of one odd frame b [1, C, H, W] from one or two even frames a.

        Args:
            alone: What was found to each of them.
        """
        luma = self.planes[0]
        target, near = luma.unpack(b)[0], luma.unpack(a)
        rate = self.steps[0] / gain
        found, quarters = [one.cells for one in alone], [one.quarters for one in alone]
        joint_bits = [one.bits for one in alone]
        bits = [one.bits + one.division for one in alone]
        cells = list(found)
        both = list(quarters)
        if len(found) > 1:  # each in turn, given the other: |t - (x + y) / 2|
            for side in (1, 0, 1, 0):
                other = compensated(near[1 - side], cells[1 - side], luma, CELL)
                search = Search(2 * target - other, near[side], luma, 2 * rate, self._unit)
                cells[side] = search.around(cells[side])
            both = [in_quarters(v) for v in cells]
            for side in (1, 0):
                other = compensated(near[1 - side], both[1 - side], luma)
                arguments = 2 * target - other, near[side], luma, 2 * rate, self._unit
                last = QuarterSearch(*arguments, cells[side])
                both[side] = last.run()
                joint_bits[side] = joint_bits[side] + last.division_bits()
        cost = self._modes(a, b, [*quarters, *both], gain * energy.sqrt())
        cost[BEFORE] += bits[0]
        if len(found) > 1:
            cost[AFTER] += bits[1]
            cost[BOTH] += joint_bits[0] + joint_bits[1]
        return _Found((found, quarters), (cells, both), cost)

    def centred(self, low: Tensor, gain: float) -> LevelMotion:
        """The motion from the middle one of three frames [3, C, H, W] to the others."""
        middle = low[1:2]
        first, last = (
            self.search(middle, low[i : i + 1], gain, CENTRED_ENERGY).motion(0, 1, open_end=True)
            for i in (0, 2)
        )
        mode = np.where(first.mode == BEFORE, AFTER, first.mode).astype(np.uint8)
        return LevelMotion(
            np.concatenate([mode, last.mode]),
            np.concatenate([first.vector[:, ::-1], last.vector]),
            np.concatenate([first.quarters[:, ::-1], last.quarters]),
        )

    def _modes(
        self, a: Tensor, b: Tensor, vectors: Sequence[np.ndarray], gain: Tensor
    ) -> np.ndarray:
        """Bits of each mode but those of the vectors, [4, rows, columns].

        The gains of details and of the low-pass make up for each other: where a mode lets a detail
        be coded more coarsely, the low-pass is coded more finely.

        Args:
            a, b: Packed references [1 or 2, C, H, W] and target [1, C, H, W].
            vectors: To each reference alone, then to each where both are used.
            gain: By mode.
        """
        total = torch.zeros(())
        for plane, step in zip(self.planes, self.steps, strict=True):
            target, references = plane.unpack(b)[0], plane.unpack(a)
            sources = [*references, *references]
            warped = [compensated(r, v, plane) for r, v in zip(sources, vectors, strict=True)]
            residuals = [target, target - warped[0]]
            if len(references) > 1:
                residuals += [target - warped[1], target - (warped[2] + warped[3]) / 2]
            detail = (gain[: len(residuals)] / step)[:, None, None, None]
            low = detail[:1] ** 2 / detail
            cells = to_cells(torch.stack(residuals), plane.samples(CELL))
            vertical, horizontal = (dct(n) for n in plane.samples(CELL))
            coefficients = vertical @ cells @ horizontal.T
            own = _bits(low * coefficients[:1])
            total = total + _bits(detail * coefficients) + LOW_PASS_SHARE * own
        rows, columns = (n // 2 for n in vectors[0].shape[1:])
        cost = np.full((4, rows, columns), np.inf, np.float32)
        own = torch.tensor(MODE_BITS)[: len(total), None]
        cost[: len(total)] = (total + own).view(-1, rows, columns).numpy()
        return cost

    def prediction(self, references: Tensor, low: Tensor, gain: float) -> Motion:
        """The motion from two frames [2, C, H, W] of the packet before to a low-pass frame.

        Args:
            low: As bright as a frame, [1, C, H, W].
            gain: By which it is coded.
        """
        found = self.search(references, low, gain, energy=torch.ones(4))
        return [found.motion(0, 1, open_end=False)]


def _bits(coefficients: Tensor) -> Tensor:
    """What coefficients [modes, cells, height, width] in steps cost, [modes, cells]."""
    return MIXED * (coefficient_cost(coefficients) + coefficients.abs()).sum((2, 3))


class GroupSearch:
    """Motion of one aligned group, found level by level on the frames as lifted so far.

    Args:
        frames: Packed [G, C, H, W].
        matcher: Searches each level.
    """

    def __init__(self, frames: Tensor, matcher: LevelMatcher) -> None:
        self.frames = frames
        self.planes = planes = matcher.planes
        self.levels: list[LevelSearch] = []
        self._matcher = matcher
        self._lows: list[Tensor] = []
        self._centred: dict[tuple[int, int], LevelMotion] = {}
        low, gain, level = frames, 1.0, 1
        while len(low) > 1:
            self._lows.append(low)
            a, b = low[0::2], low[1::2]
            found = matcher.search(a, b, gain)
            self.levels.append(found)
            chosen = found.motion(0, len(b), len(a) == len(b))
            step = MotionLifting([chosen] * level, planes)
            low = a + step.update(b - step.predict(a, level, len(b)), level, len(a))
            gain *= sqrt(2)
            level += 1

    def motion(self, start: int, size: int) -> Motion:
        """The motion of a part of the group that begins at a multiple of a larger power of two."""
        motion = []
        for level, (frames, low) in enumerate(pairwise(low_counts(size)), 1):
            if is_centred(frames):
                motion.append(self._of_three(start >> (level - 1), level))
            else:
                found = self.levels[level - 1]
                motion.append(found.motion(start >> level, frames - low, frames % 2 == 0))
        return motion

    def _of_three(self, first: int, level: int) -> LevelMotion:
        """The motion of a part of which three frames are left, from `first` on."""
        if (first, level) not in self._centred:
            low = self._lows[level - 1][first : first + 3]
            self._centred[first, level] = self._matcher.centred(low, sqrt(2) ** (level - 1))
        return self._centred[first, level]

    def lifted(self, start: int, size: int) -> Tensor:
        """Subband frames [size, C, H, W] of an aligned part."""
        part = self.frames[start : start + size]
        if size == 1:
            return part
        return lifting.forward(part, MotionLifting(self.motion(start, size), self.planes))


def compensated(reference: Tensor, vector: np.ndarray, plane: Plane, size: int = QUARTER) -> Tensor:
    """Prediction from samples [H, W] by vectors [2, rows, columns], each for itself."""
    warp = Warp(torch.from_numpy(vector), None, plane, reference, size, overlap=0)
    return warp(reference[None])[0]
