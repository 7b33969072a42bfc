"""Block motion compensation of one plane, and its transpose."""

from __future__ import annotations

from functools import cache

import numpy as np
from torch import Tensor

from innvc.model.blocks import (
    TAPS,
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
        self._blocks = lay_out(
            np.ascontiguousarray(vector.cpu().numpy(), np.int64),
            which,
            weights,
            self._shape,
            self._reach,
            plane.precision,
            (_filters(pairs[0][3], kind), _filters(pairs[1][3], kind)),
            (_windows(*pairs[0][:3], kind), _windows(*pairs[1][:3], kind)),
        )

    def _room(self) -> Room:
        height, width = (shares.shape[1] for shares in (self._blocks.rows, self._blocks.columns))
        span = -(-(width + TAPS - 1) // LANES) * LANES
        shapes = (height, width), (height, width), (height + TAPS - 1, span), span
        return Room(*(np.zeros(shape, self._blocks.rows.dtype) for shape in shapes))

    def __call__(self, samples: Tensor) -> Tensor:
        """Predictions [N, H, W] from samples [N, H, W]."""
        y, x = self._reach
        size = len(samples), self._shape[0] + 2 * y, self._shape[1] + 2 * x
        padded = samples.new_zeros(size, device="cpu")
        predict(self._blocks, self._room(), _array(samples), y, x, padded.numpy())
        return padded[:, y : y + self._shape[0], x : x + self._shape[1]].to(samples.device)

    def adjoint(self, samples: Tensor) -> Tensor:
        """The transpose of the linear map, [N, H, W] to [N, H, W]."""
        result = samples.new_zeros(len(samples), *self._shape, device="cpu")
        room = self._room()
        edge = TAPS - 1
        part = np.zeros((len(room.window) + edge, room.window.shape[1] + LANES), room.line.dtype)
        give_back(self._blocks, room, _array(samples), part, part[0].copy(), result.numpy())
        return result.to(samples.device)

    def received(self) -> Tensor:
        """The transpose for samples that are all one, [1, H, W]."""
        result = self._like.new_zeros(1, *self._shape)
        give_back_ones(self._blocks, result[0].numpy())
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
        find_errors(self._blocks, room, _array(samples), _array(target), errors.numpy())
        return errors


def _array(samples: Tensor) -> np.ndarray:
    array: np.ndarray = samples.detach().cpu().contiguous().numpy()
    return array
