"""The analytic starting point: block-DCT bases, channel order, groups and layers.

Stage k of the backbone multiplies by a fixed orthonormal matrix `B_k`, chosen so that stages 1..k
together are the 2-D DCT of every plane's block (design: base "dct"). Starting point id 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Orthonormal colour transform for G, B, R: a 3-point DCT over the channels (B, G, R).
_RGB = np.array([[1, 1, 1], [0, 1, -1], [2, -1, -1]]) / np.sqrt([[3], [2], [6]])


@dataclass(frozen=True)
class Geometry:
    """Where each packed channel comes from.

    Attributes:
        planes: Plane of each channel (3 for the zero channel of packing 1).
        rows, columns: Offset of the channel's sample in its plane's block.
        strides: (vertical, horizontal) distance of neighbouring samples of each plane.
    """

    planes: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    strides: dict[int, tuple[int, int]]
    rgb: bool

    @property
    def channels(self) -> int:
        return len(self.planes)


def packed_geometry(family: str, shift_x: int, shift_y: int, packing: int) -> Geometry:
    """Geometry of the packed channels of a pixel format (see video/packing.py)."""
    if packing == 1:
        strides = {p: (1, 1) for p in range(4)}
        return Geometry((0, 1, 2, 3), (0,) * 4, (0,) * 4, strides, family == "rgb")
    planes, rows, columns, strides = [], [], [], {}
    for plane in range(1 if family == "gray" else 3):
        chroma = plane > 0 and family == "yuv"
        height, width = (2 >> shift_y, 2 >> shift_x) if chroma else (2, 2)
        strides[plane] = (height, width)
        for y in range(height):
            for x in range(width):
                planes.append(plane)
                rows.append(y)
                columns.append(x)
    return Geometry(tuple(planes), tuple(rows), tuple(columns), strides, family == "rgb")


def squeezed(geometry: Geometry) -> Geometry:
    """The geometry after one 2x2 squeeze: channel c becomes 4c + 2 dy + dx."""
    planes, rows, columns = [], [], []
    for plane, y, x in zip(geometry.planes, geometry.rows, geometry.columns, strict=True):
        step_y, step_x = geometry.strides[plane]
        for dy in range(2):
            for dx in range(2):
                planes.append(plane)
                rows.append(y + dy * step_y)
                columns.append(x + dx * step_x)
    strides = {p: (2 * y, 2 * x) for p, (y, x) in geometry.strides.items()}
    return Geometry(tuple(planes), tuple(rows), tuple(columns), strides, geometry.rgb)


class Frequencies(NamedTuple):
    """Plane and 2-D frequency (half cycles a block) of each transform channel, in channel order."""

    plane: NDArray[np.int64]
    vertical: NDArray[np.int64]
    horizontal: NDArray[np.int64]


def _dct(geometry: Geometry) -> tuple[np.ndarray, Frequencies]:
    """The block DCT of every plane as a matrix on the channels of `geometry`."""
    plane_of, rows, columns = map(np.array, (geometry.planes, geometry.rows, geometry.columns))
    frequencies = []
    for plane, (height, width) in geometry.strides.items():
        frequencies += [(plane, v, h) for v in range(height) for h in range(width)]
    matrix = np.zeros((len(frequencies), geometry.channels))
    mix = np.eye(4)
    if geometry.rgb:
        mix[:3, :3] = _RGB
    for i, (plane, v, h) in enumerate(frequencies):
        height, width = geometry.strides[plane]
        basis = np.cos(np.pi * (2 * rows + 1) * v / (2 * height))
        basis = basis * np.cos(np.pi * (2 * columns + 1) * h / (2 * width))
        basis *= np.sqrt((1 if v == 0 else 2) * (1 if h == 0 else 2) / (height * width))
        matrix[i] = basis * mix[plane][plane_of]
    return matrix, Frequencies(*map(np.array, zip(*frequencies, strict=True)))


def group_keys(f: Frequencies) -> NDArray[np.int64]:
    """Anti-diagonal of each frequency; chroma one and two later, so that luma is its context."""
    return f.vertical + f.horizontal + f.plane


def dct_bases(geometry: Geometry, stages: int) -> tuple[list[np.ndarray], Frequencies]:
    """The matrices B_1..B_K that make the stages together a block DCT, and its frequencies.

    The last stage's channels are sorted from low to high frequency.
    """
    bases = []
    before = np.eye(geometry.channels)
    for stage in range(stages):
        target, frequencies = _dct(geometry)
        if stage == stages - 1:
            f = frequencies
            order = np.lexsort((f.horizontal, f.vertical, f.plane, group_keys(f)))
            target = target[order]
            frequencies = Frequencies(f.plane[order], f.vertical[order], f.horizontal[order])
        bases.append(target @ before.T)
        before = np.kron(target, np.eye(4))
        geometry = squeezed(geometry)
    return bases, frequencies


@cache
def analytic_transform(
    family: str, shift_x: int, shift_y: int, packing: int, stages: int
) -> tuple[list[np.ndarray], Frequencies]:
    """`dct_bases` of a pixel format's packed channels, computed once; not to be written to."""
    return dct_bases(packed_geometry(family, shift_x, shift_y, packing), stages)


def dct_groups(frequencies: Frequencies) -> tuple[int, ...]:
    """Sizes of the ordered channel groups: one for each anti-diagonal."""
    return tuple(np.unique(group_keys(frequencies), return_counts=True)[1].tolist())


def even_groups(channels: int, count: int) -> tuple[int, ...]:
    """Sizes of `count` ordered groups, nearly equal, larger ones first (paper: 16x13, 4x12)."""
    count = min(count, channels)
    small, extra = divmod(channels, count)
    return (small + 1,) * extra + (small,) * (count - extra)
