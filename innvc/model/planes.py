"""Where the planes of a picture are among the packed channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from torch import Tensor

PRECISION = 3  # fractional bits of a luma vector


@dataclass(frozen=True)
class Plane:
    """Where the samples of one plane are among the packed channels."""

    channels: slice
    vertical: int  # phases packed into channels, in each direction
    horizontal: int

    def samples(self, luma: int) -> tuple[int, int]:
        """Samples of this plane in an even number of luma samples, in each direction."""
        return luma // 2 * self.vertical, luma // 2 * self.horizontal

    @property
    def precision(self) -> tuple[int, int]:
        """Fractional bits of a vector in this plane's samples."""
        return PRECISION + 2 - self.vertical, PRECISION + 2 - self.horizontal

    def unpack(self, packed: Tensor) -> Tensor:
        """[P, H, W] samples of packed frames [P, C, h, w]."""
        x: Tensor = packed[:, self.channels].unflatten(1, (self.vertical, self.horizontal))
        return x.permute(0, 3, 1, 4, 2).flatten(3).flatten(1, 2)

    def pack(self, samples: Tensor) -> Tensor:
        """The inverse of `unpack`: [P, phases, h, w]."""
        x: Tensor = samples.unflatten(2, (-1, self.horizontal)).unflatten(1, (-1, self.vertical))
        return x.permute(0, 2, 4, 1, 3).flatten(1, 2)


def planes_of(packed_planes: Sequence[int | None]) -> list[Plane]:
    """Planes of frames packed by 2, from the plane of each channel."""
    planes, first = [], 0
    for plane in dict.fromkeys(packed_planes):
        count = list(packed_planes).count(plane)
        planes.append(Plane(slice(first, first + count), 1 if count == 1 else 2, ceil(count / 2)))
        first += count
    return planes


def alike(planes: Sequence[Plane]) -> list[list[Plane]]:
    """The planes, those of one sampling together."""
    kinds = dict.fromkeys((plane.vertical, plane.horizontal) for plane in planes)
    return [[p for p in planes if (p.vertical, p.horizontal) == kind] for kind in kinds]
