"""Differentiable stand-ins for rounding (nvrc-facts: soft rounding, Kumaraswamy noise) and rates."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCALE_LEVELS = 64
SCALES_PER_OCTAVE = 4
SCALE_LOWEST = -5  # log2 of the first table's standard deviation, in symbols
LAPLACE_SHARE = 0.15  # of the tables' Gaussian-Laplace mixture; see bitstream/tables.py
LAPLACE_WIDTH = 1.6  # standard deviation of the Laplace part, in those of the Gaussian


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


def hard_round(x: Tensor, temperature: float) -> Tensor:
    """Hard rounding with the derivative of soft rounding (straight-through phase)."""
    soft = soft_round(x, temperature)
    return soft + (torch.floor(x + 0.5) - soft).detach()


def symbol_bits(symbol: Tensor, scale_index: Tensor) -> Tensor:
    """Bits of symbols under the tables' mixture, continuous in both arguments.

    Args:
        symbol: Residual to the mean, in steps.
        scale_index: Index of the table; sigma = 2^(index / 4 - 5).
    """
    inverse = torch.exp2(-(scale_index / SCALES_PER_OCTAVE + SCALE_LOWEST))
    magnitude = symbol.abs()
    low, high = (magnitude - 0.5) * inverse, (magnitude + 0.5) * inverse
    mass = (1 - LAPLACE_SHARE) * (_normal_tail(low) - _normal_tail(high))
    mass = mass + LAPLACE_SHARE * (_laplace_tail(low) - _laplace_tail(high))
    # The floor is the tables' least frequency; below it the log continues as a line, so that the
    # gradient still pulls back.
    floor = 2.0**-22
    excess = (floor - mass).clamp(min=0) / floor
    return -torch.log2(mass.clamp(min=floor)) + excess + 0.05 * (low - 6).clamp(min=0) * (excess > 0)


def _normal_tail(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(z * math.sqrt(0.5))


def _laplace_tail(z: Tensor) -> Tensor:
    tail = 0.5 * torch.exp(-math.sqrt(2) / LAPLACE_WIDTH * z.abs())
    return torch.where(z < 0, 1 - tail, tail)
