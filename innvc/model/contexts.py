"""What the latent prior reads of decoded values: log-magnitudes, in exact integer arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from innvc.model.quantisation import floor_ste
from innvc.model.start import Frequencies

VALUE_LIMIT = (1 << 19) - 1  # of |v|
RESIDUAL_LIMIT = 30_000  # of |symbol| that an encoder may choose
LARGEST_LOG = 128


@cache
def _log_thresholds() -> Tensor:
    """Least integers x with 8 log2(x / 8) >= k, k = 1..128, by exact comparison x^8 >= 8^8 2^k."""
    thresholds, x = [], 8
    for k in range(1, LARGEST_LOG + 1):
        while x**8 < 8**8 << k:
            x += max(1, x >> 12)
        while (x - 1) ** 8 >= 8**8 << k:
            x -= 1
        thresholds.append(x)
    return torch.tensor(thresholds, dtype=torch.float64)


@cache
def log_table() -> Tensor:
    """floor(8 log2(1 + a / 8)) of the magnitudes 0..VALUE_LIMIT in sixteenths."""
    shifted = torch.arange(8, VALUE_LIMIT + 9, dtype=torch.float64)
    return torch.bucketize(shifted, _log_thresholds(), right=True).to(torch.float32)


class _LogMagnitude(torch.autograd.Function):
    """floor(8 log2(1 + a / 8)) of magnitudes a in sixteenths, from a table."""

    @staticmethod
    def forward(ctx: Any, magnitude: Tensor, table: Tensor) -> Tensor:
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(magnitude + 8)
        # All thresholds are integers: between two of them the logarithm is that of the lower one.
        return table[magnitude.to(torch.int32)].to(magnitude.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * (8 / np.log(2)) / x, None


def log_magnitude(magnitude: Tensor, table: Tensor) -> Tensor:
    """Log-magnitudes 0..128 of |v| in sixteenths; gradients are those of the real logarithm."""
    logarithm: Tensor = _LogMagnitude.apply(magnitude, table)  # type: ignore[no-untyped-call]
    return logarithm


@dataclass
class Context:
    """Log-magnitudes of one subband frame and of the mean over the 8 neighbours, and its values."""

    value: Tensor  # [N, C, H, W]
    own: Tensor
    around: Tensor

    def single(self) -> Context:
        """The same in float32, which is exact."""
        return Context(self.value.float(), self.own.float(), self.around.float())


def context_of(value: Tensor, table: Tensor) -> Context:
    """Features of decoded values [N, C, H, W] (sixteenths, within the limit)."""
    magnitude = value.abs()
    total = F.avg_pool2d(F.pad(magnitude, (1, 1, 1, 1)), 3, 1, divisor_override=1)
    mean = floor_ste((total - magnitude) / 8)
    return Context(value, log_magnitude(magnitude, table), log_magnitude(mean, table))


def beside(x: Tensor) -> Tensor:
    """The values above, below, left and right of each position, zero outside: [N, 4, C, H, W]."""
    wide = F.pad(x, (1, 1, 1, 1))
    rows, columns = wide[..., 1:-1], wide[..., 1:-1, :]
    return torch.stack(
        [rows[..., :-2, :], rows[..., 2:, :], columns[..., :-2], columns[..., 2:]], 1
    )


def second_half(height: int, width: int) -> Tensor:
    """[H, W] true at the positions whose row and column have an odd sum."""
    return (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 1


def proximity(
    frequencies: Frequencies | None, group_of: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Averaging weights over earlier groups: near and wide in frequency, less across planes."""
    channels = len(group_of)
    if frequencies is None:
        return np.zeros((channels, channels)), np.zeros((channels, channels))
    f = frequencies
    distance = np.subtract.outer(f.vertical, f.vertical) ** 2.0
    distance += np.subtract.outer(f.horizontal, f.horizontal) ** 2.0
    same = np.equal.outer(f.plane, f.plane)
    earlier = np.less.outer(group_of, group_of).T
    near = np.exp(-distance / 2) * np.where(same, 1, 0.5) * earlier
    far = np.exp(-distance / 18) * np.where(same, 1, 0.3) * earlier
    near, far = (m / (m.sum(1, keepdims=True) + 1e-6) for m in (near, far))
    return near, far
