"""Differentiable rates of parameters: what the real coder takes, with slopes that pull to zero."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.tables import LEVELS
from innvc.bitstream.vectors import symbol_costs
from innvc.bitstream.weights import fold
from innvc.model.grid_prior import TURNS, GridPrior, gather, turn_slices
from innvc.model.quantisation import round_ste

LARGEST = 1024  # magnitude up to which prices are exact


@cache
def _prices() -> tuple[np.ndarray, np.ndarray]:
    """Bits [64, magnitudes] of a symbol, and of a magnitude that is coded after its sign."""
    magnitudes = np.arange(LARGEST + 1)
    rest = symbol_costs(np.abs(fold(np.maximum(magnitudes - 1, 0)))) * (magnitudes > 0)
    return symbol_costs(magnitudes).astype(np.float32), rest.astype(np.float32)


def price_rows(tables: tuple[int, ...], offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prices [offsets, magnitudes] of elements under tables, and their slopes to the next one."""
    direct, rest = _prices()
    prices = direct[(tables[0] + offsets).clip(0, LEVELS - 1)]
    if len(tables) == 2:
        signs = prices[:, np.minimum(np.arange(LARGEST + 1), 1)]
        prices = signs + rest[(tables[1] + offsets).clip(0, LEVELS - 1)]
    slopes = np.diff(prices, axis=1, append=prices[:, -1:] + 0.01)
    if len(tables) == 2:  # magnitudes come in pairs of one price
        slopes[:, 1:-1] = (slopes[:, 1:-1] + slopes[:, 2:]) / 2
    return prices, slopes


class _Price(torch.autograd.Function):
    """Prices of rounded values; derivatives are slopes between the integers and tables around."""

    @staticmethod
    def forward(ctx, x: Tensor, row: Tensor, prices: Tensor, slopes: Tensor) -> Tensor:
        magnitude = x.abs()
        below = magnitude.floor().clamp(max=LARGEST).long()
        nearest = (magnitude + 0.5).floor().clamp(max=LARGEST).long()
        width, place = prices.shape[1], row.long()
        flat = prices.view(-1)
        along = torch.zeros(())
        if ctx.needs_input_grad[1]:
            up, down = (place + 1).clamp(max=len(prices) - 1), (place - 1).clamp(min=0)
            along = (flat[up * width + nearest] - flat[down * width + nearest]) / 2
        ctx.save_for_backward(slopes.view(-1)[place * width + below] * x.sign(), along)
        return flat[place * width + nearest]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        slope, along = ctx.saved_tensors
        return gradient * slope, gradient * along if ctx.needs_input_grad[1] else None, None, None


def tensor_bits(x: Tensor, offsets: Tensor | None, tables: tuple[int, ...]) -> Tensor:
    """Bits of the elements of a tensor.

    Args:
        x: Numbers of steps, not rounded, [n].
        offsets: Of the table indexes, integers [n]; None is 0.
        tables: Of symbols, or of signs and magnitudes.
    """
    least = most = 0
    row = torch.zeros((), dtype=torch.long, device=x.device)
    if offsets is not None and len(offsets):
        least, most = int(offsets.min().clamp(min=-LEVELS)), int(offsets.max().clamp(max=LEVELS))
        row = (offsets.clamp(-LEVELS, LEVELS) - least).long()
    rows = price_rows(tables, np.arange(least, most + 1))
    prices, slopes = (torch.from_numpy(p).to(x.device) for p in rows)
    return _Price.apply(x, row, prices, slopes).sum()


def rare_table(count: int) -> int:
    """The table for a tensor of `count` elements of which none has moved yet: one might."""
    ones = _prices()[0][:, 1]
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
    rows = price_rows(tables, np.arange(LEVELS))
    prices, slopes = (torch.from_numpy(p).to(x.device) for p in rows)
    value = round_ste(x) * size
    total = x.new_zeros(())
    for turn in range(len(TURNS)):
        where = turn_slices(turn, x.shape[1])
        if len(where):
            scale, mean = prior(turn, gather(turn, value, coarse, size), base)
            residual = x[:, where.start :: where.step] - mean
            total = total + _Price.apply(residual, scale, prices, slopes).sum()
    return total, value
