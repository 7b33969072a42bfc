"""Raw planar video: the planes of every frame, one after the other, and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from innvc.errors import InputError, UsageError
from innvc.video.formats import (
    PIXEL_FORMATS,
    ColorTags,
    Frame,
    PixelFormat,
    VideoInfo,
    pixel_format,
)
from innvc.video.timing import DEFAULT_FRAME_RATE, nominal_rate

_SIZE = re.compile(r"(?<!\d)(\d{1,5})x(\d{1,5})(?!\d)")
_RATE = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d{1,4})?)\s?(?:fps|hz)", re.IGNORECASE)
_FORMAT = re.compile(r"(?:gray|gbrp|yuv4(?:20|22|44)p)(?:1[02](?:le)?)?(?![a-z0-9])")


def split_planes(data: bytes, form: PixelFormat, width: int, height: int) -> list[np.ndarray]:
    """Views of the planes in the bytes of one frame."""
    samples = np.frombuffer(data, form.dtype)
    planes, offset = [], 0
    for plane in range(form.planes):
        rows, columns = form.plane_size(plane, width, height)
        planes.append(samples[offset : offset + rows * columns].reshape(rows, columns))
        offset += rows * columns
    return planes


def write_planes(stream: BinaryIO, frame: Frame) -> None:
    """Writes the planes of one frame one after the other."""
    for plane in frame.planes:
        stream.write(np.ascontiguousarray(plane).data)


class RawReader:
    """Reads a raw file. What is not given is taken from the file name and said in the notes.

    Args:
        path: the file.
        size: (width, height) of a frame.
        pix_fmt: a native format's name.
        fps: frames a second.
        color: tags of the samples.

    Raises:
        UsageError: no size is given and the name has none.
        InputError: the file is not a whole number of frames.
    """

    has_audio = False

    def __init__(
        self,
        path: str,
        size: tuple[int, int] | None,
        pix_fmt: str | None,
        fps: Fraction | None,
        color: ColorTags,
    ) -> None:
        self.notes: list[str] = []
        self._path = path
        name = os.path.basename(path)
        width, height = size or self._size_of_name(name)
        form = pixel_format(pix_fmt or self._format_of_name(name))
        rate = fps or self._rate_of_name(name)
        info = VideoInfo(width, height, form, frame_rate=rate)
        self.info = color.on(info, form.family)
        self._frame_bytes = form.frame_bytes(width, height)
        size_bytes = os.path.getsize(path)
        self.frame_count, rest = divmod(size_bytes, self._frame_bytes)
        if rest or not self.frame_count:
            raise InputError(
                f"{name} has {size_bytes} bytes, which is {size_bytes / self._frame_bytes:.2f} "
                f"frames of {width}x{height} {form.name}, not a whole number.",
                self._hint(size_bytes, width, height),
            )

    def _size_of_name(self, name: str) -> tuple[int, int]:
        match = _SIZE.search(name)
        if not match or not int(match[1]) or not int(match[2]):
            raise UsageError(
                f"The frame size of the raw file {name} is not known.",
                "Give it, for example --size 1920x1080, or put it into the file name.",
            )
        self.notes.append(f"size {match[0]} taken from the file name")
        return int(match[1]), int(match[2])

    def _format_of_name(self, name: str) -> str:
        match = _FORMAT.search(name.lower())
        if not match:
            self.notes.append("pixel format not given, taken to be yuv420p")
            return "yuv420p"
        found = match[0] if match[0] in PIXEL_FORMATS else match[0] + "le"
        self.notes.append(f"pixel format {found} taken from the file name")
        return found

    def _rate_of_name(self, name: str) -> Fraction:
        match = _RATE.search(name)
        if not match or not float(match[1]):
            self.notes.append(f"frame rate not given, taken to be {DEFAULT_FRAME_RATE}")
            return DEFAULT_FRAME_RATE
        rate = nominal_rate(float(match[1]))
        self.notes.append(f"frame rate {rate} taken from the file name")
        return rate

    @staticmethod
    def _hint(size_bytes: int, width: int, height: int) -> str:
        fits = [
            f"{size_bytes // form.frame_bytes(width, height)} of {form.name}"
            for form in PIXEL_FORMATS.values()
            if size_bytes and size_bytes % form.frame_bytes(width, height) == 0
        ]
        if not fits:
            return f"No pixel format gives whole frames at {width}x{height}: check the size."
        return f"Whole frames at {width}x{height} would be {', '.join(fits)}: check --pix-fmt."

    def frames(self, start: int, stop: int | None) -> Iterator[Frame]:
        """Frames start to stop (exclusive; None is the end) in order."""
        with open(self._path, "rb") as stream:
            stream.seek(start * self._frame_bytes)
            for index in range(start, self.frame_count if stop is None else stop):
                data = stream.read(self._frame_bytes)
                if len(data) < self._frame_bytes:
                    raise InputError(f"The raw file ends within frame {index}.")
                planes = split_planes(data, self.info.format, self.info.width, self.info.height)
                yield Frame([plane.copy() for plane in planes])

    def close(self) -> None:
        """Nothing is held open between frames."""


class RawWriter:
    """Writes the planes of every frame, one after the other."""

    lossless = True

    def __init__(self, stream: BinaryIO, info: VideoInfo) -> None:
        self._stream = stream
        self.notes = [
            f"a raw file holds samples only: read it back with --size {info.width}x{info.height} "
            f"--pix-fmt {info.format.name} --fps {info.frame_rate or DEFAULT_FRAME_RATE}"
        ]

    def write(self, frame: Frame) -> None:
        write_planes(self._stream, frame)

    def close(self) -> None:
        self._stream.close()

    abort = close
