"""Block motion compensation of one plane, and its transpose; compiled, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import NamedTuple

import numpy as np
from torch import Tensor

from innvc.compiled import compiled, fused, inlined

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
def _filters(precision: int, kind: np.dtype) -> np.ndarray:
    """[2^precision, TAPS] Lanczos interpolation at each phase; the first tap is at -3."""
    phase = np.arange(1 << precision)[:, None] / (1 << precision)
    distance = np.arange(TAPS)[None] - (TAPS // 2 - 1) - phase
    taps = np.sinc(distance) * np.sinc(distance * 2 / TAPS) * (abs(distance) < TAPS / 2)
    result: np.ndarray = (taps / taps.sum(1, keepdims=True)).astype(kind)
    return result


@cache
def _windows(count: int, cell: int, reach: int, kind: np.dtype) -> np.ndarray:
    """[count, cell + 2 reach] shares of a row of cells in the samples around; they sum to 1."""
    place = np.arange(cell + 2 * reach) + 0.5
    ramp = (place / (2 * reach)).clip(max=1) if reach else np.ones(cell)
    windows = np.minimum(ramp, ramp[::-1])[None].repeat(count, 0)
    # Outside of the picture there is nothing to blend with.
    windows[0, : 2 * reach] = place[: 2 * reach] > reach
    windows[-1, cell:] = place[cell:] < cell + reach
    return windows.astype(kind)


class Blocks(NamedTuple):
    """Predictions of n cells and the samples around, which are blocks of one size.

    Attributes:
        place: [n, 2] row and column of a block's first sample; it may lie outside.
        start: [n, 2] those of the first sample that predicts it.
        down, across: Filters, vertically and horizontally [n, TAPS].
        rows, columns: Shares of the prediction in the samples [n, height], [n, width].
        weight: [n] a factor of them.
    """

    place: np.ndarray
    start: np.ndarray
    down: np.ndarray
    across: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    weight: np.ndarray


class _Room(NamedTuple):
    """Of one block.

    Attributes:
        share: [height, width].
        block: [height, width] what is predicted.
        window: What predicts it; lines are padded to a multiple of LANES.
        line: One of them.
    """

    share: np.ndarray
    block: np.ndarray
    window: np.ndarray
    line: np.ndarray


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
        cells: Numbers of some cells, which alone are predicted.
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
        counts = vector.shape[1], vector.shape[2]
        cell, self._reach = plane.samples(size), plane.samples(overlap)
        self._shape = counts[0] * cell[0], counts[1] * cell[1]
        self._like = like[..., :0].detach().cpu()
        kind = self._like.numpy().dtype
        weights = np.ones(counts, kind) if weight is None else weight.to(self._like).numpy()
        which = np.flatnonzero(weights) if cells is None else cells.numpy()
        pairs = list(zip(counts, cell, self._reach, plane.precision, strict=True))
        self._blocks = _lay_out(
            np.ascontiguousarray(vector.cpu().numpy(), np.int64),
            which,
            weights,
            self._shape,
            self._reach,
            plane.precision,
            (_filters(pairs[0][3], kind), _filters(pairs[1][3], kind)),
            (_windows(*pairs[0][:3], kind), _windows(*pairs[1][:3], kind)),
        )

    def _room(self) -> _Room:
        height, width = (shares.shape[1] for shares in (self._blocks.rows, self._blocks.columns))
        span = -(-(width + TAPS - 1) // LANES) * LANES
        shapes = (height, width), (height, width), (height + TAPS - 1, span), span
        return _Room(*(np.zeros(shape, self._blocks.rows.dtype) for shape in shapes))

    def __call__(self, samples: Tensor) -> Tensor:
        """Predictions [N, H, W] from samples [N, H, W]."""
        y, x = self._reach
        size = len(samples), self._shape[0] + 2 * y, self._shape[1] + 2 * x
        padded = samples.new_zeros(size, device="cpu")
        _predict(self._blocks, self._room(), _array(samples), y, x, padded.numpy())
        return padded[:, y : y + self._shape[0], x : x + self._shape[1]].to(samples.device)

    def adjoint(self, samples: Tensor) -> Tensor:
        """The transpose of the linear map, [N, H, W] to [N, H, W]."""
        result = samples.new_zeros(len(samples), *self._shape, device="cpu")
        room = self._room()
        edge = TAPS - 1
        part = np.zeros((len(room.window) + edge, room.window.shape[1] + LANES), room.line.dtype)
        _give_back(self._blocks, room, _array(samples), part, part[0].copy(), result.numpy())
        return result.to(samples.device)

    def received(self) -> Tensor:
        """The transpose for samples that are all one, [1, H, W]."""
        result = self._like.new_zeros(1, *self._shape)
        _give_back_ones(self._blocks, result[0].numpy())
        return result

    def errors(self, samples: Tensor, target: Tensor) -> Tensor:
        """What predictions of cells and the samples around lack, by share [height, n, width].

        Args:
            samples: What predicts [H, W].
            target: What is predicted [H, W].
        """
        room = self._room()
        height, width = room.share.shape
        errors = samples.new_empty(height, len(self._blocks.weight), width)
        _find_errors(self._blocks, room, _array(samples), _array(target), errors.numpy())
        return errors


def _array(samples: Tensor) -> np.ndarray:
    array: np.ndarray = samples.detach().cpu().contiguous().numpy()
    return array


@compiled
def _lay_out(
    vector: np.ndarray,
    which: np.ndarray,
    weight: np.ndarray,
    shape: tuple[int, int],
    reach: tuple[int, int],
    precision: tuple[int, int],
    filters: tuple[np.ndarray, np.ndarray],
    windows: tuple[np.ndarray, np.ndarray],
) -> Blocks:
    """The blocks of some cells.

    Args:
        vector: [2, rows, columns].
        which: Numbers of the cells [n].
        weight: [rows, columns].
        shape: Of the plane.
        reach: Samples by which a block is larger than its cell on each side.
        precision: Fractional bits of a vector.
        filters, windows: From `_filters`, `_windows`.
    """
    count, columns = len(which), vector.shape[2]
    place, start = np.empty((2, count, 2), np.int64)
    down = np.empty((count, TAPS), weight.dtype)
    across = np.empty((count, TAPS), weight.dtype)
    vertical = np.empty((count, windows[0].shape[1]), weight.dtype)
    horizontal = np.empty((count, windows[1].shape[1]), weight.dtype)
    weights = np.empty(count, weight.dtype)
    for n in range(count):
        cell = which[n] // columns, which[n] % columns
        weights[n] = weight[cell]
        for axis in range(2):
            length = windows[axis].shape[1] - 2 * reach[axis]
            place[n, axis] = cell[axis] * length - reach[axis]
            moved = vector[axis, cell[0], cell[1]]
            first = place[n, axis] - (TAPS // 2 - 1) + (moved >> precision[axis])
            # Outside of the picture the samples are those at its edge.
            least = -(length + 2 * reach[axis] + TAPS - 1)
            start[n, axis] = min(max(first, least), shape[axis])
            taps = filters[axis][moved & ((1 << precision[axis]) - 1)]
            for k in range(TAPS):
                if axis == 0:
                    down[n, k] = taps[k]
                else:
                    across[n, k] = taps[k]
        vertical[n], horizontal[n] = windows[0][cell[0]], windows[1][cell[1]]
    return Blocks(place, start, down, across, vertical, horizontal, weights)


@compiled
def _window(samples: np.ndarray, y0: int, x0: int, window: np.ndarray) -> None:
    """The samples [H, W] from y0 and x0 on; outside, those at the edge."""
    height, width = samples.shape
    for i in range(window.shape[0]):
        row = samples[min(max(y0 + i, 0), height - 1)]
        if x0 >= 0 and x0 + window.shape[1] <= width:
            row = row[x0:]
            for j in range(window.shape[1]):
                window[i, j] = row[j]
        else:
            for j in range(window.shape[1]):
                window[i, j] = row[min(max(x0 + j, 0), width - 1)]


@fused
def _interpolate(
    window: np.ndarray, down: np.ndarray, across: np.ndarray, line: np.ndarray, block: np.ndarray
) -> None:
    """A block [height, width] from a window that is larger by the filters."""
    middle = TAPS // 2 - 1
    for y in range(block.shape[0]):
        found = line
        if down[middle] == 1:  # whole samples
            found = window[y + middle]
        else:
            for x in range(window.shape[1]):
                total = down[0] * window[y, x]
                for k in range(1, TAPS):
                    total += down[k] * window[y + k, x]
                line[x] = total
        if across[middle] == 1:
            for x in range(block.shape[1]):
                block[y, x] = found[x + middle]
        else:
            for x in range(block.shape[1]):
                total = across[0] * found[x]
                for k in range(1, TAPS):
                    total += across[k] * found[x + k]
                block[y, x] = total


@fused
def _spread(
    part: np.ndarray, down: np.ndarray, across: np.ndarray, line: np.ndarray, patch: np.ndarray
) -> None:
    """The transpose of `_interpolate`, of a block that has TAPS - 1 zeros on each side."""
    last, middle = TAPS - 1, TAPS // 2
    for y in range(patch.shape[0]):
        found = line
        if down[last - middle] == 1:  # whole samples
            found = part[y + middle]
        else:
            for x in range(part.shape[1]):
                total = down[last] * part[y, x]
                for k in range(1, TAPS):
                    total += down[last - k] * part[y + k, x]
                line[x] = total
        if across[last - middle] == 1:
            for x in range(patch.shape[1]):
                patch[y, x] = found[x + middle]
        else:
            for x in range(patch.shape[1]):
                total = across[last] * found[x]
                for k in range(1, TAPS):
                    total += across[last - k] * found[x + k]
                patch[y, x] = total


@compiled
def _find_shares(blocks: Blocks, n: int, share: np.ndarray) -> None:
    rows, columns, weight = blocks.rows[n], blocks.columns[n], blocks.weight[n]
    for y in range(share.shape[0]):
        for x in range(share.shape[1]):
            share[y, x] = rows[y] * columns[x] * weight


@compiled
def _predict(
    blocks: Blocks, room: _Room, samples: np.ndarray, above: int, left: int, padded: np.ndarray
) -> None:
    """Adds predictions from samples [N, H, W] to those with a margin above and on the left."""
    share, block, window, line = room
    for n in range(len(blocks.weight) - 1, -1, -1):
        _find_shares(blocks, n, share)
        for plane in range(len(samples)):
            _window(samples[plane], blocks.start[n, 0], blocks.start[n, 1], window)
            _interpolate(window, blocks.down[n], blocks.across[n], line, block)
            for y in range(block.shape[0]):
                row = padded[plane, above + blocks.place[n, 0] + y, left + blocks.place[n, 1] :]
                for x in range(block.shape[1]):
                    row[x] += block[y, x] * share[y, x]


@inlined
def _add_line(line: np.ndarray, share: float, row: np.ndarray, x: int) -> None:
    """Adds a line to a row from x on; what lies outside goes to the samples at its edge."""
    if x >= 0 and x + len(line) <= len(row):
        row = row[x:]
        for j in range(len(line)):
            row[j] += share * line[j]
    else:
        for j in range(len(line)):
            row[min(max(x + j, 0), len(row) - 1)] += share * line[j]


@compiled
def _give_back(
    blocks: Blocks,
    room: _Room,
    samples: np.ndarray,
    part: np.ndarray,
    line: np.ndarray,
    result: np.ndarray,
) -> None:
    """The transpose of `_predict` without margin, added to `result` [N, H, W].

    Args:
        part: Zeros, larger than a block by TAPS - 1 on each side; it is changed inside.
        line: One of its lines.
    """
    share, _, patch, _ = room
    height, width = share.shape
    rows, columns = samples.shape[1:]
    for n in range(len(blocks.weight)):
        _find_shares(blocks, n, share)
        y0, x0 = blocks.place[n, 0], blocks.place[n, 1]
        for plane in range(len(samples)):
            for i in range(height):
                target, row = part[TAPS - 1 + i], samples[plane, min(max(y0 + i, 0), rows - 1)]
                # Outside of the picture there are no shares.
                for j in range(width):
                    target[TAPS - 1 + j] = row[min(max(x0 + j, 0), columns - 1)] * share[i, j]
            _spread(part, blocks.down[n], blocks.across[n], line, patch)
            y, x, span = blocks.start[n, 0], blocks.start[n, 1], width + TAPS - 1
            for i in range(len(patch)):
                row = result[plane, min(max(y + i, 0), rows - 1)]
                _add_line(patch[i, :span], 1, row, x)


@compiled
def _give_back_ones(blocks: Blocks, result: np.ndarray) -> None:
    """`_give_back` of samples that are one, added to `result` [H, W]."""
    rows, columns = result.shape
    height, width = blocks.rows.shape[1] + TAPS - 1, blocks.columns.shape[1] + TAPS - 1
    down, across = np.empty(height, result.dtype), np.empty(width, result.dtype)
    for n in range(len(blocks.weight)):
        _spread_line(blocks.rows[n], blocks.down[n], down)
        _spread_line(blocks.columns[n], blocks.across[n], across)
        y, x = blocks.start[n, 0], blocks.start[n, 1]
        for i in range(height):
            share = down[i] * blocks.weight[n]
            _add_line(across, share, result[min(max(y + i, 0), rows - 1)], x)


@compiled
def _spread_line(shares: np.ndarray, taps: np.ndarray, line: np.ndarray) -> None:
    """The transpose of interpolation of one line, which is longer by the filter."""
    line[:] = 0
    for i in range(len(shares)):
        for k in range(TAPS):
            line[i + k] += shares[i] * taps[k]


@compiled
def _find_errors(
    blocks: Blocks, room: _Room, samples: np.ndarray, target: np.ndarray, errors: np.ndarray
) -> None:
    """See `Warp.errors`."""
    share, block, window, line = room
    rows, columns = target.shape
    for n in range(len(blocks.weight)):
        _find_shares(blocks, n, share)
        _window(samples, blocks.start[n, 0], blocks.start[n, 1], window)
        _interpolate(window, blocks.down[n], blocks.across[n], line, block)
        y0, x0 = blocks.place[n, 0], blocks.place[n, 1]
        for i in range(len(share)):
            error, row = errors[i, n], target[min(max(y0 + i, 0), rows - 1)]
            # Outside of the picture there are no shares.
            for j in range(len(error)):
                wanted = row[min(max(x0 + j, 0), columns - 1)]
                error[j] = (wanted - block[i, j]) * share[i, j]


@fused
def add_sizes(values: np.ndarray, sums: np.ndarray) -> None:
    """Adds the sizes of values [height, n, width] to sums [n]."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            row, total = values[i, n], sums[n]
            for j in range(values.shape[2]):
                total += abs(row[j])
            sums[n] = total
