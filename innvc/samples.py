"""Checksums of decoded samples, one for each segment."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from innvc.bitstream.index import SegmentEntry
from innvc.metrics import Plane


class SamplesCrc:
    """CRC-32 of a video's samples by segment: frame by frame, plane by plane, row by row.

    Samples of more than 8 bits are 16-bit little-endian integers.

    Attributes:
        values: One for each segment, of the frames so far.
    """

    def __init__(self, segments: Sequence[SegmentEntry]) -> None:
        self.values = [0] * len(segments)
        self._ends = [entry.first_frame + entry.frames for entry in segments]
        self._segment, self._frame = 0, 0

    def update(self, planes: Sequence[Plane]) -> None:
        """Adds the next frame."""
        if self._frame == self._ends[self._segment]:
            self._segment += 1
        for plane in planes:
            data = np.ascontiguousarray(plane, plane.dtype.newbyteorder("<"))
            self.values[self._segment] = zlib.crc32(data, self.values[self._segment])
        self._frame += 1
