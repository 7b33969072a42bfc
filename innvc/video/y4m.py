"""YUV4MPEG2 (y4m): a text header, then the planes of every frame behind a 'FRAME' line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

from innvc.errors import InputError, LimitError, UnsupportedError, UsageError
from innvc.video.formats import AS_TAGGED, ColorTags, Frame, PixelFormat, VideoInfo, pixel_format
from innvc.video.raw import split_planes, write_planes
from innvc.video.timing import DEFAULT_FRAME_RATE

MAGIC = b"YUV4MPEG2 "
_LINE_LIMIT = 1024
_SIDE_LIMIT = 1 << 16
_PIECE_BYTES = 1 << 24

# AVChromaLocation of the 8-bit 4:2:0 tags; a bare C420 or no tag leaves it open.
_LOCATIONS = {"420jpeg": 2, "420mpeg2": 1, "420paldv": 3, "420": 0}
_RANGES = {"LIMITED": 1, "FULL": 2}


def _format_tags() -> dict[str, str]:
    tags = {tag: "yuv420p" for tag in _LOCATIONS}
    tags |= {"422": "yuv422p", "444": "yuv444p", "mono": "gray"}
    for depth in (10, 12):
        tags[f"mono{depth}"] = f"gray{depth}le"
        for sub in ("420", "422", "444"):
            tags[f"{sub}p{depth}"] = f"yuv{sub}p{depth}le"
    return tags


_FORMATS = _format_tags()


def _ratio(text: str) -> Fraction | None:
    """'30000:1001' as a fraction; None where a part is 0, which means unknown."""
    numerator, _, denominator = text.partition(":")
    values = int(numerator), int(denominator)
    return Fraction(*values) if values[0] > 0 and values[1] > 0 else None


def parse_header(line: bytes) -> VideoInfo:
    """The facts in a header line.

    Raises:
        InputError: the line is not a y4m header.
        UnsupportedError: the video is interlaced, or of a format that is not coded.
        LimitError: a side is above 65536.
    """
    fields: dict[str, str] = {}
    extensions: dict[str, str] = {}
    try:
        for token in line.decode("ascii").split()[1:]:
            if token[0] == "X":
                name, _, value = token[1:].partition("=")
                extensions[name] = value
            else:
                fields[token[0]] = token[1:]
        width, height = int(fields["W"]), int(fields["H"])
        rate = _ratio(fields.get("F", "0:0"))
        aspect = _ratio(fields.get("A", "0:0"))
    except (KeyError, ValueError, ZeroDivisionError):
        raise InputError("The y4m header is malformed.") from None
    if width < 1 or height < 1:
        raise InputError(f"The y4m header says a size of {width}x{height}.")
    if max(width, height) > _SIDE_LIMIT:
        raise LimitError(f"A y4m frame of {width}x{height} is above {_SIDE_LIMIT} a side.")
    if fields.get("I", "p")[:1] not in ("p", "?"):
        raise UnsupportedError(
            "Interlaced y4m is not supported.", "Deinterlace it first, or declare it progressive."
        )
    tag = fields.get("C", "420")
    if tag not in _FORMATS:
        raise UnsupportedError(
            f"The y4m colour format C{tag} is not supported.",
            f"Supported are {', '.join('C' + name for name in _FORMATS)}.",
        )
    return VideoInfo(
        width,
        height,
        pixel_format(_FORMATS[tag]),
        frame_rate=rate,
        color_range=_RANGES.get(extensions.get("COLORRANGE", "").upper(), 0),
        chroma_location=_LOCATIONS.get(tag, 0),
        sample_aspect=aspect,
    )


def format_tag(form: PixelFormat, chroma_location: int) -> str:
    """The C tag of a format.

    Raises:
        UnsupportedError: y4m has no tag for it.
    """
    if form.name == "yuv420p":
        return next((t for t, place in _LOCATIONS.items() if place == chroma_location), "420")
    for tag, name in _FORMATS.items():
        if name == form.name:
            return tag
    raise UnsupportedError(f"y4m cannot hold {form.name}.", "Write to a .mkv file instead.")


def _read(stream: BinaryIO, size_bytes: int) -> bytes:
    """Reads in pieces, so that a false header cannot ask for more memory than there is data."""
    pieces = []
    while size_bytes and (piece := stream.read(min(size_bytes, _PIECE_BYTES))):
        pieces.append(piece)
        size_bytes -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Y4mReader:
    """Reads y4m from a file, or from standard input for the path '-', which goes once only.

    Raises:
        InputError: not y4m, or cut short.
        UnsupportedError: interlaced, or a format that is not coded.
    """

    has_audio = False

    def __init__(self, path: str, fps: Fraction | None, color: ColorTags = AS_TAGGED) -> None:
        self.notes: list[str] = []
        self.frame_count: int | None = None
        self._path = path
        self._name = "standard input" if path == "-" else os.path.basename(path)
        if path == "-" and sys.stdin.isatty():
            raise UsageError("Standard input is a terminal.", "Pipe y4m into it.")
        self._consumed = False
        if path == "-":
            self._read_header(sys.stdin.buffer, fps, color)
        else:
            with open(path, "rb") as stream:
                self._read_header(stream, fps, color)

    def _read_header(self, stream: BinaryIO, fps: Fraction | None, color: ColorTags) -> None:
        line = stream.readline(_LINE_LIMIT)
        if not line.startswith(MAGIC) or not line.endswith(b"\n"):
            raise InputError(
                f"{self._name} is not y4m.", "Standard input must be y4m." * (self._path == "-")
            )
        found = parse_header(line)
        info = color.on(found, found.format.family)
        rate = fps or info.frame_rate
        if fps and info.frame_rate and fps != info.frame_rate:
            self.notes.append(f"frame rate {fps} as given, where the file says {info.frame_rate}")
        elif not rate:
            rate = DEFAULT_FRAME_RATE
            self.notes.append(f"frame rate not given, taken to be {rate}")
        self.info = replace(info, frame_rate=rate)
        self._data_start = len(line)
        self._frame_bytes = info.format.frame_bytes(info.width, info.height)
        if self._path != "-":
            # Right only where no FRAME line has parameters, as in practice: checked while reading.
            step = len(b"FRAME\n") + self._frame_bytes
            count, rest = divmod(os.path.getsize(self._path) - len(line), step)
            self.frame_count = None if rest else count

    def _next(self, stream: BinaryIO, index: int) -> bytes | None:
        line = stream.readline(_LINE_LIMIT)
        if not line:
            return None
        if not line.startswith(b"FRAME") or not line.endswith(b"\n"):
            if b"FRAME\n".startswith(line):
                raise InputError(f"{self._name} is cut short within frame {index}.")
            raise InputError(f"{self._name} is damaged: frame {index} does not begin with 'FRAME'.")
        data = _read(stream, self._frame_bytes)
        if len(data) < self._frame_bytes:
            raise InputError(f"{self._name} is cut short within frame {index}.")
        return data

    def frames(self, start: int, stop: int | None) -> Iterator[Frame]:
        """Frames start to stop (exclusive; None is the end) in order."""
        if self._path == "-":
            if self._consumed:
                raise InputError("Standard input can be read only once.")
            self._consumed = True
            yield from self._frames(sys.stdin.buffer, start, stop)
        else:
            with open(self._path, "rb") as stream:
                stream.seek(self._data_start)
                yield from self._frames(stream, start, stop)

    def _frames(self, stream: BinaryIO, start: int, stop: int | None) -> Iterator[Frame]:
        form, width, height = self.info.format, self.info.width, self.info.height
        index = 0
        while stop is None or index < stop:
            data = self._next(stream, index)
            if data is None:
                return
            if index >= start:
                yield Frame([p.copy() for p in split_planes(data, form, width, height)])
            index += 1

    def close(self) -> None:
        """Nothing is held open between iterations."""


class Y4mWriter:
    """Writes y4m to an open binary stream.

    Raises:
        UnsupportedError: y4m cannot hold the format.
    """

    lossless = True

    def __init__(self, stream: BinaryIO, info: VideoInfo, keep_open: bool = False) -> None:
        self._stream = stream
        self._keep_open = keep_open
        rate = info.frame_rate or DEFAULT_FRAME_RATE
        aspect = info.sample_aspect or Fraction(0)
        tag = format_tag(info.format, info.chroma_location)
        header = (
            f"W{info.width} H{info.height} F{rate.numerator}:{rate.denominator} Ip "
            f"A{aspect.numerator}:{aspect.denominator if aspect else 0} C{tag}"
        )
        header += {1: " XCOLORRANGE=LIMITED", 2: " XCOLORRANGE=FULL"}.get(info.color_range, "")
        self.notes = [f"y4m does not hold {what}" for what in self._lost(info, tag)]
        self._stream.write(MAGIC + header.encode("ascii") + b"\n")

    @staticmethod
    def _lost(info: VideoInfo, tag: str) -> list[str]:
        lost = []
        if info.time_base:
            lost.append("variable timestamps: the mean rate is written")
        if (info.color_primaries, info.color_transfer, info.color_matrix) != (2, 2, 2):
            lost.append("colour primaries, transfer and matrix")
        if info.chroma_location and _LOCATIONS.get(tag, 0) != info.chroma_location:
            lost.append("this chroma location")
        if info.rotation:
            lost.append(f"the rotation by {info.rotation} degrees")
        return lost

    def write(self, frame: Frame) -> None:
        self._stream.write(b"FRAME\n")
        write_planes(self._stream, frame)

    def close(self) -> None:
        self._stream.flush()
        self.abort()

    def abort(self) -> None:
        if not self._keep_open:
            self._stream.close()
