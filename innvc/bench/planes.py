"""From the planes of a clip to those that a peer codes, and back."""

from __future__ import annotations

import numpy as np

from innvc.video.formats import PixelFormat

Planes = list[np.ndarray]


def padded_size(form: PixelFormat, width: int, height: int) -> tuple[int, int]:
    """Width and height that the chroma subsampling divides: several encoders refuse others."""
    x, y = 1 << form.shift_x, 1 << form.shift_y
    return -(-width // x) * x, -(-height // y) * y


def to_coded(planes: Planes, form: PixelFormat, coded: PixelFormat) -> Planes:
    """Planes as the peer codes them: padded at the edge, shifted to its depth, rows of chroma twice
    where 4:2:0 goes into 4:2:2.

    Args:
        planes: One [height, width] array a plane of `form`.
        form: The clip's format.
        coded: The peer's format.
    """
    height, width = planes[0].shape
    padded_width, padded_height = padded_size(form, width, height)
    result = []
    for index, plane in enumerate(planes):
        rows, columns = form.plane_size(index, padded_width, padded_height)
        lack = ((0, rows - plane.shape[0]), (0, columns - plane.shape[1]))
        wide = np.pad(plane, lack, mode="edge").astype(coded.dtype)
        wide <<= coded.depth - form.depth
        if index and form.shift_y > coded.shift_y:
            wide = np.repeat(wide, 2, axis=0)
        result.append(wide)
    return result


def from_coded(
    planes: Planes, form: PixelFormat, coded: PixelFormat, width: int, height: int
) -> Planes:
    """Undoes to_coded(), `coded` being what a decoder gives: means of doubled rows, rounded to the
    clip's depth once, cropped."""
    result = []
    for index in range(form.planes):
        plane = planes[index].astype(np.int64)
        shift = coded.depth - form.depth
        if index and form.shift_y > coded.shift_y:
            plane = plane[0::2] + plane[1::2]
            shift += 1
        if shift:
            plane = (plane + (1 << (shift - 1))) >> shift
        rows, columns = form.plane_size(index, width, height)
        plane = np.minimum(plane[:rows, :columns], form.peak)
        result.append(np.ascontiguousarray(plane, dtype=form.dtype))
    return result
