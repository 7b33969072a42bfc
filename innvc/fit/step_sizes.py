"""Quantisation steps of parameters that the fit learns, in quarters of an octave."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.weights import Axes
from innvc.model.model import kind_of
from innvc.model.parameter_layout import (
    STEP_LEVELS,
    STEP_UNIT_BITS,
    block_counts,
    long_axes,
    matrix_of,
    over_blocks,
    step_sizes,
)


class _Maps(NamedTuple):
    """Where the steps of elements come from.

    Attributes:
        counts, lengths: Elements of each tensor.
        places: Two offsets of each element: their number in the vector of all, or 0 for none. [n]
        table: Steps of the indexes.
    """

    counts: list[int]
    lengths: Tensor
    places: tuple[Tensor, Tensor]
    table: Tensor


class _Steps(torch.autograd.Function):
    """Steps [n] of the elements of all tensors; straight-through, with the derivative of 2^(i/4).

    One operation for all of them: a tensor by itself is much too small for that.
    """

    @staticmethod
    def forward(ctx: Any, base: Tensor, vector: Tensor, maps: _Maps) -> Tensor:
        index = base.add(0.5).floor()
        index = index.repeat_interleave(maps.lengths, output_size=sum(maps.counts))
        if len(vector):
            offsets = torch.cat([vector.new_zeros(1), vector.add(0.5).floor()])
            for places in maps.places:
                index += offsets.index_select(0, places)
        inside = (index >= 0) & (index < STEP_LEVELS)
        size = maps.table[index.clamp(0, STEP_LEVELS - 1).long()]
        ctx.save_for_backward(size * inside)
        ctx.maps, ctx.offsets = maps, len(vector)
        return size

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (size,) = ctx.saved_tensors
        gradient = gradient * size * (math.log(2) / 4)
        base = torch.stack([part.sum() for part in gradient.split(ctx.maps.counts)])
        vector = gradient.new_zeros(1 + ctx.offsets)
        if ctx.offsets:
            for places in ctx.maps.places:
                vector.index_add_(0, places, gradient)
        return base, vector[1:], None


class StepSizes:
    """The steps of tensors: of each an index, and offsets of rows and columns or of blocks.

    Rounded to integers with straight-through gradients, as they are coded.

    Args:
        parameters: By name.
        start: Index of the step of each.
        learn: False leaves it there.

    Attributes:
        base: Indexes [tensors].
        vector: Offsets of all tensors, one after the other.
        parts: Of the offsets "rows", "columns" and "blocks" of a tensor their place in it, and
            their shape.
        elements: Place of each tensor among the elements of all.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], start: dict[str, int], learn: bool
    ) -> None:
        device = next((p.device for p in parameters.values()), torch.device("cpu"))
        self.names = list(parameters)
        self.shapes = {name: tuple(p.shape) for name, p in parameters.items()}
        self.parts: dict[tuple[str, str], tuple[slice, tuple[int, ...]]] = {}
        end, none = 0, torch.zeros(0, dtype=torch.int32)
        places = [none], [none]
        for name, shape in self.shapes.items():
            of = [np.zeros(prod(shape), np.int64) for _ in places]
            for number, (part, size, where) in enumerate(_offsets(name, shape) if learn else ()):
                self.parts[name, part] = slice(end, end + prod(size)), size
                of[number] = 1 + end + where
                end += prod(size)
            for all_places, found in zip(places, of, strict=True):
                all_places.append(torch.from_numpy(found.astype(np.int32)))
        indexes = [float(start[name]) for name in self.names]
        self.base = torch.tensor(indexes, device=device, requires_grad=learn)
        self.vector = torch.zeros(end, device=device, requires_grad=learn)
        first, second = (torch.cat(p).to(device) for p in places)
        counts = [prod(shape) for shape in self.shapes.values()]
        lengths = torch.tensor(counts, dtype=torch.long, device=device)
        table = torch.from_numpy(step_sizes()).float().to(device) * 2.0**-STEP_UNIT_BITS
        self.maps = _Maps(counts, lengths, (first, second), table)
        self.learned = [self.base, self.vector] if learn else []
        ends = pairwise(accumulate(counts, initial=0))
        self.elements = {name: slice(*pair) for name, pair in zip(self.names, ends, strict=True)}

    def __call__(self) -> Tensor:
        """Steps [n] of the elements of all tensors, one after the other."""
        of = self.base, self.vector, self.maps
        steps: Tensor = _Steps.apply(*of)  # type: ignore[no-untyped-call]
        return steps

    def of(self, name: str) -> Tensor:
        """Steps of the elements of a tensor."""
        return self()[self.elements[name]].view(self.shapes[name])

    @torch.no_grad()
    def offsets(self) -> Tensor | None:
        """The sum of the offsets of each element [n], int64; None is none at all."""
        if not len(self.vector):
            return None
        rounded = torch.cat([self.vector.new_zeros(1), self.vector.add(0.5).floor()]).long()
        first, second = (rounded.index_select(0, places) for places in self.maps.places)
        return first + second

    def index(self, name: str) -> int:
        """The index of a tensor's step."""
        index = self.base[self.names.index(name)].detach().add(0.5).floor()
        return int(index.clamp(0, STEP_LEVELS - 1))

    def axes(self, name: str) -> Axes:
        """Offsets of a tensor's rows and columns."""
        return Axes(*(self.part(name, axis) for axis in ("rows", "columns")))

    def blocks(self, name: str) -> np.ndarray:
        """Offsets of the blocks of a grid, [C, T', H', W'], or empty."""
        return self.part(name, "blocks")

    def part(self, name: str, part: str) -> np.ndarray:
        """Offsets as they are coded; empty where there are none."""
        place, shape = self.parts.get((name, part), (slice(0), (0,)))
        values = torch.floor(self.vector[place].detach() + 0.5)
        return values.cpu().numpy().astype(np.int64).reshape(shape)


def _offsets(
    name: str, shape: tuple[int, ...]
) -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    """What a tensor has offsets for, their shape, and the number of each element's offset."""
    if kind_of(name) == "grid":
        counts = (shape[0], *block_counts(shape[1:]))
        numbers = np.arange(prod(counts)).reshape(counts)
        yield "blocks", counts, over_blocks(numbers, shape[1:]).ravel()
        return
    matrix = matrix_of(name, shape)
    rows, columns = long_axes(matrix.rows, matrix.columns, len(matrix))
    if rows:
        yield "rows", (matrix.rows,), matrix.row_of
    if columns:
        yield "columns", (matrix.columns,), matrix.column_of
