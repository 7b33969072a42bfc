"""Frames as pictures in a page: 8-bit RGB in lossless WebP, as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from innvc.errors import UnsupportedError
from innvc.video.convert import Converter
from innvc.video.formats import VideoInfo, pixel_format
from innvc.video.layouts import frame_to_planes, planes_to_frame

LARGEST = 1280  # samples of a side; what is larger is scaled down
_EFFORT = "1"  # of 6: twice as fast as the next, 2 % larger


def spread(count: int, most: int) -> list[int]:
    """Numbers of at most `most` of `count` frames, evenly spread, first and last among them."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


class Painter:
    """Makes pictures of the frames of one video.

    Args:
        info: Of the video. Where its colour matrix is not known, BT.601 stands for it.

    Attributes:
        size: (width, height) of the pictures, turned as they are displayed.
        aspect: Width over height as it is displayed.
    """

    def __init__(self, info: VideoInfo) -> None:
        self._form = info.format
        self._turns = info.rotation // 90
        target = pixel_format("gbrp")
        try:
            self._converter = Converter(info.format.name, info, target)
        except UnsupportedError:
            known = replace(info, color_matrix=2)
            self._converter = Converter(info.format.name, known, target)
        width, height, sample = info.width, info.height, info.sample_aspect or Fraction(1)
        if self._turns % 2:
            width, height, sample = height, width, 1 / sample
        scale = min(Fraction(1), Fraction(LARGEST, max(width, height)))
        self.size = max(1, round(width * scale)), max(1, round(height * scale))
        self.scaled = scale < 1
        self.aspect = float(Fraction(width, height) * sample)

    def webp(self, planes: Sequence[np.ndarray]) -> bytes:
        """A picture of a frame, given as its planes."""
        frame = planes_to_frame(list(planes), self._form)
        green, blue, red = frame_to_planes(self._converter.convert(frame))
        pixels = np.dstack([blue, green, red, np.full_like(red, 255)])
        pixels = np.ascontiguousarray(np.rot90(pixels, self._turns))
        picture = av.VideoFrame.from_ndarray(pixels, "bgra")
        if self.scaled:
            picture = VideoReformatter().reformat(
                picture, *self.size, interpolation=Interpolation.AREA
            )
        return _encoded(picture)


def _encoded(picture: av.VideoFrame) -> bytes:
    encoder = av.CodecContext.create("libwebp", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "bgra"
    encoder.time_base = Fraction(1)
    encoder.options = {"lossless": "1", "compression_level": _EFFORT}
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


def data_uri(webp: bytes) -> str:
    """A picture as an address that holds it."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode()
