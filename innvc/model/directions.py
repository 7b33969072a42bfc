"""Directional prediction of a block from the samples beside it (docs/format.md, section 15).

The angular modes of HEVC (H.265, 8.4.4.2.6) but the first, without its smoothing. Samples are sums
of coefficients, so each direction is a matrix from the coefficients of four neighbours to those of
a block.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from innvc.model.start import Frequencies

_STEEP = (0, 2, 5, 9, 13, 17, 21, 26, 32)
# Displacement in 32nds of a sample for each sample of distance: 15 from the left, 17 from above.
ANGLES = (
    *(*_STEEP[7:0:-1], *(-a for a in _STEEP[:8])),
    *(*(-a for a in _STEEP[:0:-1]), *_STEEP),
)
DIRECTIONS = len(ANGLES)
FROM_LEFT = 15
WEIGHT_BITS = 10  # matrices are integers times 2^-10


class Directions:
    """The matrices of all directions, for the planes whose blocks are square.

    Args:
        frequencies: Of a block's channels.

    Attributes:
        planes: For each such plane its channels [n^2], and what `matrix` wants of them.
    """

    def __init__(self, frequencies: Frequencies) -> None:
        self.planes: list[tuple[np.ndarray, Square]] = []
        for plane in np.unique(frequencies.plane):
            channels = np.flatnonzero(frequencies.plane == plane)
            v, h = frequencies.vertical[channels], frequencies.horizontal[channels]
            if v.max() == h.max():
                self.planes.append((channels, Square(tuple(v.tolist()), tuple(h.tolist()))))

    def predict(self, near: np.ndarray, direction: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Channels of each plane, and their means in sixteenths [n^2, P].

        Args:
            near: Values of the neighbours [4, C, P]: left, above, above left, above right.
        """
        return [
            (channels, _rounded(matrix(square, direction) @ _flat(near, channels)))
            for channels, square in self.planes
        ]

    def predict_all(self, near: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same for all directions: means [DIRECTIONS, n^2, P]."""
        result = []
        for channels, square in self.planes:
            flat = _flat(near, channels)
            sums = np.stack([matrix(square, k) @ flat for k in range(DIRECTIONS)])
            result.append((channels, _rounded(sums)))
        return result


class Square(NamedTuple):
    """Vertical and horizontal frequencies of the n^2 coefficients of a square block."""

    vertical: tuple[int, ...]
    horizontal: tuple[int, ...]


def _flat(near: np.ndarray, channels: np.ndarray) -> np.ndarray:
    return near[:, channels].reshape(-1, near.shape[2])


def _rounded(sums: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.floor(sums / (1 << WEIGHT_BITS) + 0.5)
    return result


@cache
def matrix(square: Square, direction: int) -> np.ndarray:
    """Integers [n^2, 4 n^2], found when a direction is first used: all of them take 70 MB."""
    # Some elements are odd halves: the margin is far above the errors of float64.
    exact = exact_matrix(square, direction)
    result: np.ndarray = np.floor(exact * (1 << WEIGHT_BITS) + 0.5 + 2.0**-20)
    return result


def exact_matrix(square: Square, direction: int) -> np.ndarray:
    """[n^2, 4 n^2] before it is rounded.

    Columns are those of the left, the upper, the upper left and the upper right neighbour.
    """
    analysis, border = _block_and_border(square)
    result: np.ndarray = analysis @ _samples(direction, math.isqrt(len(analysis))) @ border
    return result


@cache
def _block_and_border(square: Square) -> tuple[np.ndarray, np.ndarray]:
    """From samples to coefficients [n^2, n^2]; from the neighbours' to samples [4 n + 1, 4 n^2]."""
    n = max(square.vertical) + 1
    place = np.arange(n)
    cosines = np.cos(np.pi * (2 * place[:, None] + 1) * place[None] / (2 * n)) * np.sqrt(2 / n)
    cosines[:, 0] /= np.sqrt(2)
    # [n, n, n^2] samples of each coefficient.
    waves = cosines[:, None, square.vertical] * cosines[None, :, square.horizontal]
    border = np.zeros((4 * n + 1, 4, n * n))  # left from above down, corner, above from the left
    for i in range(2 * n):
        border[i, 0] = waves[min(i, n - 1), n - 1]
        border[2 * n + 1 + i, 1 if i < n else 3] = waves[n - 1, i % n]
    border[2 * n, 2] = waves[n - 1, n - 1]
    return waves.reshape(n * n, n * n).T, border.reshape(4 * n + 1, -1)


def _samples(direction: int, n: int) -> np.ndarray:
    """[n^2, 4 n + 1] samples of a block from those of its border."""
    angle, from_left = ANGLES[direction], direction < FROM_LEFT
    inverse = round(8192 / angle) if angle else 0

    def along(i: int, left: bool) -> int:
        """Sample i from the corner (-1) down the left side, or along the upper one."""
        return 2 * n if i < 0 else min(i, 2 * n - 1) + (0 if left else 2 * n + 1)

    def reference(i: int) -> int:
        if i >= 0:
            return along(i - 1, from_left)
        return along(-1 + ((i * inverse + 128) >> 8), not from_left)

    result = np.zeros((n, n, 4 * n + 1))
    for distance in range(n):
        whole, part = divmod((distance + 1) * angle, 32)
        for place in range(n):
            at = (place, distance) if from_left else (distance, place)
            result[at][reference(place + whole + 1)] += (32 - part) / 32
            if part:
                result[at][reference(place + whole + 2)] += part / 32
    return result.reshape(n * n, -1)
