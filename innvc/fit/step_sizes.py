"""Quantisation steps of parameters that the fit learns, in quarters of an octave."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.vectors import best_table, vector_bits
from innvc.bitstream.weights import Axes
from innvc.fit.parameter_rate import tensor_bits
from innvc.model.model import kind_of
from innvc.model.parameter_layout import (
    BLOCK,
    STEP_LEVELS,
    STEP_LOWEST,
    STEP_UNIT_BITS,
    block_counts,
    long_axes,
    matrix_of,
    step_sizes,
)
from innvc.model.quantisation import round_ste, through


class StepSizes:
    """The steps of one tensor: an index, and offsets of rows and columns or of blocks.

    Rounded to integers with straight-through gradients, as they are coded.

    Args:
        start: Index of the step.
        learn: False leaves it there.
    """

    def __init__(self, name: str, parameter: Tensor, start: int, learn: bool) -> None:
        self.shape = tuple(parameter.shape)
        self.device = parameter.device
        self.table = torch.from_numpy(step_sizes()).float().to(self.device)
        self.base = torch.tensor(float(start), device=self.device, requires_grad=learn)
        self.learned = [self.base] if learn else []
        self.vectors: dict[str, Tensor] = {}
        self.places: dict[str, Tensor] = {}
        if not learn:
            return
        if kind_of(name) == "grid":
            counts = (self.shape[0], *block_counts(self.shape[1:]))
            self._add("blocks", counts)
        else:
            matrix = matrix_of(name, self.shape)
            rows, columns = long_axes(matrix.rows, matrix.columns, len(matrix))
            if rows:
                self._add("rows", (matrix.rows,), matrix.row_of)
            if columns:
                self._add("columns", (matrix.columns,), matrix.column_of)

    def _add(self, part: str, shape: tuple[int, ...], places: np.ndarray | None = None) -> None:
        self.vectors[part] = torch.zeros(shape, device=self.device, requires_grad=True)
        self.learned.append(self.vectors[part])
        if places is not None:
            self.places[part] = torch.from_numpy(places).to(self.device)

    def _indexes(self) -> Tensor:
        index = round_ste(self.base)
        for part, vector in self.vectors.items():
            rounded = round_ste(vector)
            if part == "blocks":
                for axis, (size, block) in enumerate(zip(self.shape[1:], BLOCK, strict=True), 1):
                    place = torch.arange(size, device=self.device) // block
                    rounded = rounded.index_select(axis, place)
                index = index + rounded
            else:
                index = index + rounded[self.places[part]].view(self.shape)
        return index.clamp(0, STEP_LEVELS - 1)

    def units(self) -> Tensor:
        """Steps in units of 2^-20, of the tensor's shape."""
        index = self._indexes()
        exact = self.table[index.detach().long()]
        smooth = torch.exp2((index + STEP_LOWEST) / 4 + STEP_UNIT_BITS)
        return through(exact, smooth).expand(self.shape)

    def __call__(self) -> Tensor:
        """Steps of the elements, of the tensor's shape."""
        return self.units() * 2.0**-STEP_UNIT_BITS

    def bits(self) -> Tensor:
        """Bits of the offsets, differentiable."""
        total = torch.zeros((), device=self.device)
        for vector in self.vectors.values():
            rounded = _rounded(vector).ravel()
            table, bits = best_table(rounded)
            slopes = tensor_bits(vector.flatten(), None, (table,))
            total = total + slopes + vector_bits(rounded) - bits
        return total

    @property
    def index(self) -> int:
        return int(_rounded(self.base).clip(0, STEP_LEVELS - 1))

    def axes(self) -> Axes:
        """Offsets of rows and columns."""
        parts = {n: _rounded(v) for n, v in self.vectors.items() if n != "blocks"}
        return Axes(**parts)

    def blocks(self) -> np.ndarray:
        """Offsets of the blocks of a grid, [C, T', H', W'], or empty."""
        vector = self.vectors.get("blocks")
        return np.zeros(0, np.int64) if vector is None else _rounded(vector)


def _rounded(values: Tensor) -> np.ndarray:
    return torch.floor(values.detach() + 0.5).cpu().numpy().astype(np.int64)
