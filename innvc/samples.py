"""Checksums of decoded samples, one for each segment."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from innvc.reader import VideoReader


def samples_crc(
    video: VideoReader, progress: Callable[[int, int], None] | None = None
) -> list[int]:
    """CRC-32 of the samples of each segment: frame by frame, plane by plane, row by row.

    Samples of more than 8 bits are 16-bit little-endian integers.

    Args:
        video: With synthesis in float64, for values that hold on every machine.
        progress: Called with frames done and frames in all.
    """
    ends = [entry.first_frame + entry.frames for entry in video.segments]
    values, segment = [0] * len(ends), 0
    for number, frame in enumerate(video):
        segment += number == ends[segment]
        for plane in frame.planes:
            data = np.ascontiguousarray(plane, plane.dtype.newbyteorder("<"))
            values[segment] = zlib.crc32(data.data, values[segment])
        if progress is not None:
            progress(number + 1, len(video))
    return values
