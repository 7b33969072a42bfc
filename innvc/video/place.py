"""Where PyAV finds a video: a file, or the numbered files of an image sequence."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fractions import Fraction

from innvc.errors import InputError

IMAGE_EXTENSIONS = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".dpx", ".ppm", ".pgm")
_NUMBER = re.compile(r"%(?:0(\d+))?d")


@dataclass(frozen=True)
class Place:
    """Where PyAV finds a video, and how it has to open it."""

    url: str
    demuxer: str | None
    options: dict[str, str]
    images: int = 0  # number of image files, 0 for a container


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern such as frame_%04d.png, and no file of that very name."""
    return bool(_NUMBER.search(os.path.basename(path))) and not os.path.exists(path)


def find_place(path: str, rate: Fraction) -> Place:
    """The place of a path or of a pattern, whose images come at this rate.

    Raises:
        InputError: a pattern matches no files, or a number is missing.
    """
    if is_pattern(path):
        return _sequence(path, rate)
    # An absolute path, because FFmpeg takes what stands before a colon for a protocol.
    url = os.path.abspath(path)
    if os.path.splitext(path)[1].lower() in IMAGE_EXTENSIONS:
        return Place(url, "image2", {"pattern_type": "none", "framerate": str(rate)}, 1)
    return Place(url, None, {"protocol_whitelist": "file"})


def _sequence(path: str, rate: Fraction) -> Place:
    folder, name = os.path.split(os.path.abspath(path))
    match = _NUMBER.search(name)
    assert match is not None
    digits = rf"(\d{{{match[1]},}})" if match[1] else r"(0|[1-9]\d*)"
    full = re.compile(re.escape(name[: match.start()]) + digits + re.escape(name[match.end() :]))
    files = os.listdir(folder) if os.path.isdir(folder) else []
    numbers = sorted(int(m[1]) for m in map(full.fullmatch, files) if m)
    if not numbers:
        raise InputError(f"No file matches {path}.")
    for expected, number in enumerate(numbers, numbers[0]):
        if number != expected:
            raise InputError(f"The image sequence {path} lacks number {expected}.")
    options = {"start_number": str(numbers[0]), "framerate": str(rate)}
    return Place(os.path.join(folder, name), "image2", options, len(numbers))
