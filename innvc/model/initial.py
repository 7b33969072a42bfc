"""Start values of the learned layers: the same bits on every machine, with every library version.

Values are drawn as integers from the raw output of a Philox generator keyed by the parameter's
name, so that a new layer does not shift the draws of the others. They are multiples of 2^-16.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import isqrt, prod

import numpy as np
import torch
from torch import Tensor, nn

from innvc.model.layers import Modulation, SampleHead, Subnet

UNIT_BITS = 16  # start values are multiples of 2^-16
GRID_LIMIT = 65  # feature grids start within 65 * 2^-16, about 1e-3


def uniform(name: str, shape: Sequence[int], limit: int, unit_bits: int = UNIT_BITS) -> Tensor:
    """Uniform integers in [-limit, limit] times 2^-unit_bits, a stream for each name."""
    raw = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(prod(shape))
    steps = ((raw >> 32) * np.uint64(2 * limit + 1) >> 32).astype(np.int64) - limit
    return torch.from_numpy(steps * 2.0**-unit_bits).float().view(*shape)


def fan_in_limit(fan_in: int, unit_bits: int = UNIT_BITS) -> int:
    """The bound 1 / sqrt(fan_in) in units."""
    return isqrt((1 << 2 * unit_bits) // fan_in)


@torch.no_grad()
def initialise(model: nn.Module) -> None:
    """Sets the layers that have no start of their own.

    Convolutions and linear layers are uniform within 1 / sqrt(fan in), with zero bias; feature
    grids (parameter lists) uniform within 1e-3; the last layers of subnets, modulations and
    sample heads zero, so that the backbone starts as its fixed transform.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            limit = fan_in_limit(module.weight[0].numel())
            module.weight.copy_(uniform(f"{name}.weight", module.weight.shape, limit))
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.ParameterList):
            for key, grid in module.named_parameters():
                grid.copy_(uniform(f"{name}.{key}", grid.shape, GRID_LIMIT))
    for module in model.modules():
        if isinstance(module, Subnet):
            module.leave.weight.zero_()
        elif isinstance(module, Modulation | SampleHead):
            module.linear.weight.zero_()
