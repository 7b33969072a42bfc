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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from innvc.model.lifting import synthesis_energy
from innvc.model.subbands import is_centred, low_counts

CELL = 16  # luma samples
QUARTER = 8
OVERLAP = 4  # luma samples
TAPS = 8
PRECISION = 3  # fractional bits of a luma vector
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


@dataclass(frozen=True)
class Plane:
    """Where the samples of one plane are among the packed channels."""

    channels: slice
    vertical: int  # phases packed into channels, in each direction
    horizontal: int

    def samples(self, luma: int) -> tuple[int, int]:
        """Samples of this plane in an even number of luma samples, in each direction."""
        return luma // 2 * self.vertical, luma // 2 * self.horizontal

    @property
    def precision(self) -> tuple[int, int]:
        """Fractional bits of a vector in this plane's samples."""
        return PRECISION + 2 - self.vertical, PRECISION + 2 - self.horizontal

    def unpack(self, packed: Tensor) -> Tensor:
        """[P, H, W] samples of packed frames [P, C, h, w]."""
        x = packed[:, self.channels].unflatten(1, (self.vertical, self.horizontal))
        return x.permute(0, 3, 1, 4, 2).flatten(3).flatten(1, 2)

    def pack(self, samples: Tensor) -> Tensor:
        """The inverse of `unpack`: [P, phases, h, w]."""
        x = samples.unflatten(2, (-1, self.horizontal)).unflatten(1, (-1, self.vertical))
        return x.permute(0, 2, 4, 1, 3).flatten(1, 2)


def planes_of(packed_planes: Sequence[int | None]) -> list[Plane]:
    """Planes of frames packed by 2, from the plane of each channel."""
    planes, first = [], 0
    for plane in dict.fromkeys(packed_planes):
        count = list(packed_planes).count(plane)
        planes.append(Plane(slice(first, first + count), 1 if count == 1 else 2, ceil(count / 2)))
        first += count
    return planes


