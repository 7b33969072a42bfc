"""Checksums of decoded samples, one for each segment."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from innvc.bitstream.index import SegmentEntry
from innvc.video.formats import Frame


class SamplesCrc:
    """CRC-32 of the samples of each segment: frame by frame, plane by plane, row by row.

    Samples of more than 8 bits are 16-bit little-endian integers.

    Args:
        segments: Of the file.

    Attributes:
        values: Of the frames so far.
    """

    def __init__(self, segments: Sequence[SegmentEntry]) -> None:
        self._ends = [entry.first_frame + entry.frames for entry in segments]
        self.values = [0] * len(segments)
        self._frame = self._segment = 0

    def add(self, frame: Frame) -> None:
        """The next frame, with synthesis in float64 for values that hold on every machine."""
        self._segment += self._frame == self._ends[self._segment]
        self._frame += 1
        for plane in frame.planes:
            data = np.ascontiguousarray(plane, plane.dtype.newbyteorder("<"))
            self.values[self._segment] = zlib.crc32(data.data, self.values[self._segment])
