"""Quantisation steps of parameters that the fit learns, in quarters of an octave."""

from __future__ import annotations

import math

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
    STEP_UNIT_BITS,
    block_counts,
    long_axes,
    matrix_of,
    step_sizes,
)


class _Round(torch.autograd.Function):
    """Rounds half up with the gradient of the identity."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient


class _Size(torch.autograd.Function):
    """Steps of integer-valued indexes, with the derivative of 2^(i / 4)."""

    @staticmethod
    def forward(ctx, index: Tensor, table: Tensor) -> Tensor:
        size = table[index.long()]
        ctx.save_for_backward(size)
        return size

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (size,) = ctx.saved_tensors
        return gradient * size * (math.log(2) / 4), None


class StepSizes:
    """The steps of one tensor: an index, and offsets of rows and columns or of blocks.

    Rounded to integers with straight-through gradients, as they are coded.

    Args:
        start: Index of the step.
        learn: False leaves it there.
    """

    def __init__(self, name: str, parameter: Tensor, start: int, learn: bool) -> None:
        self.shape = self.seen = tuple(parameter.shape)
        self.device = parameter.device
        self.table = torch.from_numpy(step_sizes()).float().to(self.device)
        self.base = torch.tensor(float(start), device=self.device, requires_grad=learn)
        self.learned = [self.base] if learn else []
        self.vectors: dict[str, Tensor] = {}
        self.places: dict[str, Tensor] = {}  # of the elements of what is no rectangle
        self.codes: dict[str, tuple[int, float]] = {}  # table of each vector, and further bits
        if not learn:
            return
        if kind_of(name) == "grid":
            counts = (self.shape[0], *block_counts(self.shape[1:]))
            self._add("blocks", counts)
        else:
            matrix = matrix_of(name, self.shape)
            rows, columns = long_axes(matrix.rows, matrix.columns, len(matrix))
            if rows:
                self._add("rows", (matrix.rows,))
            if columns:
                self._add("columns", (matrix.columns,))
            if len(matrix) < matrix.rows * matrix.columns:
                for part, places in (("rows", matrix.row_of), ("columns", matrix.column_of)):
                    self.places[part] = torch.from_numpy(places).to(self.device)
            elif self.vectors:
                self.seen = matrix.rows, matrix.columns

    def _add(self, part: str, shape: tuple[int, ...]) -> None:
        self.vectors[part] = torch.zeros(shape, device=self.device, requires_grad=True)
        self.learned.append(self.vectors[part])

    def _index(self) -> Tensor:
        """Of each element, integer-valued; broadcasts to the shape."""
        index = _Round.apply(self.base)
        for part, vector in self.vectors.items():
            rounded = _Round.apply(vector)
            if part == "blocks":
                for axis, (size, block) in enumerate(zip(self.shape[1:], BLOCK, strict=True), 1):
                    place = torch.arange(size, device=self.device) // block
                    rounded = rounded.index_select(axis, place)
                index = index + rounded
            elif self.places:
                index = index + rounded.index_select(0, self.places[part])
            else:
                index = index + (rounded[:, None] if part == "rows" else rounded)
        return index.clamp(0, STEP_LEVELS - 1)

    def units(self) -> Tensor:
        """Steps in units of 2^-20, of the tensor's shape."""
        return _Size.apply(self._index(), self.table).expand(self.seen).reshape(self.shape)

    def __call__(self) -> Tensor:
        """Steps of the elements, of the tensor's shape."""
        return self.units() * 2.0**-STEP_UNIT_BITS

    def bits(self) -> Tensor:
        """Bits of the offsets, differentiable, under the tables chosen last."""
        if len(self.codes) < len(self.vectors):
            self.choose()
        total = torch.zeros((), device=self.device)
        for part, vector in self.vectors.items():
            table, rest = self.codes[part]
            total = total + tensor_bits(vector.flatten(), None, (table,)) + rest
        return total

    def choose(self) -> None:
        """Looks for the tables that take the least bits."""
        for part, vector in self.vectors.items():
            rounded = _rounded(vector).ravel()
            table, bits = best_table(rounded)
            self.codes[part] = table, vector_bits(rounded) - bits

    @torch.no_grad()
    def offsets(self, part: str) -> Tensor | None:
        """Offsets of "rows" or "columns" as they are coded, None where there are none."""
        vector = self.vectors.get(part)
        return None if vector is None else torch.floor(vector + 0.5).long()

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
