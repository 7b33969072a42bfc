"""Planes of any native format as one float array of channels, and back, exactly."""

from __future__ import annotations

import numpy as np

from innvc.video.formats import PixelFormat

_FULL_RESOLUTION_CHANNELS = 4


def _steps(form: PixelFormat, plane: int) -> tuple[int, int]:
    """(vertical, horizontal) phases that packing by 2 takes from a plane."""
    if plane == 0 or form.family != "yuv":
        return 2, 2
    return 2 >> form.shift_y, 2 >> form.shift_x


def plane_of_channel(form: PixelFormat, packing: int) -> list[int | None]:
    """The plane each packed channel comes from, None for a channel of zeros.

    Args:
        form: the planes' format.
        packing: 1 or 2, as for pack().
    """
    if packing == 1:
        rest = [None] * (_FULL_RESOLUTION_CHANNELS - form.planes)
        return [*range(form.planes), *rest]
    channels: list[int | None] = []
    for plane in range(form.planes):
        vertical, horizontal = _steps(form, plane)
        channels += [plane] * (vertical * horizontal)
    return channels


def _extend(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Repeats the last row and column up to a size."""
    below, right = height - array.shape[-2], width - array.shape[-1]
    if not below and not right:
        return array
    widths = [(0, 0)] * (array.ndim - 2) + [(0, below), (0, right)]
    return np.pad(array, widths, mode="edge")


def pad(array: np.ndarray, multiple_height: int, multiple_width: int) -> np.ndarray:
    """Repeats the last row and column until both sides are multiples.

    Args:
        array: [..., height, width].
        multiple_height: what the height becomes a multiple of.
        multiple_width: what the width becomes a multiple of.
    """
    height, width = array.shape[-2:]
    return _extend(array, height + -height % multiple_height, width + -width % multiple_width)


def pack(planes: list[np.ndarray], form: PixelFormat, packing: int) -> np.ndarray:
    """Packs the planes of one frame.

    Packing 2 takes every second sample: each plane gives its phases (0,0), (0,1), (1,0), (1,1) as
    channels of half the luma's size; chroma that is subsampled in a direction has no phases in
    it. Packing 1 keeps the luma's size: chroma is repeated, and zeros fill up to 4 channels.
    Values become 8-bit code values around 0: (v - 2^(depth-1)) * 255 / (2^depth - 1).

    Args:
        planes: one [height, width] integer array for each plane.
        form: their format.
        packing: 1 or 2.

    Returns:
        [channels, height / packing, width / packing] float32, sides rounded up.
    """
    height, width = planes[0].shape
    rows, columns = -(-height // packing), -(-width // packing)
    channels = plane_of_channel(form, packing)
    packed = np.zeros((len(channels), rows, columns), np.float32)
    first = 0
    for index, plane in enumerate(planes):
        if packing == 1:
            _repeat(plane, form, index, packed[index])
            continue
        vertical, horizontal = _steps(form, index)
        plane = _extend(plane, rows * vertical, columns * horizontal)
        for y in range(vertical):
            for x in range(horizontal):
                packed[first] = plane[y::vertical, x::horizontal]
                first += 1
    filled = packed[: form.planes] if packing == 1 else packed
    filled -= np.float32(1 << (form.depth - 1))
    filled *= np.float32(255 / form.peak)
    return packed


def _shifts(form: PixelFormat, plane: int) -> tuple[int, int]:
    return (0, 0) if plane == 0 else (form.shift_y, form.shift_x)


def _repeat(plane: np.ndarray, form: PixelFormat, index: int, target: np.ndarray) -> None:
    """Writes a plane at luma size into `target`, each sample repeated."""
    shift_y, shift_x = _shifts(form, index)
    height, width = target.shape
    for y in range(1 << shift_y):
        for x in range(1 << shift_x):
            part = target[y :: 1 << shift_y, x :: 1 << shift_x]
            part[:] = plane[: part.shape[0], : part.shape[1]]


def unpack(
    array: np.ndarray, form: PixelFormat, width: int, height: int, packing: int
) -> list[np.ndarray]:
    """Gives back the planes of one frame.

    Rounds half up, clips to the format's values and crops. With packing 1 a chroma sample is the
    mean of the values at the luma positions it covers.

    Args:
        array: [channels, rows, columns] float32 or float64; may be padded on the right and bottom.
        form: the planes' format.
        width: of the frame, in luma samples.
        height: of the frame, in luma samples.
        packing: 1 or 2, as for pack().

    Returns:
        One contiguous [height, width] array of the format's dtype for each plane.
    """
    planes = []
    first = 0
    for index in range(form.planes):
        size = form.plane_size(index, width, height)
        if packing == 1:
            values = _mean(array[index, :height, :width], form, index)
        else:
            vertical, horizontal = _steps(form, index)
            rows, columns = -(-height // 2), -(-width // 2)
            values = np.empty((rows * vertical, columns * horizontal), array.dtype)
            for y in range(vertical):
                for x in range(horizontal):
                    values[y::vertical, x::horizontal] = array[first, :rows, :columns]
                    first += 1
            values = values[: size[0], : size[1]]
        planes.append(_to_integers(values, form))
    return planes


def _mean(values: np.ndarray, form: PixelFormat, index: int) -> np.ndarray:
    shift_y, shift_x = _shifts(form, index)
    if not shift_y and not shift_x:
        return values
    values = pad(values, 1 << shift_y, 1 << shift_x)
    height, width = values.shape
    blocks = values.reshape(height >> shift_y, 1 << shift_y, width >> shift_x, 1 << shift_x)
    mean: np.ndarray = blocks.mean(axis=(1, 3), dtype=values.dtype)
    return mean


def _to_integers(values: np.ndarray, form: PixelFormat) -> np.ndarray:
    # Half up by floor(v + 0.5); NaN from a broken decoder must not reach the integer cast.
    codes = values * values.dtype.type(form.peak / 255)
    codes += values.dtype.type((1 << (form.depth - 1)) + 0.5)
    if codes.dtype == np.float64:  # the order of a sum must not decide where a value is on the edge
        codes = np.rint(codes * (1 << 20)) / (1 << 20)
    np.floor(codes, out=codes)
    np.nan_to_num(codes, copy=False, nan=0.0)
    return np.ascontiguousarray(np.clip(codes, 0, form.peak, out=codes).astype(form.dtype))
