"""Differentiable rates of parameters: what the real coder takes, with slopes that pull to zero."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

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
    """Bits of magnitudes under each table, [64 (LARGEST + 1)], on a device.

    Attributes:
        whole: Of a symbol.
        sign: Of its sign, where the magnitude follows.
        rest: Of that magnitude.
    """

    whole: Tensor
    sign: Tensor
    rest: Tensor


def _price_rows() -> list[np.ndarray]:
    magnitudes = np.arange(LARGEST + 1)
    rest = symbol_costs(np.abs(fold(np.maximum(magnitudes - 1, 0)))) * (magnitudes > 0)
    whole = symbol_costs(magnitudes)
    return [whole, whole[:, np.minimum(magnitudes, 1)], rest]


@cache
def _prices(device: torch.device) -> tuple[_Prices, _Prices]:
    """Prices, and their slopes to the next magnitude."""
    rows = _price_rows()
    slopes = [np.diff(p, axis=1, append=p[:, -1:] + end) for p, end in zip(rows, ENDS, strict=True)]
    for part in slopes[1:]:  # magnitudes come in pairs of one price
        part[:, 1:-1] = (part[:, 1:-1] + part[:, 2:]) / 2
    prices, steps = (
        _Prices(*(torch.from_numpy(p.ravel()).float().to(device) for p in parts))
        for parts in (rows, slopes)
    )
    return prices, steps


def _at(prices: _Prices, tables: tuple[int, ...], row: Tensor, magnitude: Tensor) -> Tensor:
    """Prices of magnitudes under tables moved by `row`."""
    places = [(row + t).clamp(0, LEVELS - 1) * (LARGEST + 1) + magnitude for t in tables]
    if len(places) == 1:
        return prices.whole[places[0]]
    return prices.sign[places[0]] + prices.rest[places[1]]


class _Price(torch.autograd.Function):
    """Prices of rounded values; derivatives are slopes between the integers and tables around."""

    @staticmethod
    def forward(ctx, x: Tensor, row: Tensor, tables: tuple[int, ...]) -> Tensor:
        prices, slopes = _prices(x.device)
        magnitude = x.abs()
        below = magnitude.floor().clamp(max=LARGEST).long()
        nearest = (magnitude + 0.5).floor().clamp(max=LARGEST).long()
        row, along = row.long(), torch.zeros(())
        if ctx.needs_input_grad[1]:
            up, down = (row + 1).clamp(max=LEVELS - 1), (row - 1).clamp(min=0)
            along = _at(prices, tables, up, nearest) - _at(prices, tables, down, nearest)
        ctx.save_for_backward(_at(slopes, tables, row, below) * x.sign(), along / 2)
        return _at(prices, tables, row, nearest)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        slope, along = ctx.saved_tensors
        return gradient * slope, gradient * along if ctx.needs_input_grad[1] else None, None


def tensor_bits(x: Tensor, offsets: Tensor | None, tables: tuple[int, ...]) -> Tensor:
    """Bits of the elements of a tensor.

    Args:
        x: Numbers of steps, not rounded, [n].
        offsets: Of the table indexes, integers [n]; None is 0.
        tables: Of symbols, or of signs and magnitudes.
    """
    row = torch.zeros((), dtype=torch.long, device=x.device) if offsets is None else offsets
    return _Price.apply(x, row, tables).sum()


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
    tables = (0,) if rest is None else (0, rest)
    value = round_ste(x) * size
    total = x.new_zeros(())
    for turn in range(len(TURNS)):
        where = turn_slices(turn, x.shape[1])
        if len(where):
            scale, mean = prior(turn, gather(turn, value, coarse, size), base)
            residual = x[:, where.start :: where.step] - mean
            total = total + _Price.apply(residual, scale, tables).sum()
    return total, value