@cache
def _filters(precision: int) -> Tensor:
    """[2^precision, TAPS] Lanczos interpolation at each phase; the first tap is at -3."""
    phase = torch.arange(1 << precision, dtype=torch.float64)[:, None] / (1 << precision)
    distance = torch.arange(TAPS, dtype=torch.float64)[None] - (TAPS // 2 - 1) - phase
    taps = torch.sinc(distance) * torch.sinc(distance * 2 / TAPS) * (distance.abs() < TAPS / 2)
    return taps / taps.sum(1, keepdim=True)


@cache
def _bands(
    precision: int, cell: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """[2^precision, cell, cell + TAPS - 1] filters as matrices over a cell and its margin.

    And their transposes.
    """
    filters = _filters(precision)
    bands = torch.zeros(len(filters), cell, cell + TAPS - 1, dtype=torch.float64)
    for i in range(cell):
        bands[:, i, i : i + TAPS] = filters
    bands = bands.to(device, dtype)
    return bands, bands.mT.contiguous()


class Warp:
    """Block motion compensation of one plane by one set of vectors: linear in the samples.

    Each cell's prediction reaches into its neighbours, where the two are blended.

    Args:
        vector: int [2, rows, columns] in eighths of a luma sample.
        weight: Of each cell's prediction, [rows, columns]; None is 1.
        plane: Whose samples.
        like: A tensor of the samples' dtype and device.
        size: Luma samples of a cell.
        overlap: Luma samples by which a prediction reaches into the neighbours.
        cells: Numbers of some cells, of which alone `blocks` gives predictions.
    """

    def __init__(
        self,
        vector: Tensor,
        weight: Tensor | None,
        plane: Plane,
        like: Tensor,
        size: int = QUARTER,
        overlap: int = OVERLAP,
        cells: Tensor | None = None,
    ) -> None:
        counts = vector.shape[1:]
        if cells is None:
            cells = torch.arange(counts[0] * counts[1], device=like.device)
        places = cells // counts[1], cells % counts[1]
        self._cell, self._reach = plane.samples(size), plane.samples(overlap)
        self._block = plane.samples(size + 2 * overlap)
        height, width = (n * cell for n, cell in zip(counts, self._cell, strict=True))
        self._size = height, width
        self._padded = (height + 2 * self._reach[0], width + 2 * self._reach[1])
        self._starts, self._bands, windows = [], [], []
        for axis, count in enumerate(counts):
            bits, cell, block = plane.precision[axis], self._cell[axis], self._block[axis]
            v = vector[axis].to(like.device).flatten()[cells].long()
            start = places[axis] * cell - self._reach[axis] - (TAPS // 2 - 1) + (v >> bits)
            # Outside of the picture the samples are those at its edge.
            self._starts.append(start.clamp(-(block + TAPS - 1), count * cell))
            phase = v & ((1 << bits) - 1)
            self._bands.append(_bands(bits, block, like.dtype, like.device)[axis][phase])
            shares = _windows(count, cell, self._reach[axis], like.dtype, like.device)
            windows.append(shares[places[axis]])
        self._share = windows[0][:, :, None] * windows[1][:, None, :]
        if weight is not None:
            self._share = self._share * weight.to(like).flatten()[cells, None, None]

    def __call__(self, samples: Tensor) -> Tensor:
        """Predictions [N, H, W] from samples [N, H, W]."""
        columns = self.blocks(samples).flatten(2).mT
        padded = F.fold(columns, self._padded, self._block, stride=self._cell)[:, 0]
        y, x = self._reach
        return padded[:, y : padded.shape[1] - y, x : padded.shape[2] - x]

    def adjoint(self, samples: Tensor) -> Tensor:
        """The transpose of the linear map, [N, H, W] to [N, H, W]."""
        return self._back(self.parts(samples))

    def received(self) -> Tensor:
        """The transpose for samples that are all one, [1, H, W]."""
        return self._back(self._share[None])

    def _back(self, parts: Tensor) -> Tensor:
        patches = self._bands[0].mT @ parts @ self._bands[1].mT
        height, width = self._size
        result = patches.new_zeros(len(patches), height * width)
        return result.index_add_(1, self._index, patches.flatten(1)).view(-1, height, width)

    @cached_property
    def _index(self) -> Tensor:
        """Where the samples that predict each cell are in the picture, as one axis."""
        places = []
        for start, size, block in zip(self._starts, self._size, self._block, strict=True):
            span = torch.arange(block + TAPS - 1, device=start.device)
            places.append((start[:, None] + span).clamp(0, size - 1))
        return (places[0][:, :, None] * self._size[1] + places[1][:, None, :]).flatten()

    def blocks(self, samples: Tensor) -> Tensor:
        """Predictions of the cells and the samples around, [N, cells, height, width], by share.

        Their sum in place is the prediction of the samples [N, H, W].
        """
        (y, down), (x, across) = (
            (start, block + TAPS - 1)
            for start, block in zip(self._starts, self._block, strict=True)
        )
        padded = F.pad(samples[None], (across, across, down, down), mode="replicate")[0]
        windows = padded.unfold(1, down, 1).unfold(2, across, 1)[:, y + down, x + across]
        return self._bands[0] @ windows @ self._bands[1] * self._share

    def parts(self, samples: Tensor) -> Tensor:
        """The samples [N, H, W] that `blocks` predict, by share."""
        y, x = self._reach
        padded = F.pad(samples, (x, x, y, y))
        (down, across), (height, width) = self._cell, self._block
        windows = padded.unfold(1, height, down).unfold(2, width, across)
        return windows.flatten(1, 2) * self._share


@cache
def _windows(count: int, cell: int, reach: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[count, cell + 2 reach] shares of a row of cells in the samples around; they sum to 1."""
    place = torch.arange(cell + 2 * reach, dtype=torch.float64) + 0.5
    ramp = (place / (2 * reach)).clamp(max=1)
    windows = torch.minimum(ramp, ramp.flip(0)).repeat(count, 1)
    # Outside of the picture there is nothing to blend with.
    windows[0, : 2 * reach] = (place[: 2 * reach] > reach).double()
    windows[-1, cell:] = (place[cell:] < cell + reach).double()
    return windows.to(device, dtype)


class MotionLifting:
    """Operators of motion-compensated lifting for one group (see `lifting.Lifting`).

    Args:
        motion: Of the group.
        planes: From `planes_of`.
    """

    def __init__(self, motion: Motion, planes: Sequence[Plane]) -> None:
        self.motion = motion
        self.planes = planes

    def _alike(self) -> list[list[Plane]]:
        """The planes, those of one sampling together."""
        kinds = dict.fromkeys((plane.vertical, plane.horizontal) for plane in self.planes)
        return [[p for p in self.planes if (p.vertical, p.horizontal) == kind] for kind in kinds]

    def _warps(
        self, plane: Plane, like: Tensor, level: int, odd: int, even: int
    ) -> Iterator[tuple[int, int, Warp]]:
        """(odd frame, even frame, warp) of each reference that the odd frames use."""
        motion = self.motion[level - 1]
        first = -int(odd > even)  # the even frame before the first odd one
        for frame in range(odd):
            mode = torch.from_numpy(in_quarters(motion.mode[frame])).long()
            for side in range(2):
                weight = WEIGHTS[side][mode]
                if weight.any():
                    vector = torch.from_numpy(motion.quarters[frame, side])
                    yield frame, first + frame + side, Warp(vector, weight, plane, like)

    def predict(self, a: Tensor, level: int, count: int) -> Tensor:
        prediction = a.new_zeros(count, *a.shape[1:])
        for planes in self._alike():
            samples = torch.stack([plane.unpack(a) for plane in planes], 1)
            predicted = samples.new_zeros(count, *samples.shape[1:])
            for odd, even, warp in self._warps(planes[0], samples, level, count, len(a)):
                predicted[odd] += warp(samples[even])
            for number, plane in enumerate(planes):
                prediction[:, plane.channels] = plane.pack(predicted[:, number])
        return prediction

    def update(self, h: Tensor, level: int, count: int) -> Tensor:
        update = h.new_zeros(count, *h.shape[1:])
        for planes in self._alike():
            samples = torch.stack([plane.unpack(h) for plane in planes], 1)
            total = samples.new_zeros(count, *samples.shape[1:])
            weights = torch.zeros_like(total[:, :1])
            for odd, even, warp in self._warps(planes[0], samples, level, len(h), count):
                total[even] += warp.adjoint(samples[odd])
                weights[even] += warp.received()
            total = total / (1 + weights.clamp(min=0))
            for number, plane in enumerate(planes):
                update[:, plane.channels] = plane.pack(total[:, number])
        return update

    def returned(self, b: Tensor, level: int, count: int) -> Tensor:
        returned = b.new_zeros(count, *b.shape[1:])
        for planes in self._alike():
            samples = torch.stack([plane.unpack(b) for plane in planes], 1)
            total = samples.new_zeros(count, *samples.shape[1:])
            for odd, even, warp in self._warps(planes[0], samples, level, len(b), count):
                total[even] += warp.adjoint(samples[odd])
            for number, plane in enumerate(planes):
                returned[:, plane.channels] = plane.pack(total[:, number])
        return returned

    def gains(self, subbands: Tensor) -> Tensor:
        """Roots of the energy that unit noise in each subband frame brings into the frames.

        Counted in each cell as if nothing moved; the low-pass has the mean over the cells.
        """
        modes = [torch.from_numpy(level.mode).long() for level in self.motion]
        energy = synthesis_energy([(WEIGHTS[0][mode], WEIGHTS[1][mode]) for mode in modes])
        energy[0] = energy[0].mean()
        return _spread(energy.sqrt()[:, None].to(subbands), (CELL // 2, CELL // 2))


def to_cells(samples: Tensor, cell: tuple[int, int]) -> Tensor:
    """[..., H, W] to [..., rows * columns, height, width of a cell]."""
    blocks = samples.unflatten(-1, (-1, cell[1])).unflatten(-3, (-1, cell[0]))
    return blocks.transpose(-3, -2).flatten(-4, -3)


def _spread(cells: Tensor, cell: tuple[int, int]) -> Tensor:
    """Values of cells [..., rows, columns] to samples."""
    return cells.repeat_interleave(cell[0], -2).repeat_interleave(cell[1], -1)
