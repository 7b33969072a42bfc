"""Pixel formats that are coded natively, and the facts about a video that travel with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from innvc.errors import UnsupportedError, UsageError
from innvc.video.color_names import RANGES, RGB, UNKNOWN, named


@dataclass(frozen=True)
class PixelFormat:
    """A planar sample format, named as ffmpeg names it.

    Planes are stored in ffmpeg's order: Y, U, V or G, B, R or a single grey plane.

    Attributes:
        name: ffmpeg's.
        family: "gray", "yuv" or "rgb".
        depth: Bits of a sample.
        shift_x, shift_y: Log2 of the horizontal and the vertical subsampling of chroma.
    """

    name: str
    family: str
    depth: int
    shift_x: int
    shift_y: int

    @property
    def planes(self) -> int:
        """How many there are."""
        return 1 if self.family == "gray" else 3

    @property
    def dtype(self) -> np.dtype:
        """Of the samples: 8-bit, or 16-bit little-endian."""
        return np.dtype("u1") if self.depth == 8 else np.dtype("<u2")

    @property
    def peak(self) -> int:
        """The largest code value."""
        return (1 << self.depth) - 1

    def plane_size(self, plane: int, width: int, height: int) -> tuple[int, int]:
        """(height, width) of a plane, chroma rounded up."""
        if plane == 0 or self.family != "yuv":
            return height, width
        return -(-height >> self.shift_y), -(-width >> self.shift_x)

    def frame_bytes(self, width: int, height: int) -> int:
        """Of one raw frame."""
        sizes = (self.plane_size(p, width, height) for p in range(self.planes))
        return sum(h * w for h, w in sizes) * self.dtype.itemsize


def _formats() -> dict[str, PixelFormat]:
    table = {}
    for depth, suffix in ((8, ""), (10, "10le"), (12, "12le")):
        table["gray" + suffix] = PixelFormat("gray" + suffix, "gray", depth, 0, 0)
        for name, shift_x, shift_y in (("420", 1, 1), ("422", 1, 0), ("444", 0, 0)):
            name = f"yuv{name}p{suffix}"
            table[name] = PixelFormat(name, "yuv", depth, shift_x, shift_y)
        table["gbrp" + suffix] = PixelFormat("gbrp" + suffix, "rgb", depth, 0, 0)
    return table


PIXEL_FORMATS: dict[str, PixelFormat] = _formats()


def pixel_format(name: str) -> PixelFormat:
    """Looks up a native format by its ffmpeg name.

    Raises:
        UnsupportedError: the format is not coded natively.
    """
    try:
        return PIXEL_FORMATS[name]
    except KeyError:
        raise UnsupportedError(
            f"Pixel format '{name}' is not supported.",
            f"Supported are {', '.join(PIXEL_FORMATS)}; --pix-fmt converts to one of them.",
        ) from None


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video besides its samples. Colour fields are H.273 code points.

    Attributes:
        width, height: In samples of plane 0.
        format: Of the samples.
        frame_rate: Frames a second; None if unknown.
        time_base: Seconds of a unit of `Frame.pts`; None where the rate is constant.
        color_range: 0 unknown, 1 limited, 2 full.
        color_primaries, color_transfer, color_matrix: 2 is unknown.
        chroma_location: ffmpeg's AVChromaLocation, 0 unknown.
        sample_aspect: Width by height of a sample; None if unknown.
        rotation: Degrees counter-clockwise to turn the picture for display: 0, 90, 180 or 270.
    """

    width: int
    height: int
    format: PixelFormat
    frame_rate: Fraction | None = None
    time_base: Fraction | None = None
    color_range: int = 0
    color_primaries: int = 2
    color_transfer: int = 2
    color_matrix: int = 2
    chroma_location: int = 0
    sample_aspect: Fraction | None = None
    rotation: int = 0


@dataclass(frozen=True)
class ColorTags:
    """Colour tags that replace those of a source.

    Attributes:
        cicp: Primaries, transfer and matrix, by their numbers in H.273; None keeps what is there.
        range: 1 limited, 2 full; None keeps what is there.
    """

    cicp: tuple[int, int, int] | None = None
    range: int | None = None

    def on(self, info: VideoInfo, family: str) -> VideoInfo:
        """What is known of a video whose samples are "yuv", "rgb" or "gray", with these tags.

        Raises:
            UsageError: there are no such tags, or the matrix is not one of such samples.
        """
        if self.cicp is not None:
            primaries, transfer, matrix = self.cicp
            if min(self.cicp) < 0 or max(self.cicp) > 255:
                raise UsageError("A colour tag is a number from 0 to 255.", "H.273 lists them.")
            if matrix != UNKNOWN and (matrix == RGB) != (family == "rgb"):
                raise UsageError(
                    f"The colour matrix {named('matrix', matrix)} does not fit {family} samples.",
                    "The matrix of RGB is gbr (0), and no other's.",
                )
            info = replace(
                info, color_primaries=primaries, color_transfer=transfer, color_matrix=matrix
            )
        if self.range is not None:
            if self.range not in RANGES:
                raise UsageError("A colour range is 1 or 2.", "1 is limited, 2 is full.")
            info = replace(info, color_range=self.range)
        return info


AS_TAGGED = ColorTags()


@dataclass
class Frame:
    """One picture.

    Attributes:
        planes: A [height, width] array of the format's dtype for each plane.
        pts: When it is shown, in units of `VideoInfo.time_base`; None where the rate is constant.
    """

    planes: list[np.ndarray] = field(repr=False)
    pts: int | None = None
