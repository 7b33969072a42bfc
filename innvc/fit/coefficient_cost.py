"""What coefficients cost before anything is known of their contexts, a guess."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from innvc.compiled import compiled

SQUARE = 10


def coefficient_cost(x: Tensor) -> Tensor:
    """About the bits and distortion of coefficients in quantisation steps, in bits.

    Small ones are left out and cost their square, large ones the logarithm of their size, their
    sign and their place.
    """
    return torch.log2(1 + SQUARE * x.square())


@compiled
def add_costs(values: np.ndarray, step: float, sums: np.ndarray) -> None:
    """Adds the costs of coefficients [height, n, width] to sums [n], in float64."""
    factor = SQUARE / step**2
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            row, product = values[i, n], 1.0
            for j in range(values.shape[2]):
                product *= 1 + factor * np.float64(row[j]) ** 2
                if product > 1e200:  # one logarithm for many
                    sums[n] += np.log2(product)
                    product = 1.0
            sums[n] += np.log2(product)
