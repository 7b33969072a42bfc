"""Block motion compensation of one plane, and its transpose."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from innvc.model.blocks import (
    TAPS,
    Blocks,
    Room,
    find_errors,
    give_back,
    give_back_ones,
    lay_out,
    predict,
)
from innvc.model.planes import Plane

QUARTER = 8  # luma samples of a quarter of a cell
OVERLAP = 4  # luma samples
LANES = 8  # lines are a multiple of it long: they are computed so many samples at once


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


class _Cells:
    """Cells of a plane, and the blocks that predict them.

    Args:
        counts: Rows and columns of cells.
        plane: Whose samples.
        kind: Their dtype.
        size: Luma samples of a cell.
        overlap: Luma samples by which a prediction reaches into the neighbours.
    """

    def __init__(
        self, counts: tuple[int, int], plane: Plane, kind: np.dtype, size: int, overlap: int
    ) -> None:
        cell, self.reach = plane.samples(size), plane.samples(overlap)
        self.shape = counts[0] * cell[0], counts[1] * cell[1]
        self._precision = plane.precision
        pairs = list(zip(counts, cell, self.reach, self._precision, strict=True))
        self._filters = _filters(pairs[0][3], kind), _filters(pairs[1][3], kind)
        self._windows = _windows(*pairs[0][:3], kind), _windows(*pairs[1][:3], kind)

    def blocks(self, vector: np.ndarray, which: np.ndarray, weights: np.ndarray) -> Blocks:
        """Those of some cells, `which` [n], by vectors and weights of all."""
        shapes = self.shape, self.reach, self._precision
        return lay_out(vector, which, weights, *shapes, self._filters, self._windows)

    def room(self) -> Room:
        """For one block."""
        windows = self._windows
        height, width, kind = windows[0].shape[1], windows[1].shape[1], windows[0].dtype
        span = -(-(width + TAPS - 1) // LANES) * LANES
        shapes = (height, width), (height, width), (height + TAPS - 1, span), span
        return Room(*(np.zeros(shape, kind) for shape in shapes))


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
        counts = vector.shape[1], vector.shape[2]
        self._like = like[..., :0].detach().cpu()
        kind = self._like.numpy().dtype
        self._cells = _Cells(counts, plane, kind, size, overlap)
        weights = np.ones(counts, kind) if weight is None else weight.to(self._like).numpy()
        vectors = np.ascontiguousarray(vector.cpu().numpy(), np.int64)
        self._blocks = self._cells.blocks(vectors, np.flatnonzero(weights), weights)

    def __call__(self, samples: Tensor) -> Tensor:
        """Predictions [N, H, W] from samples [N, H, W]."""
        (height, width), (y, x) = self._cells.shape, self._cells.reach
        padded = samples.new_zeros(len(samples), height + 2 * y, width + 2 * x, device="cpu")
        predict(self._blocks, self._cells.room(), _array(samples), y, x, padded.numpy())
        return padded[:, y : y + height, x : x + width].to(samples.device)

    def adjoint(self, samples: Tensor) -> Tensor:
        """The transpose of the linear map, [N, H, W] to [N, H, W]."""
        result = samples.new_zeros(len(samples), *self._cells.shape, device="cpu")
        room = self._cells.room()
        edge = TAPS - 1
        part = np.zeros((len(room.window) + edge, room.window.shape[1] + LANES), room.line.dtype)
        give_back(self._blocks, room, _array(samples), part, part[0].copy(), result.numpy())
        return result.to(samples.device)

    def received(self) -> Tensor:
        """The transpose for samples that are all one, [1, H, W]."""
        result = self._like.new_zeros(1, *self._cells.shape)
        give_back_ones(self._blocks, result[0].numpy())
        return result


def nearest(vector: Tensor, plane: Plane) -> tuple[Tensor, Tensor, Tensor]:
    """The sample that counts most in the prediction of each sample, cells not blended.

    Args:
        vector: As of `Warp`.
        plane: Whose samples.

    Returns:
        Its row, its column and its factor, [H, W].
    """
    cell, precisions = plane.samples(QUARTER), plane.precision
    size = vector.shape[1] * cell[0], vector.shape[2] * cell[1]
    factor, places = torch.ones(size), []
    for axis, precision in enumerate(precisions):
        moved = to_samples(vector[axis].long(), cell)
        whole = moved >> precision
        near = (moved + (1 << precision - 1)) >> precision
        taps = torch.from_numpy(_filters(precision, np.dtype(np.float32)))
        factor *= taps[moved - (whole << precision), TAPS // 2 - 1 + near - whole]
        place = torch.arange(size[axis]).view((-1, 1) if axis == 0 else (1, -1))
        places.append((place + near).clamp(0, size[axis] - 1))
    return places[0], places[1], factor


def to_samples(cells: Tensor, cell: tuple[int, int]) -> Tensor:
    """Values of cells [..., rows, columns] to samples."""
    return cells.repeat_interleave(cell[0], -2).repeat_interleave(cell[1], -1)


class PredictionErrors:
    """What predictions of some cells and the samples around lack; not for threads at once.

    Args:
        target: What is predicted [H, W].
        reference: What predicts [H, W].
        plane: Whose samples.
        size: Luma samples of a cell.
    """

    def __init__(self, target: Tensor, reference: Tensor, plane: Plane, size: int) -> None:
        self._target, self._reference = _array(target), _array(reference)
        height, width = plane.samples(size)
        counts, kind = (len(target) // height, target.shape[1] // width), self._target.dtype
        self._cells = _Cells(counts, plane, kind, size, OVERLAP)
        self._weights, self._room = np.ones(counts, kind), self._cells.room()

    def __call__(
        self, vector: np.ndarray, which: np.ndarray, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds the errors of some cells, unless their sum is above a limit.

        Args:
            vector: Of all cells [2, rows, columns].
            which: Numbers of some [n].
            limits: [n] of the sum of an error's sizes.

        Returns:
            Errors by share [height, m, width] of those that were not given up, and sums of sizes
            [n], infinite where they were.
        """
        height, width = self._room.share.shape
        errors = np.empty((height, len(which), width), self._target.dtype)
        sizes = np.empty(len(which), np.float32)
        blocks = self._cells.blocks(vector, which, self._weights)
        found = self._room, self._reference, self._target, limits, errors, sizes
        count = find_errors(blocks, *found)
        return errors[:, :count], sizes


def _array(samples: Tensor) -> np.ndarray:
    array: np.ndarray = samples.detach().cpu().contiguous().numpy()
    return array
