"""Feature grids: steps of blocks, and elements under a context model, from coarse to fine.

One path codes and decodes (docs/format.md): a level takes eight calls of the symbol coder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch

from innvc.bitstream.tables import LEVELS
from innvc.bitstream.vectors import TABLE_BITS, Coder, code_symbols, code_vector, given, number
from innvc.bitstream.weights import STEP_BITS, code_split
from innvc.errors import CorruptError
from innvc.model.grid_prior import (
    TURNS,
    WEIGHT_LIMIT,
    WEIGHTS,
    GridPrior,
    activity,
    gather,
    turn_slices,
)
from innvc.model.parameter_layout import (
    STEP_LEVELS,
    STEP_UNIT_BITS,
    block_counts,
    over_blocks,
    step_sizes,
)
from innvc.model.prior import WEIGHT_BITS

_NONE = np.zeros(0, np.int64)
REST_BITS = 7
REST_OFFSET = 1 << (REST_BITS - 1)
SYMBOL_LIMIT = 1 << 25  # of |number of steps|
Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class CodedGrid:
    """Differences of one level from its start value, and how they are coded.

    Attributes:
        values: Numbers of steps, int64 [C, T, H, W].
        step: Index of the quantisation step, 0..63.
        scale: Table index without context, 0..63.
        rest: Signs and magnitudes are coded apart, the latter under tables that are this much
            further, -64..63; None codes them together.
        step_offsets: Of each block and channel, [C, T', H', W']; empty is none.
        scale_offsets: Of each channel, [C]; empty is none.
        weights: Changes of the context model from its start, in 2^-10, flat; empty is none.
    """

    values: np.ndarray
    step: int = 0
    scale: int = 0
    rest: int | None = None
    step_offsets: np.ndarray = field(default_factory=lambda: _NONE)
    scale_offsets: np.ndarray = field(default_factory=lambda: _NONE)
    weights: np.ndarray = field(default_factory=lambda: _NONE)

    def step_of(self) -> np.ndarray:
        """Quantisation step of each element in units of 2^-20, int64 [C, T, H, W]."""
        channels, time, height, width = self.values.shape
        offsets = self.step_offsets
        if not offsets.size:
            offsets = np.zeros((channels, *block_counts((time, height, width))), np.int64)
        indexes = (self.step + offsets).clip(0, STEP_LEVELS - 1)
        return over_blocks(step_sizes()[indexes], (time, height, width))

    def differences(self) -> np.ndarray:
        """The coded differences, float64 [C, T, H, W], all exact."""
        differences: np.ndarray = self.values * self.step_of() * 2.0**-STEP_UNIT_BITS
        return differences

    def prior(self) -> GridPrior:
        """The context model in float64."""
        prior = GridPrior()
        parameters = list(prior.parameters())
        if self.weights.size:
            flat = torch.from_numpy(self.weights * 2.0**-WEIGHT_BITS).float()
            parts = torch.split(flat, [p.numel() for p in parameters])
            with torch.no_grad():
                for parameter, part in zip(parameters, parts, strict=True):
                    parameter.add_(part.view_as(parameter))
        return prior.double()


def code_grids(
    coder: Coder, shapes: Sequence[Shape], grids: Sequence[CodedGrid] | None
) -> list[CodedGrid]:
    """Codes the levels of a grid, given and returned from fine to coarse, coded the other way.

    Raises:
        CorruptError: the data is not a valid code.
    """
    coded: list[CodedGrid] = []
    coarser = None
    for level in range(len(shapes) - 1, -1, -1):
        grid = _code_level(coder, shapes[level], grids[level] if grids else None, coarser)
        coarser = grid.values * grid.step_of()
        coded.append(grid)
    return coded[::-1]


def _code_level(
    coder: Coder, shape: Shape, grid: CodedGrid | None, coarser: np.ndarray | None
) -> CodedGrid:
    if not number(coder, 1, given(grid, lambda g: int(g.values.any()))):
        return CodedGrid(np.zeros(shape, np.int64))
    step = number(coder, STEP_BITS, given(grid, lambda g: g.step))
    scale = number(coder, TABLE_BITS, given(grid, lambda g: g.scale))
    rest = None
    if number(coder, 1, given(grid, lambda g: int(g.rest is not None))):
        coded_rest = given(grid, lambda g: (g.rest or 0) + REST_OFFSET)
        rest = number(coder, REST_BITS, coded_rest) - REST_OFFSET
    blocks = (shape[0], *block_counts(shape[1:]))
    sizes = {"step_offsets": blocks, "scale_offsets": shape[:1], "weights": (WEIGHTS,)}
    vectors = {}
    for name, size in sizes.items():
        values = None if grid is None else getattr(grid, name).ravel()
        if values is not None and not values.size:
            values = np.zeros(prod(size), np.int64)
        vectors[name] = code_vector(coder, prod(size), values).reshape(size)
    elements = np.zeros(shape, np.int64) if grid is None else grid.values
    coded = CodedGrid(elements, step, scale, rest, **vectors)
    _code_elements(coder, coded, coarser, grid is not None)
    return coded


@torch.no_grad()
def _code_elements(coder: Coder, grid: CodedGrid, coarser: np.ndarray | None, given: bool) -> None:
    """Codes the values of a grid, or decodes them in place."""
    prior = grid.prior()
    if max(float(p.abs().max()) for p in prior.parameters()) * (1 << WEIGHT_BITS) > WEIGHT_LIMIT:
        raise CorruptError("A weight of a grid's context model is out of range.")
    shape = grid.values.shape
    steps = torch.from_numpy(grid.step_of()).double()
    known = torch.zeros(shape, dtype=torch.float64)
    coarse = activity(None if coarser is None else torch.from_numpy(coarser).double(), shape[1:])
    base = torch.from_numpy(grid.scale + grid.scale_offsets.astype(np.float64))
    odd = np.add.outer(np.arange(shape[2]), np.arange(shape[3])) % 2 == 1
    for turn in range(len(TURNS)):
        where = turn_slices(turn, shape[1])
        own = slice(where.start, shape[1], where.step)
        if not len(where):
            continue
        for parity in (~odd, odd):
            slices = gather(turn, known, coarse, steps)
            scale, mean = (x.numpy()[..., parity] for x in prior(turn, slices, base))
            mean = mean.astype(np.int64)
            place = grid.values[:, own]
            symbols = (place[..., parity] - mean).ravel().astype(np.int32) if given else None
            index = scale.ravel().astype(np.int64)
            if grid.rest is None:
                symbols = code_symbols(coder, index, symbols)
            else:
                symbols = code_split(coder, index, (index + grid.rest).clip(0, LEVELS - 1), symbols)
            place[..., parity] = symbols.reshape(mean.shape) + mean
            if np.abs(place[..., parity]).max(initial=0) > SYMBOL_LIMIT:
                raise CorruptError("An element of a grid is out of range.")
            current = torch.from_numpy(np.where(parity, place, 0)).double()
            known[:, own] += current * steps[:, own]
