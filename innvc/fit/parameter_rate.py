"""Differentiable rates of parameters: what the real coder takes, with slopes that pull to zero."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.tables import LEVELS
from innvc.bitstream.vectors import symbol_costs
from innvc.bitstream.weights import fold
from innvc.model.grid_prior import TURNS, GridPrior, gather, turn_slices
from innvc.model.quantisation import round_ste

LARGEST = 1024  # magnitude up to which prices are exact
ENDS = 0.01, 0.01, 0.0  # slopes beyond it


class _Prices(NamedTuple):
    """Bits of magnitudes under tables [4 64 (LARGEST + 1)], and their slopes to the next one.

    Four kinds of tables follow each other: of a symbol, of its sign where the magnitude follows,
    of that magnitude, and nothing.
    """

    prices: Tensor
    slopes: Tensor


@cache
def _prices(device: torch.device) -> _Prices:
    magnitudes = np.arange(LARGEST + 1)
    rest = symbol_costs(np.abs(fold(np.maximum(magnitudes - 1, 0)))) * (magnitudes > 0)
    whole = symbol_costs(magnitudes)
    prices = [whole, whole[:, np.minimum(magnitudes, 1)], rest]
    slopes = [np.diff(p, axis=1, append=p[:, -1:] + e) for p, e in zip(prices, ENDS, strict=True)]
    for part in slopes[1:]:  # magnitudes come in pairs of one price
        part[:, 1:-1] = (part[:, 1:-1] + part[:, 2:]) / 2
    parts = [np.stack([*p, np.zeros_like(whole)]) for p in (prices, slopes)]
    return _Prices(*(torch.from_numpy(p.ravel()).float().to(device) for p in parts))


class Tables(NamedTuple):
    """The tables of elements; numbers, or tensors of the elements' shape.

    Attributes:
        first: Of the symbol, or of its sign.
        second: Of the magnitude that follows.
        split: Whether it follows.
    """

    first: Tensor | int
    second: Tensor | int
    split: Tensor | bool

    @staticmethod
    def of(tables: tuple[int, ...]) -> Tables:
        """Of tables as in `CodedTensor`."""
        return Tables(tables[0], tables[-1], len(tables) == 2)

    def look_up(self, prices: Tensor, row: Tensor, magnitude: Tensor) -> Tensor:
        """Prices of magnitudes under the tables moved by `row`."""
        first = (row + self.first).clamp(0, LEVELS - 1).long() + LEVELS * self.split
        second = (row + self.second).clamp(0, LEVELS - 1).long() + LEVELS * (3 - self.split)
        width = LARGEST + 1
        return prices[first * width + magnitude] + prices[second * width + magnitude]


class _Price(torch.autograd.Function):
    """Prices of rounded values; derivatives are slopes between the integers and tables around."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, row: Tensor, tables: Tables) -> Tensor:
        prices, slopes = _prices(x.device)
        magnitude = x.abs()
        below = magnitude.floor().clamp(max=LARGEST).long()
        nearest = (magnitude + 0.5).floor().clamp(max=LARGEST).long()
        row, along = row.long(), torch.zeros(())
        if ctx.needs_input_grad[1]:
            up, down = (row + 1).clamp(max=LEVELS - 1), (row - 1).clamp(min=0)
            along = tables.look_up(prices, up, nearest) - tables.look_up(prices, down, nearest)
        ctx.save_for_backward(tables.look_up(slopes, row, below) * x.sign(), along / 2)
        return tables.look_up(prices, row, nearest)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        slope, along = ctx.saved_tensors
        return gradient * slope, gradient * along if ctx.needs_input_grad[1] else None, None


def element_bits(x: Tensor, offsets: Tensor, tables: Tables) -> Tensor:
    """Bits of elements [n], differentiable.

    Args:
        x: Numbers of steps, not rounded, [n].
        offsets: Of the table indexes, integers that broadcast to [n].
        tables: Of each element.
    """
    bits: Tensor = _Price.apply(x, offsets, tables)  # type: ignore[no-untyped-call]
    return bits


def rare_table(count: int) -> int:
    """The table for a tensor of `count` elements of which none has moved yet: one might."""
    ones = symbol_costs(np.arange(2))[:, 1]
    return int(np.argmax(ones <= np.log2(max(2, count)) + 2))


def grid_bits(
    prior: GridPrior, base: Tensor, rest: int | None, x: Tensor, size: Tensor, coarse: Tensor
) -> tuple[Tensor, Tensor]:
    """Bits of a level's elements, differentiable in all arguments, and its rounded values.

    Args:
        base: Scale index of each channel, [C].
        rest: As in `CodedGrid`.
        x: Numbers of steps, not rounded, [C, T, H, W].
        size: Quantisation steps in units of 2^-20, [C, T, H, W].
        coarse: Activity of the coarser level, [T, H, W].
    """
    tables = Tables.of((0,) if rest is None else (0, rest))
    value = round_ste(x) * size
    total = x.new_zeros(())
    for turn in range(len(TURNS)):
        where = turn_slices(turn, x.shape[1])
        if len(where):
            scale, mean = prior(turn, gather(turn, value, coarse, size), base)
            residual = x[:, where.start :: where.step] - mean
            bits = element_bits(residual, scale, tables)
            total = total + bits.sum()
    return total, value
