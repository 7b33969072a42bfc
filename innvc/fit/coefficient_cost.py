"""What coefficients cost before anything is known of their contexts, a guess."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from innvc.compiled import compiled

SQUARE = 10
ROWS = 8  # whose product is far from what float64 holds


def coefficient_cost(x: Tensor) -> Tensor:
    """About the bits and distortion of coefficients in quantisation steps, in bits.

    Small ones are left out and cost their square, large ones the logarithm of their size, their
    sign and their place.
    """
    return torch.log2(1 + SQUARE * x.square())


@compiled
def add_costs(values: np.ndarray, step: float, sums: np.ndarray) -> None:
    """Adds the costs of coefficients [height, n, width] to sums [n], in float64."""
    factor, height = SQUARE / step**2, values.shape[0]
    products = np.empty(values.shape[2])
    for n in range(values.shape[1]):
        for first in range(0, height, ROWS):
            products[:] = 1
            for i in range(first, min(first + ROWS, height)):
                row = values[i, n]
                for j in range(len(products)):
                    products[j] *= 1 + factor * np.float64(row[j]) ** 2
            product = 1.0
            for j in range(len(products)):  # one logarithm for many
                if product > 1e100:
                    sums[n] += np.log2(product)
                    product = 1.0
                product *= products[j]
            sums[n] += np.log2(product)
