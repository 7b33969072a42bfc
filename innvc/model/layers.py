"""Invertible layers of the backbone (paper section 3.4): each has `forward` beside `inverse`."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 32  # channels up to which normalisation in several operations is faster to differentiate


def bounded(log_scale: Tensor) -> Tensor:
    """Bounds a log-scale to (-1, 1): wider exponents cost the inverse its precision in float32."""
    return torch.tanh(log_scale)


def channel_product(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiplies the channels of x [N, C, H, W] by a matrix [D, C]."""
    return torch.einsum("dc,nchw->ndhw", matrix, x)


def squeeze(x: Tensor) -> Tensor:
    """2x2 space-to-depth, [N, C, H, W] -> [N, 4C, H/2, W/2]."""
    return F.pixel_unshuffle(x, 2)


def unsqueeze(x: Tensor) -> Tensor:
    """The inverse of `squeeze`."""
    return F.pixel_shuffle(x, 2)


class Orthogonal(nn.Module):
    """Learned orthogonal 1x1 convolution: Q = (I + A)^-1 (I - A) B, A skew-symmetric.

    A is zero at the start, so Q starts as the fixed orthonormal base B. The inverse is the
    transpose.
    """

    base: Tensor

    def __init__(self, base: np.ndarray) -> None:
        super().__init__()
        channels = len(base)
        self.register_buffer("base", torch.from_numpy(base), persistent=False)  # float64
        self.skew = nn.Parameter(torch.zeros(channels * (channels - 1) // 2))

    def matrix(self) -> Tensor:
        """Q [C, C] in the parameters' precision, computed in float64."""
        if not self.skew.requires_grad and not bool(self.skew.any()):
            return self.base.to(self.skew.dtype)
        channels = len(self.base)
        rows, columns = torch.triu_indices(channels, channels, 1, device=self.base.device)
        upper = torch.zeros_like(self.base).index_put((rows, columns), self.skew.double())
        a = upper - upper.T
        eye = torch.eye(channels, dtype=a.dtype, device=a.device)
        q: Tensor = torch.linalg.solve(eye + a, eye - a) @ self.base
        return q.to(self.skew.dtype)

    def forward(self, x: Tensor, matrix: Tensor) -> Tensor:
        return channel_product(matrix, x)

    def inverse(self, y: Tensor, matrix: Tensor) -> Tensor:
        return channel_product(matrix.T, y)


def affine(x: Tensor, parameters: Tensor) -> Tensor:
    """x exp(s) + t, with s and t the bounded halves of `parameters` [N, 2C, H, W]."""
    log_scale, shift = parameters.chunk(2, 1)
    return x * torch.exp(bounded(log_scale)) + shift


def affine_inverse(y: Tensor, parameters: Tensor) -> Tensor:
    log_scale, shift = parameters.chunk(2, 1)
    return (y - shift) * torch.exp(-bounded(log_scale))


def pointwise(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A 1x1 convolution of x [N, C, H, W].

    In the fit it is a product of matrices with the channels last: faster to differentiate.
    """
    if not torch.is_grad_enabled():
        y: Tensor = layer(x)
        return y
    return F.linear(x.permute(0, 2, 3, 1), layer.weight[..., 0, 0], layer.bias).permute(0, 3, 1, 2)


class LayerNorm(nn.Module):
    """LayerNorm over the channels of [N, C, H, W], without learned affine.

    In the fit in one operation, with the channels last in its result, where that is faster.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.shape[1] > FEW:
            x = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], eps=1e-6)
            return x.permute(0, 3, 1, 2)
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        return centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-6)


class ConvNeXtBlock(nn.Module):
    """Depthwise 3x3, LayerNorm, 1x1 expand, GELU, 1x1, residual where the widths agree."""

    def __init__(self, channels: int, out_channels: int | None = None, expansion: int = 4) -> None:
        super().__init__()
        out_channels = out_channels or channels
        self.residual = out_channels == channels
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = LayerNorm()
        self.expand = nn.Conv2d(channels, expansion * out_channels, 1, bias=False)
        self.project = nn.Conv2d(expansion * out_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # In mixed precision (the field's, in the fit) this part stays in single precision.
        with torch.autocast(x.device.type, enabled=False):
            y = self.norm(self.depthwise(x.to(self.depthwise.weight.dtype)))
        y = pointwise(F.gelu(pointwise(y, self.expand)), self.project)
        return x + y if self.residual else y


class Subnet(nn.Module):
    """The subnetwork of a coupling: 1x1 in, a ConvNeXt block, 1x1 out (zero at the start)."""

    def __init__(self, channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, width, 1)
        self.block = ConvNeXtBlock(width)
        self.leave = nn.Conv2d(width, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # Samples are in 8-bit code values; subnets work on values of order one.
        return pointwise(self.block(pointwise(x / 64, self.enter)), self.leave)


class Coupling(nn.Module):
    """Two-sided affine coupling: the halves are updated one after the other."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.leading = channels // 2
        rest = channels - self.leading
        self.first = Subnet(rest, 2 * self.leading, width)
        self.second = Subnet(self.leading, 2 * rest, width)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x[:, : self.leading], x[:, self.leading :]
        a = affine(a, self.first(b))
        b = affine(b, self.second(a))
        return torch.cat([a, b], 1)

    def inverse(self, y: Tensor) -> Tensor:
        a, b = y[:, : self.leading], y[:, self.leading :]
        b = affine_inverse(b, self.second(a))
        a = affine_inverse(a, self.first(b))
        return torch.cat([a, b], 1)


class Modulation(nn.Module):
    """Feature map to log-scale and shift for each channel and position (paper section 3.4)."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.norm = LayerNorm()
        self.linear = nn.Conv2d(features, 2 * channels, 1)
        self.shift_gain = 64.0  # shifts are in 8-bit code values, features of order one

    def forward(self, features: Tensor) -> Tensor:
        """Features [N, F, H, W] to affine parameters [N, 2C, H, W]."""
        log_scale, shift = pointwise(self.norm(features), self.linear).chunk(2, 1)
        return torch.cat([log_scale, shift * self.shift_gain], 1)


class SampleHead(nn.Module):
    """Feature map to packed samples in 8-bit code values: the pixel head of NVRC and HiNeRV."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(features, channels, 1)
        self.gain = 64.0  # samples are in 8-bit code values, features of order one

    def forward(self, features: Tensor) -> Tensor:
        """Features [N, F, H, W] to samples [N, C, H, W]."""
        return pointwise(features, self.linear) * self.gain
