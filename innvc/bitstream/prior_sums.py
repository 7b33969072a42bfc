"""What follows from the latent prior's sums, and what it reads of the values; compiled.

Integer-valued float64, as in `bitstream.prior`.
"""

from __future__ import annotations

import numpy as np

from innvc.compiled import compiled
from innvc.model.contexts import VALUE_LIMIT
from innvc.model.prior import WEIGHT_BITS
from innvc.model.quantisation import SCALE_LEVELS

ABSENT = -1  # place of a position without symbol


@compiled
def predict(
    scale_sums: np.ndarray,
    mean_sums: np.ndarray,
    positions: np.ndarray,
    place: np.ndarray,
    offset: np.ndarray,
    scale: np.ndarray,
    mean: np.ndarray,
    values: np.ndarray,
) -> None:
    """Scale indexes and means of channels at positions, where the values become the means.

    Args:
        scale_sums: Of the positions with symbols [C, n].
        mean_sums: [C, H W].
        positions: Which of all.
        place: Of each position among those with symbols, or ABSENT.
        offset: Of scale indexes.
        scale, mean, values: Take them [C, H W].
    """
    one = float(1 << WEIGHT_BITS)
    for c in range(len(scale)):
        for p in positions:
            if place[p] != ABSENT:
                index = min(max(np.floor(scale_sums[c, place[p]] / one), 0), SCALE_LEVELS - 1)
                scale[c, p] = min(max(np.int64(index) + offset[p], 0), SCALE_LEVELS - 1)
            expected = np.floor(mean_sums[c, p] / one + 0.5)
            mean[c, p] = min(max(expected, -VALUE_LIMIT), VALUE_LIMIT)
            values[c, p] = mean[c, p]


@compiled
def settle(
    half_steps: np.ndarray,
    positions: np.ndarray,
    step: np.ndarray,
    mean: np.ndarray,
    values: np.ndarray,
) -> None:
    """Adds half steps [C, n] to the means [C, H W] at positions [n]; `step` is in sixteenths."""
    for c in range(len(half_steps)):
        for i, p in enumerate(positions):
            size = abs(np.int64(half_steps[c, i])) * step[p] // 2  # rounded towards zero
            value = mean[c, p] + (size if half_steps[c, i] > 0 else -size)
            values[c, p] = min(max(value, -VALUE_LIMIT), VALUE_LIMIT)


@compiled
def find_logs(
    values: np.ndarray,
    logarithms: np.ndarray,
    place: np.ndarray,
    own: np.ndarray,
    around: np.ndarray,
    logs: np.ndarray,
) -> None:
    """Log-magnitudes of values [C, H, W], and of the mean over their 8 neighbours.

    Args:
        place: Of the positions with symbols among these, else ABSENT [H W].
        own, around: Take both [C, H, W].
        logs: Takes both of the positions with symbols [C, 2, n].
    """
    channels, height, width = values.shape
    row = np.zeros(width + 2)  # sums of magnitudes of three rows
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                total = abs(values[c, i, j])
                if i > 0:
                    total += abs(values[c, i - 1, j])
                if i + 1 < height:
                    total += abs(values[c, i + 1, j])
                row[j + 1] = total
            for j in range(width):
                size = abs(values[c, i, j])
                total = row[j] + row[j + 1] + row[j + 2] - size
                own[c, i, j] = logarithms[np.int64(size)]
                around[c, i, j] = logarithms[np.int64(total / 8)]
                p = place[i * width + j]
                if p != ABSENT:
                    logs[c, 0, p], logs[c, 1, p] = own[c, i, j], around[c, i, j]


@compiled
def look_beside(
    values: np.ndarray,
    positions: np.ndarray,
    logarithms: np.ndarray,
    beside: np.ndarray,
    near: np.ndarray,
) -> None:
    """What lies above, below, left and right [C, 4, n], and the logarithm of its mean size."""
    channels, height, width = values.shape
    for c in range(channels):
        for n, p in enumerate(positions):
            i, j = p // width, p % width
            above = values[c, i - 1, j] if i > 0 else 0.0
            below = values[c, i + 1, j] if i + 1 < height else 0.0
            left = values[c, i, j - 1] if j > 0 else 0.0
            right = values[c, i, j + 1] if j + 1 < width else 0.0
            beside[c, 0, n], beside[c, 1, n] = above, below
            beside[c, 2, n], beside[c, 3, n] = left, right
            total = abs(above) + abs(below) + abs(left) + abs(right)
            near[c, n] = logarithms[np.int64(total / 4)]
