"""Writing numbered PNG files."""

from __future__ import annotations

import os
import re

import av
import numpy as np

from innvc.errors import UsageError
from innvc.video.formats import Frame, PixelFormat, VideoInfo, pixel_format
from innvc.video.layouts import planes_to_frame, rows
from innvc.video.timing import DEFAULT_FRAME_RATE

_NUMBER = re.compile(r"%0?\d*d")
_FIRST_NUMBER = 1  # as ffmpeg numbers its own sequences


def image_format(form: PixelFormat) -> PixelFormat:
    """The native format that a PNG holds for frames of a format: YUV becomes RGB."""
    if form.family != "yuv":
        return form
    return pixel_format("gbrp" if form.depth == 8 else f"gbrp{form.depth}le")


class ImageWriter:
    """Writes each frame as a PNG file into a folder.

    10- and 12-bit samples are shifted left to fill 16 bits, so that a viewer shows the right
    brightness; shifting right by 16 - depth gives them back.

    Args:
        folder: where to write.
        name: file name, with %d or %04d for the number, counted from 1. A name without it takes
            one frame only.
        info: of the frames; grey or RGB.
    """

    lossless = True

    def __init__(self, folder: str, name: str, info: VideoInfo) -> None:
        self._folder = folder
        self.name = name
        self._form = info.format
        self._shift = 16 - info.format.depth if info.format.depth > 8 else 0
        self.written: list[str] = []
        self.notes = []
        if self._shift:
            self.notes.append(f"samples are shifted left by {self._shift} into 16-bit PNG")
        if info.rotation:
            self.notes.append(f"PNG does not hold the rotation by {info.rotation} degrees")
        if info.time_base:
            self.notes.append("PNG does not hold timestamps")
        wide = "16be" if info.format.family == "gray" else "48be"
        base = "gray" if info.format.family == "gray" else "rgb"
        self._layout = base + wide if self._shift else {"gray": "gray", "rgb": "rgb24"}[base]
        self._encoder = av.CodecContext.create("png", "w")
        self._encoder.width, self._encoder.height = info.width, info.height
        self._encoder.pix_fmt = self._layout
        self._encoder.time_base = 1 / (info.frame_rate or DEFAULT_FRAME_RATE)
        # One frame, one packet: frame threads would hold packets back.
        self._encoder.thread_type = "NONE"

    def _picture(self, planes: list[np.ndarray]) -> av.VideoFrame:
        if not self._shift:
            return planes_to_frame(planes, self._form, layout=self._layout)
        height, width = planes[0].shape
        picture = av.VideoFrame(width, height, self._layout)
        target = rows(picture.planes[0], height, ">u2")
        order = planes if self._form.family == "gray" else [planes[i] for i in (2, 0, 1)]
        for i, plane in enumerate(order):
            target[:, i : width * len(order) : len(order)] = plane << self._shift
        return picture

    def write(self, frame: Frame) -> None:
        numbered = _NUMBER.search(self.name)
        if not numbered and self.written:
            raise UsageError(
                f"{self.name} takes one frame only.", "Name a sequence, such as out_%04d.png."
            )
        name = self.name
        if numbered:
            number = numbered[0] % (_FIRST_NUMBER + len(self.written))
            name = name[: numbered.start()] + number + name[numbered.end() :]
        picture = self._picture(frame.planes)
        picture.pts = len(self.written)
        packets = self._encoder.encode(picture)
        with open(os.path.join(self._folder, name), "wb") as stream:
            stream.writelines(bytes(packet) for packet in packets)
        self.written.append(name)

    def close(self) -> None:
        """Every file is complete already."""

    abort = close
