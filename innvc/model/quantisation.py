"""Differentiable stand-ins for rounding (as in C3 and NVRC), and rates of symbols."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

SCALE_LEVELS = 64
SCALES_PER_OCTAVE = 4
SCALE_LOWEST = -5  # log2 of the first table's standard deviation, in symbols
TABLED = 256  # symbols 0..255 have tables of their bits
LAPLACE_WIDTH = 1.6  # standard deviation of the tables' Laplace part, in those of the Gaussian


def round_ste(x: Tensor) -> Tensor:
    """Rounds half up with the gradient of the identity."""
    return x + (torch.floor(x + 0.5) - x).detach()


def floor_ste(x: Tensor) -> Tensor:
    """Floor with the gradient of the identity."""
    return x + (torch.floor(x) - x).detach()


def soft_round(x: Tensor, temperature: float) -> Tensor:
    """s(x) = m + tanh((x - m) / t) / (2 tanh(1 / 2t)), m = floor(x) + 1/2."""
    m = torch.floor(x) + 0.5
    return m + torch.tanh((x - m) / temperature) / (2 * math.tanh(0.5 / temperature))


def soft_round_mean(y: Tensor, temperature: float) -> Tensor:
    """The conditional mean of x given s(x) plus uniform noise: s^-1(y - 1/2) + 1/2."""
    y = y - 0.5
    m = torch.floor(y) + 0.5
    inner = 2 * (y - m) * math.tanh(0.5 / temperature)
    return m + temperature * torch.atanh(inner.clamp(-1 + 1e-6, 1 - 1e-6)) + 0.5


def kumaraswamy_noise(like: Tensor, shape: float, generator: torch.Generator) -> Tensor:
    """Noise in (-1/2, 1/2) with its mode at 0; shape 1 is uniform."""
    b = (2**shape * (shape - 1) + 1) / shape
    u = torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)
    u = u.clamp(1e-6, 1 - 1e-6)
    return (1 - u ** (1 / b)) ** (1 / shape) - 0.5


def noisy_round(x: Tensor, temperature: float, shape: float, generator: torch.Generator) -> Tensor:
    """Soft rounding, noise, conditional mean: the training-time quantiser."""
    noisy = soft_round(x, temperature) + kumaraswamy_noise(x, shape, generator)
    return soft_round_mean(noisy, temperature)


def dead_zone_round(x: Tensor) -> Tensor:
    """Rounding with a wider zero, for contexts before their own scale is known."""
    magnitude = x.abs()
    rounded = torch.floor(magnitude + 0.5) * (magnitude > 0.62)
    return (rounded * x.sign()).detach()


def laplace_share(scale_index: Tensor) -> Tensor:
    """Share of the Laplace part in a table's mixture: 0.01 up to index 10, 0.4 from index 15."""
    return 0.01 + 0.078 * (scale_index - 10).clamp(0, 5)


def symbol_bits(symbol: Tensor, scale_index: Tensor) -> Tensor:
    """Bits of symbols under the tables' mixture, continuous in both arguments.

    Args:
        symbol: Residual to the mean, in steps.
        scale_index: Index of the table; sigma = 2^(index / 4 - 5).
    """
    inverse = torch.exp2(-(scale_index / SCALES_PER_OCTAVE + SCALE_LOWEST))
    magnitude = symbol.abs()
    low, high = (magnitude - 0.5) * inverse, (magnitude + 0.5) * inverse
    normal = _normal_tail(low) - _normal_tail(high)
    laplace = _laplace_tail(low) - _laplace_tail(high)
    mass = normal + laplace_share(scale_index) * (laplace - normal)
    # The floor is the tables' least frequency; below it the log continues as a line, so that the
    # gradient still pulls back.
    floor = 2.0**-22
    excess = (floor - mass).clamp(min=0) / floor
    return (
        -torch.log2(mass.clamp(min=floor)) + excess + 0.05 * (low - 6).clamp(min=0) * (excess > 0)
    )


