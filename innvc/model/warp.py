"""Block motion compensation of one plane, and its transpose; compiled, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from innvc.compiled import compiled, fused

QUARTER = 8  # luma samples of a quarter of a cell
OVERLAP = 4  # luma samples
TAPS = 8
LANES = 8  # lines are a multiple of it long: they are computed so many samples at once
PRECISION = 3  # fractional bits of a luma vector


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
def _windows(count: int, cell: int, reach: int) -> Tensor:
    """[count, cell + 2 reach] shares of a row of cells in the samples around; they sum to 1."""
    place = torch.arange(cell + 2 * reach, dtype=torch.float64) + 0.5
    ramp = (place / (2 * reach)).clamp(max=1)
    windows = torch.minimum(ramp, ramp.flip(0)).repeat(count, 1)
    # Outside of the picture there is nothing to blend with.
    windows[0, : 2 * reach] = (place[: 2 * reach] > reach).double()
    windows[-1, cell:] = (place[cell:] < cell + reach).double()
    return windows


class Blocks(NamedTuple):
    """Predictions of cells.

    Attributes:
        vector, weight: See `Warp`.
        down, across: Filters by phase, vertically and horizontally [phases, TAPS].
        rows, columns: Shares of a row of cells in the samples around, vertically and horizontally.
        sizes: [3, 2] samples of a cell, those around on each side, and fractional bits of a vector.
    """

    vector: np.ndarray
    weight: np.ndarray
    down: np.ndarray
    across: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    sizes: np.ndarray


class Warp:
    """Block motion compensation of one plane by one set of vectors: linear in the samples.

    Each cell's prediction reaches into its neighbours, where the two are blended. Sums are those of
    products with banded matrices: fused, and in the order of their rows.

    Args:
        vector: int [2, rows, columns] in eighths of a luma sample.
        weight: Of each cell's prediction, [rows, columns]; None is 1.
        plane: Whose samples.
        like: A tensor of the samples' dtype.
        size: Luma samples of a cell.
        overlap: Luma samples by which a prediction reaches into the neighbours.
    """

    def __init__(
        self,
        vector: Tensor,
        weight: Tensor | None,
        plane: Plane,
        like: Tensor,
        size: int = QUARTER,
        overlap: int = OVERLAP,
    ) -> None:
        rows, columns = vector.shape[1:]
        self._cell, self._reach = plane.samples(size), plane.samples(overlap)
        self._shape = rows * self._cell[0], columns * self._cell[1]
        self._like = like[..., :0].cpu()
        if weight is None:
            weight = torch.ones(rows, columns)
        axes = zip((rows, columns), self._cell, self._reach, plane.precision, strict=True)
        filters, windows = [], []
        for count, cell, reach, bits in axes:
            filters.append(_filters(bits).to(self._like).numpy())
            windows.append(_windows(count, cell, reach).to(self._like).numpy())
        self.blocks = Blocks(
            vector.to("cpu", torch.int64).numpy(),
            weight.to(self._like).numpy(),
            *filters,
            *windows,
            np.array([self._cell, self._reach, plane.precision]),
        )

    def __call__(self, samples: Tensor) -> Tensor:
        """Predictions [N, H, W] from samples [N, H, W]."""
        y, x = self._reach
        padded = samples.new_zeros(
            len(samples), self._shape[0] + 2 * y, self._shape[1] + 2 * x, device="cpu"
        )
        _predict(self.blocks, _array(samples), padded.numpy())
        return padded[:, y : y + self._shape[0], x : x + self._shape[1]].to(samples.device)

    def adjoint(self, samples: Tensor) -> Tensor:
        """The transpose of the linear map, [N, H, W] to [N, H, W]."""
        result = samples.new_zeros(len(samples), *self._shape, device="cpu")
        _give_back(self.blocks, _array(samples), result.numpy())
        return result.to(samples.device)

    def received(self) -> Tensor:
        """The transpose for samples that are all one, [1, H, W]."""
        return self.adjoint(self._like.new_ones(1, *self._shape))


def _array(samples: Tensor) -> np.ndarray:
    array: np.ndarray = samples.detach().cpu().contiguous().numpy()
    return array


@compiled
def _start(blocks: Blocks, axis: int, r: int, c: int) -> int:
    """Row or column of the first sample that a cell's prediction reads; it may lie outside."""
    cell, reach, bits = blocks.sizes[:, axis]
    place = c if axis else r
    count = blocks.vector.shape[1 + axis]
    start = place * cell - reach - (TAPS // 2 - 1) + (blocks.vector[axis, r, c] >> bits)
    # Outside of the picture the samples are those at its edge.
    return min(max(start, -(cell + 2 * reach + TAPS - 1)), count * cell)


@compiled
def _filter(blocks: Blocks, axis: int, r: int, c: int) -> np.ndarray:
    phase = blocks.vector[axis, r, c] & ((1 << blocks.sizes[2, axis]) - 1)
    return blocks.across[phase] if axis else blocks.down[phase]


@compiled
def _room(blocks: Blocks, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Room for shares, for the samples that predict a cell, and for a line of those."""
    height, width = blocks.rows.shape[1], blocks.columns.shape[1]
    span = -(-(width + TAPS - 1) // LANES) * LANES
    window = np.zeros((height + TAPS - 1, span), dtype)
    return np.empty((height, width), dtype), window, np.empty(span, dtype)


@compiled
def _shares(blocks: Blocks, r: int, c: int, share: np.ndarray) -> None:
    """A cell's shares of the samples [height, width]."""
    rows, columns, weight = blocks.rows[r], blocks.columns[c], blocks.weight[r, c]
    for y in range(share.shape[0]):
        for x in range(share.shape[1]):
            share[y, x] = rows[y] * columns[x] * weight


@compiled
def _window(samples: np.ndarray, y0: int, x0: int, window: np.ndarray) -> None:
    """The samples [H, W] from y0 and x0 on; outside, those at the edge."""
    height, width = samples.shape
    inside = x0 >= 0 and x0 + window.shape[1] <= width
    for i in range(window.shape[0]):
        row = samples[min(max(y0 + i, 0), height - 1)]
        if inside:
            row = row[x0:]
            for j in range(window.shape[1]):
                window[i, j] = row[j]
        else:
            for j in range(window.shape[1]):
                window[i, j] = row[min(max(x0 + j, 0), width - 1)]


@compiled
def _part(samples: np.ndarray, y0: int, x0: int, share: np.ndarray, part: np.ndarray) -> None:
    """A block of samples by share [height, width] from y0 and x0 on; zero outside."""
    height, width = share.shape
    first, last = max(-x0, 0), min(samples.shape[1] - x0, width)
    for i in range(height):
        target = part[i]
        for j in range(width):
            target[j] = 0
        if 0 <= y0 + i < len(samples):
            row, shares, target = samples[y0 + i, x0 + first :], share[i, first:], target[first:]
            for j in range(last - first):
                target[j] = row[j] * shares[j]


@fused
def _interpolate(
    window: np.ndarray, down: np.ndarray, across: np.ndarray, line: np.ndarray, block: np.ndarray
) -> None:
    """A block [height, width] from a window that is larger by the filters."""
    for y in range(block.shape[0]):
        for x in range(window.shape[1]):
            total = down[0] * window[y, x]
            for k in range(1, TAPS):
                total += down[k] * window[y + k, x]
            line[x] = total
        for x in range(block.shape[1]):
            total = across[0] * line[x]
            for k in range(1, TAPS):
                total += across[k] * line[x + k]
            block[y, x] = total


@fused
def _spread(
    part: np.ndarray, down: np.ndarray, across: np.ndarray, line: np.ndarray, patch: np.ndarray
) -> None:
    """The transpose of `_interpolate`, of a block that has TAPS - 1 zeros on each side."""
    last = TAPS - 1
    for y in range(patch.shape[0]):
        for x in range(part.shape[1]):
            total = down[last] * part[y, x]
            for k in range(1, TAPS):
                total += down[last - k] * part[y + k, x]
            line[x] = total
        for x in range(patch.shape[1]):
            total = across[last] * line[x]
            for k in range(1, TAPS):
                total += across[last - k] * line[x + k]
            patch[y, x] = total


@compiled
def _predict_cell(
    blocks: Blocks,
    samples: np.ndarray,
    r: int,
    c: int,
    share: np.ndarray,
    window: np.ndarray,
    line: np.ndarray,
    block: np.ndarray,
) -> None:
    """Finds a cell's shares and its block, before they are taken, from samples [H, W]."""
    _shares(blocks, r, c, share)
    _window(samples, _start(blocks, 0, r, c), _start(blocks, 1, r, c), window)
    _interpolate(window, _filter(blocks, 0, r, c), _filter(blocks, 1, r, c), line, block)


@compiled
def _predict(blocks: Blocks, samples: np.ndarray, padded: np.ndarray) -> None:
    """Adds predictions from samples [N, H, W] to those with a margin [N, H', W']."""
    (height, width), _, _ = blocks.sizes
    share, window, line = _room(blocks, samples.dtype)
    block = np.empty_like(share)
    for r in range(blocks.weight.shape[0] - 1, -1, -1):
        for c in range(blocks.weight.shape[1] - 1, -1, -1):
            if blocks.weight[r, c] == 0:
                continue
            for n in range(len(samples)):
                _predict_cell(blocks, samples[n], r, c, share, window, line, block)
                for y in range(block.shape[0]):
                    row = padded[n, r * height + y, c * width :]
                    for x in range(block.shape[1]):
                        row[x] += block[y, x] * share[y, x]


@compiled
def _give_back(blocks: Blocks, samples: np.ndarray, result: np.ndarray) -> None:
    """The transpose of `_predict` without margin, added to `result` [N, H, W]."""
    (height, width), (above, left), _ = blocks.sizes
    share, patch, _ = _room(blocks, samples.dtype)
    rows, columns = samples.shape[1:]
    around, width_out = TAPS - 1, share.shape[1] + TAPS - 1
    part = np.zeros((patch.shape[0] + around, patch.shape[1] + LANES), samples.dtype)
    line = np.zeros(part.shape[1], samples.dtype)
    for r in range(blocks.weight.shape[0]):
        for c in range(blocks.weight.shape[1]):
            if blocks.weight[r, c] == 0:
                continue
            _shares(blocks, r, c, share)
            y0, x0 = _start(blocks, 0, r, c), _start(blocks, 1, r, c)
            down, across = _filter(blocks, 0, r, c), _filter(blocks, 1, r, c)
            inside = x0 >= 0 and x0 + width_out <= columns
            for n in range(len(samples)):
                _part(
                    samples[n], r * height - above, c * width - left, share, part[around:, around:]
                )
                _spread(part, down, across, line, patch)
                for i in range(patch.shape[0]):
                    row = result[n, min(max(y0 + i, 0), rows - 1)]
                    if inside:
                        row = row[x0:]
                        for j in range(width_out):
                            row[j] += patch[i, j]
                    else:
                        for j in range(width_out):
                            row[min(max(x0 + j, 0), columns - 1)] += patch[i, j]


@compiled
def find_errors(
    blocks: Blocks, samples: np.ndarray, target: np.ndarray, cells: np.ndarray, errors: np.ndarray
) -> None:
    """What predictions from samples [H, W] and the samples around lack to a target [H, W].

    Args:
        cells: Numbers of cells [n].
        errors: Takes them, [height, n, width].
    """
    share, window, line = _room(blocks, samples.dtype)
    block = np.empty_like(share)
    sizes = blocks.sizes
    for n, cell in enumerate(cells):
        r, c = divmod(cell, blocks.weight.shape[1])
        _predict_cell(blocks, samples, r, c, share, window, line, block)
        y, x = r * sizes[0, 0] - sizes[1, 0], c * sizes[0, 1] - sizes[1, 1]
        first, last = max(-x, 0), min(target.shape[1] - x, share.shape[1])
        for i in range(len(share)):
            error = errors[i, n]
            if first or last < len(error) or y + i < 0 or y + i >= len(target):
                for j in range(len(error)):
                    error[j] = 0
            if 0 <= y + i < len(target):
                row, error = target[y + i, x + first :], error[first:]
                found, shares = block[i, first:], share[i, first:]
                for j in range(last - first):
                    error[j] = (row[j] - found[j]) * shares[j]


@fused
def add_sizes(values: np.ndarray, sums: np.ndarray) -> None:
    """Adds the sizes of values [height, n, width] to sums [n]."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            row, total = values[i, n], sums[n]
            for j in range(values.shape[2]):
                total += abs(row[j])
            sums[n] = total
