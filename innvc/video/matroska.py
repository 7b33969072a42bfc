"""What PyAV does not give of Matroska: cut files, chroma siting, and the display size.

Elements are named by their identifiers of RFC 9559.
"""

from __future__ import annotations

import io
import math
import os
import re
from fractions import Fraction
from typing import BinaryIO

import av

_EBML = 0x1A45DFA3
_SEGMENT = 0x18538067
_TRACKS = 0x1654AE6B
_TRACK_ENTRY = 0xAE
_VIDEO = 0xE0
_VOID = 0xEC
_DISPLAY_WIDTH = 0x54B0
_DISPLAY_HEIGHT = 0x54BA
_DISPLAY_UNIT = 0x54B2
_UNKNOWN_SIZE = -1

# ChromaSitingHorz, ChromaSitingVert -> AVChromaLocation.
_SITING = re.compile(rb"\x55\xb7\x81(.)\x55\xb8\x81(.)", re.DOTALL)
_LOCATIONS = {(1, 2): 1, (2, 2): 2, (1, 1): 3, (2, 1): 4}
HELD_LOCATIONS = frozenset({0, *_LOCATIONS.values()})


def _vint(stream: BinaryIO, keep_marker: bool) -> tuple[int, int]:
    """(value, bytes) of a variable-length integer; ValueError where there is none."""
    first = stream.read(1)
    if not first or not first[0]:
        raise ValueError("no element here")
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + stream.read(length - 1), "big")
    if keep_marker:
        return value, length
    mask = (1 << (7 * length)) - 1
    value &= mask
    return (_UNKNOWN_SIZE if value == mask else value), length


def _element(stream: BinaryIO) -> tuple[int, int, int]:
    """(identifier, bytes of the size field, bytes of payload) at the stream's position."""
    identifier, _ = _vint(stream, keep_marker=True)
    size, length = _vint(stream, keep_marker=False)
    return identifier, length, size


def missing_bytes(path: str) -> int:
    """How many bytes a Matroska file declares beyond its end; 0 where it does not say."""
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        try:
            identifier, _, payload = _element(stream)
            if identifier != _EBML:
                return 0
            stream.seek(payload, os.SEEK_CUR)
            identifier, _, payload = _element(stream)
        except ValueError:
            return 0
        if identifier != _SEGMENT or payload == _UNKNOWN_SIZE:
            return 0
        return max(0, stream.tell() + payload - size)


def chroma_location(stream: av.VideoStream) -> int:
    """The AVChromaLocation of an input stream, 0 where it is not known.

    PyAV does not show this field, but its Matroska muxer writes it into a header, so a header is
    muxed into memory and read.
    """
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="matroska") as container:
            container.add_stream_from_template(stream)
            container.start_encoding()
    except (av.FFmpegError, ValueError, OSError, TypeError):
        return 0  # a codec that Matroska does not take
    match = _SITING.search(buffer.getvalue())
    return _LOCATIONS.get((match[1][0], match[2][0]), 0) if match else 0


def _display_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The smallest exact display size that is not below the picture's height."""
    ratio = Fraction(width, height) * aspect
    scale = max(1, math.ceil(height / ratio.denominator))
    return ratio.numerator * scale, ratio.denominator * scale


def write_sample_aspect(path: str, width: int, height: int, aspect: Fraction) -> bool:
    """Puts the display size into a finished file of one track, in place.

    PyAV has no way to set the sample aspect ratio that the muxer reads. The muxer leaves a Void
    element in the track entry, which the two new elements use up. The file must be written with
    `write_crc32=0`.

    Returns:
        False where the file is not laid out as expected; it is then untouched.
    """
    display = _display_size(width, height, aspect)
    if max(display) >= 1 << 24:
        return False
    with open(path, "r+b") as stream:
        head = bytearray(stream.read(4096))
        patched = _patch_track(head, display)
        if patched is None:
            return False
        stream.seek(0)
        stream.write(patched)
    return True


def _patch_track(head: bytearray, display: tuple[int, int]) -> bytearray | None:
    try:
        positions = _find(head, [_SEGMENT, _TRACKS, _TRACK_ENTRY])
        start, end = positions
        children = _children(head, start, end)
        video = children[_VIDEO]
        void = children[_VOID]
        unit = _children(head, video[1], video[2])[_DISPLAY_UNIT]
    except KeyError:
        return None
    if video[2] > void[0]:
        return None
    elements = b"".join(
        identifier.to_bytes(2, "big") + bytes([0x83]) + value.to_bytes(3, "big")
        for identifier, value in zip((_DISPLAY_WIDTH, _DISPLAY_HEIGHT), display, strict=True)
    )
    payload = head[video[1] : unit[0]] + elements + head[unit[2] : video[2]]
    grown = len(elements) - (unit[2] - unit[0])
    left = void[2] - void[0] - grown
    size_bytes = video[1] - video[0] - 1
    if left < 2 or left > 128 or len(payload) >= (1 << (7 * size_bytes)) - 1:
        return None
    marker = 1 << (7 * size_bytes)
    new_video = bytes([_VIDEO]) + (marker | len(payload)).to_bytes(size_bytes, "big") + payload
    new_void = bytes([_VOID, 0x80 | (left - 2)]) + bytes(left - 2)
    entry = new_video + head[video[2] : void[0]] + new_void
    return head[: video[0]] + entry + head[void[2] :]


def _children(head: bytearray, start: int, end: int) -> dict[int, tuple[int, int, int]]:
    """identifier -> (start, payload start, end) of the first child of each kind."""
    stream = io.BytesIO(head)
    stream.seek(start)
    found: dict[int, tuple[int, int, int]] = {}
    while stream.tell() < end:
        begin = stream.tell()
        try:
            identifier, _, payload = _element(stream)
        except ValueError:
            break  # the bytes at hand end within an element
        body = stream.tell()
        found.setdefault(identifier, (begin, body, body + payload))
        stream.seek(body + payload)
    return found


def _find(head: bytearray, path: list[int]) -> tuple[int, int]:
    """(payload start, end) of the element at the end of a path of identifiers."""
    start, end = 0, len(head)
    for identifier in path:
        _, start, stop = _children(head, start, end)[identifier]
        end = min(stop, len(head)) if identifier == _SEGMENT else stop
    return start, end