def _normal_tail(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(z * math.sqrt(0.5))


def _laplace_tail(z: Tensor) -> Tensor:
    tail = 0.5 * torch.exp(-math.sqrt(2) / LAPLACE_WIDTH * z.abs())
    return torch.where(z < 0, 1 - tail, tail)


def step_penalties() -> Tensor:
    """[64, 34] bits(k) - bits(k - 1) under each table for magnitudes k (index 0 unused)."""
    magnitudes = torch.arange(34, dtype=torch.float64)[None]
    scales = torch.arange(SCALE_LEVELS, dtype=torch.float64)[:, None]
    bits = symbol_bits(magnitudes, scales)
    return torch.cat([torch.zeros(SCALE_LEVELS, 1, dtype=bits.dtype), bits.diff(dim=1)], 1)


class _TabledBits(torch.autograd.Function):
    """`symbol_bits` of integers by table, several times as fast."""

    @staticmethod
    def forward(
        ctx: Any, symbol: Tensor, scale: Tensor, residual: Tensor, tables: Tensor
    ) -> Tensor:
        row = scale.to(torch.int32) * TABLED
        place = row + symbol.abs().clamp(max=TABLED - 1).to(torch.int32)
        below = residual.abs().clamp(max=TABLED - 1)
        # From 0 to 1 it begins at 0 and has the mean 1.
        ramp = torch.where(below < 1, (8 / 3 * below).clamp(max=4 / 3), 1.0)
        slope = tables[2][row + below.to(torch.int32)] * ramp
        bits, by_scale = tables[0][place], tables[1][place]
        far = symbol.abs() >= TABLED
        if far.any():
            with torch.enable_grad():
                index = scale[far].detach().requires_grad_()
                exact = symbol_bits(symbol[far], index)
                by_scale[far] = torch.autograd.grad(exact.sum(), index)[0]
            bits[far] = exact.detach()
        ctx.save_for_backward(by_scale, slope * residual.sign())
        return bits

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_scale, by_residual = ctx.saved_tensors
        return None, gradient * by_scale, gradient * by_residual, None


class ChosenBits(nn.Module):
    """Bits of chosen integer symbols, with gradients for the scale index and the mean.

    The residual's slope is the step of the bits from the integer below it to the one above: what a
    shift of the mean costs on average, whatever rounding makes of this one residual. The tables'
    own slope is 0 at zeros, and the mean would drift among them.
    """

    tables: Tensor

    def __init__(self) -> None:
        super().__init__()
        index = torch.arange(SCALE_LEVELS, dtype=torch.float64)[:, None].repeat(1, TABLED + 1)
        index.requires_grad_()
        with torch.enable_grad():
            bits = symbol_bits(torch.arange(TABLED + 1, dtype=torch.float64)[None], index)
            by_scale = torch.autograd.grad(bits.sum(), index)[0]
        parts = bits[:, :-1], by_scale[:, :-1], bits.diff(dim=1)
        tables = torch.stack([p.detach().float().flatten() for p in parts])
        self.register_buffer("tables", tables, persistent=False)

    def forward(self, symbol: Tensor, scale_index: Tensor, residual: Tensor) -> Tensor:
        """Bits of integer symbols under integer-valued scale indexes.

        Args:
            residual: What the symbols were chosen for, of their shape; it only takes the gradient.
        """
        of = symbol.detach(), scale_index, residual, self.tables
        bits: Tensor = _TabledBits.apply(*of)  # type: ignore[no-untyped-call]
        return bits


class RateAwareRounding(nn.Module):
    """Rounds to the nearest symbol, or to the next one towards zero where that costs less.

    Compares bits + weight * squared error; only the encoder and the fit do this.
    """

    penalties: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("penalties", step_penalties(), persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, scale_index: Tensor, weight: Tensor) -> Tensor:
        """Symbols for values x in steps.

        Args:
            x: Residuals to the mean.
            scale_index: The tables, integer-valued, of x's shape.
            weight: Bits that a squared error of one step is worth; broadcasts to x.
        """
        magnitude = x.abs()
        nearest = torch.floor(magnitude + 0.5)
        width = self.penalties.shape[1]
        place = scale_index.long() * width + nearest.clamp(max=width - 1).long()
        penalty = self.penalties.to(x.dtype).flatten()[place]
        lower = weight * (2 * (magnitude - nearest) + 1) < penalty
        return (nearest - lower.to(x.dtype)) * x.sign()


def worth_skipping(coded: Tensor, zero: Tensor, empty: Tensor) -> Tensor:
    """Positions [..., H, W] to skip: those of zeros alone, and those that cost more than they gain.

    Args:
        coded: Bits, and what the error is worth in bits, of the symbols at each position.
        zero: What the error is worth without them.
        empty: Whether all symbols are zero.
    """
    skip = empty
    for _ in range(2):  # the flag's own cost depends on how many there are
        share = skip.to(coded.dtype).mean((-2, -1), keepdim=True).clamp(0.02, 0.98)
        skip = empty | (zero < coded + torch.log2(share / (1 - share)))
    return skip


def through(values: Tensor, x: Tensor) -> Tensor:
    """`values` with the gradient of x."""
    return x + (values - x).detach()
