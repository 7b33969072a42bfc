"""Motion-compensated lifting: block motion of eighth-pel vectors, forward, backward or both.

The picture is divided into cells of 16x16 luma samples. In each detail frame of each lifting level
a cell has a mode: the odd frame's cell is not predicted, predicted from the even frame before it,
from the even frame after it, or from the mean of both (the 5/3 wavelet). One vector a reference,
or where things part one for each quarter of the cell.

The update is the adjoint of the prediction: a detail goes back, with the same filters, to the
samples that predicted it, and each even sample becomes the mean of itself and of all that it
predicted: `l = a + sum(W^T h) / (1 + sum(W^T 1))`. So no backward vectors are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from innvc.device import side_by_side
from innvc.model.lifting import Frames, Lifting, split, synthesis_energy
from innvc.model.planes import Plane, alike
from innvc.model.subbands import is_centred, low_counts
from innvc.model.warp import QUARTER, Warp, nearest, to_samples

CELL = 16  # luma samples
VECTOR_LIMIT = 1 << 13  # of |component| as it is coded: in eighths or quarters of a sample
NONE, BEFORE, AFTER, BOTH = range(4)
# Weight of each reference, by mode, and the energy that noise of a detail brings into the frames
# (synthesis norms of no transform, Haar and 5/3).
WEIGHTS = torch.tensor([[0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.5]])
DETAIL_ENERGY = torch.tensor([1.0, 0.5, 0.5, 0.71875])


@dataclass(frozen=True)
class LevelMotion:
    """Motion of the P detail frames of one lifting level.

    Attributes:
        mode: uint8 [P, rows, columns], NONE, BEFORE, AFTER or BOTH.
        vector: int16 [P, 2, 2, rows, columns]: reference before and after; vertical and
            horizontal, in eighths of a luma sample; zero where the mode does not use it.
        quarters: The same for the quarters of the cells, [P, 2, 2, 2 rows, 2 columns]: what
            predicts. The cells' own vectors predict vectors.
    """

    mode: np.ndarray
    vector: np.ndarray
    quarters: np.ndarray

    def part(self, first: int, count: int) -> LevelMotion:
        """The motion of some of the frames."""
        part = slice(first, first + count)
        return LevelMotion(self.mode[part], self.vector[part], self.quarters[part])


Motion = Sequence[LevelMotion]  # of lifting levels 1, 2 ... of a group


def zero(group: int, rows: int, columns: int) -> list[LevelMotion]:
    """No motion: every odd frame is predicted by the even frame before it.

    The first of three has none before it, and is predicted by the one after it.
    """
    motion = []
    for frames, low in pairwise(low_counts(group)):
        mode = np.full((frames - low, rows, columns), BEFORE, np.uint8)
        if is_centred(frames):
            mode[0] = AFTER
        vector = np.zeros((len(mode), 2, 2, rows, columns), np.int16)
        motion.append(LevelMotion(mode, vector, in_quarters(vector)))
    return motion


def used(mode: np.ndarray) -> np.ndarray:
    """Which of the two references each cell uses, bool [P, 2, rows, columns]."""
    return np.stack([(mode == BEFORE) | (mode == BOTH), (mode == AFTER) | (mode == BOTH)], 1)


def in_quarters(cells: np.ndarray) -> np.ndarray:
    """Values of cells [..., rows, columns] for their quarters."""
    return cells.repeat(2, -2).repeat(2, -1)


class _Reference(NamedTuple):
    """An even frame that an odd one is predicted from, and how, for all quarters."""

    odd: int
    even: int
    vector: Tensor
    weight: Tensor


class MotionLifting(Lifting):
    """Operators of motion-compensated lifting for one group (see `lifting.Lifting`).

    Args:
        motion: Of the group.
        planes: From `planes_of`.
    """

    def __init__(self, motion: Motion, planes: Sequence[Plane]) -> None:
        self.motion = motion
        self.planes = planes
        self._found: dict[tuple[int, int], list[_Reference]] = {}  # by level and even frames

    def _references(self, level: int, count: int) -> list[_Reference]:
        """Those of a level's odd frames among `count` even ones."""
        if (level, count) not in self._found:
            motion, found = self.motion[level - 1], []
            first = -int(len(motion.mode) > count)  # the even frame before the first odd one
            for odd, mode in enumerate(motion.mode):
                modes = torch.from_numpy(in_quarters(mode)).long()
                for side in range(2):
                    weight = WEIGHTS[side][modes]
                    if weight.any():
                        vector = torch.from_numpy(motion.quarters[odd, side])
                        found.append(_Reference(odd, first + odd + side, vector, weight))
            self._found[level, count] = found
        return self._found[level, count]

    def predict_frame(self, a: Frames, level: int, count: int, number: int) -> Tensor:
        pairs = [(r, a[r.even]) for r in self._references(level, count) if r.odd == number]
        return self._sum(pairs, torch.zeros_like(a[0]), lambda warp, samples: warp(samples))

    def return_frame(self, b: Frames, level: int, count: int, number: int) -> Tensor:
        pairs = [(r, b[r.odd]) for r in self._references(level, count) if r.even == number]
        zero = torch.zeros_like(b[0])
        return self._sum(pairs, zero, lambda warp, samples: warp.adjoint(samples))

    def update_frame(self, h: Frames, level: int, count: int, number: int) -> Tensor:
        pairs = [(r, h[r.odd]) for r in self._references(level, count) if r.even == number]
        zero = torch.zeros_like(h[0])
        return self._sum(pairs, zero, lambda warp, samples: warp.adjoint(samples), mean=True)

    def moved(self, level: int, number: int, detail: Tensor, group: int) -> Tensor:
        """What a detail [C, h, w] brings into the frames [G, C, h, w] of a group.

        Args:
            level: Of the lifting.
            number: Of the detail in its level.
            group: Frames G.
        """
        counts = low_counts(group)
        details = detail.new_zeros(counts[level - 1] - counts[level], *detail.shape)
        details[number] = detail
        low = detail.new_zeros(counts[level], *detail.shape)
        references = self._references(level, len(low))
        changed = {r.even for r in references if r.odd == number}
        found = side_by_side(lambda n: self.update_frame(details, level, len(low), n), changed)
        for n, update in zip(changed, found, strict=True):
            low[n] = -update
        low, changed = self._finer(low, changed, level, counts[level - 1], {number: detail})
        for finer in range(level - 1, 0, -1):
            low, changed = self._finer(low, changed, finer, counts[finer - 1], {})
        return low

    def _finer(
        self, low: Tensor, changed: set[int], level: int, count: int, details: dict[int, Tensor]
    ) -> tuple[Tensor, set[int]]:
        """Frames of the next level of changed ones and details, and which of them are not zero."""
        even, odd = (part.tolist() for part in split(torch.arange(count)))
        frames = low.new_zeros(count, *low.shape[1:])
        frames[even] = low
        reached = {r.odd for r in self._references(level, len(low)) if r.even in changed}
        places = list(reached | set(details))
        found = side_by_side(lambda n: self.predict_frame(low, level, len(low), n), places)
        for n, prediction in zip(places, found, strict=True):
            frames[odd[n]] = prediction
        for n, detail in details.items():
            frames[odd[n]] += detail
        return frames, {even[n] for n in changed} | {odd[n] for n in places}

    def reached(
        self, level: int, number: int, count: int, plane: Plane
    ) -> list[tuple[int, Tensor, Tensor, Tensor]]:
        """Where a detail goes by the update, as if each sample only went to the nearest one.

        Args:
            level, number: As of `moved`.
            count: Even frames.
            plane: Whose samples.

        Returns:
            The even frames, and of each of the detail's samples the row and column there and what
            is added [H, W].
        """
        references, found = self._references(level, count), []
        for reference in (r for r in references if r.odd == number):
            rows, columns, factor = nearest(reference.vector, plane)
            alike = [r for r in references if r.even == reference.even]
            ones = [Warp(r.vector, r.weight, plane, factor).received()[0] for r in alike]
            received = torch.stack(ones).sum(0)
            weight = to_samples(reference.weight, plane.samples(QUARTER)) * factor
            share = -weight / (1 + received.clamp(min=0)[rows, columns])
            found.append((reference.even, rows, columns, share))
        return found

    def moved_transpose(self, level: int, number: int, frames: Tensor) -> Tensor:
        """The transpose of `moved`: [G, C, h, w] to [C, h, w]."""
        for finer in range(1, level):
            even, odd = split(frames)
            frames = even + self.returned(odd, finer, len(even))
        even, odd = split(frames)
        low = torch.zeros_like(even)
        references = self._references(level, len(low))
        for n in {r.even for r in references if r.odd == number}:
            pairs = [(r, odd[r.odd]) for r in references if r.even == n]
            total = even[n] + self.return_frame(odd, level, len(low), n)
            low[n] = self._sum(pairs, total, lambda warp, samples: torch.zeros(()), mean=True)
        return odd[number] - self.predict_frame(low, level, len(low), number)

    def _sum(
        self,
        pairs: Sequence[tuple[_Reference, Tensor]],
        first: Tensor,
        move: Callable[[Warp, Tensor], Tensor],
        mean: bool = False,
    ) -> Tensor:
        """`first` [C, h, w] and frames that are moved; the mean with what they reach (`update`)."""
        result = torch.empty_like(first)
        for planes in alike(self.planes):
            total = torch.cat([plane.unpack(first[None]) for plane in planes])
            weights = torch.zeros_like(total[:1])
            for reference, frame in pairs:
                samples = torch.cat([plane.unpack(frame[None]) for plane in planes])
                warp = Warp(reference.vector, reference.weight, planes[0], samples)
                total += move(warp, samples)
                if mean:
                    weights += warp.received().to(weights.device)
            if mean:
                total /= 1 + weights.clamp(min=0)
            for plane, samples in zip(planes, total, strict=True):
                result[plane.channels] = plane.pack(samples[None])[0]
        return result

    def gains(self, subbands: Tensor) -> Tensor:
        """Roots of the energy that unit noise in each subband frame brings into the frames.

        Counted in each cell as if nothing moved; the low-pass has the mean over the cells.
        """
        modes = [torch.from_numpy(level.mode).long() for level in self.motion]
        energy = synthesis_energy([(WEIGHTS[0][mode], WEIGHTS[1][mode]) for mode in modes])
        energy[0] = energy[0].mean()
        return to_samples(energy.sqrt()[:, None].to(subbands), (CELL // 2, CELL // 2))


def to_cells(samples: Tensor, cell: tuple[int, int]) -> Tensor:
    """[..., H, W] to [..., rows * columns, height, width of a cell]."""
    blocks: Tensor = samples.unflatten(-1, (-1, cell[1])).unflatten(-3, (-1, cell[0]))
    return blocks.transpose(-3, -2).flatten(-4, -3)
