"""Planes as one array of channels, and back, exactly."""

import numpy as np
import pytest

from innvc.video.formats import PIXEL_FORMATS, pixel_format
from innvc.video.packing import pack, pad, plane_of_channel, unpack

SIZES = [(16, 8), (7, 5), (1, 1), (2, 1), (1, 2)]


def random_planes(form, width, height, seed=0):
    random = np.random.default_rng(seed)
    sizes = [form.plane_size(p, width, height) for p in range(form.planes)]
    return [random.integers(0, form.peak + 1, size).astype(form.dtype) for size in sizes]


@pytest.mark.parametrize("packing", [1, 2])
@pytest.mark.parametrize("name", PIXEL_FORMATS)
def test_round_trip_is_exact(name, packing):
    form = pixel_format(name)
    for width, height in SIZES:
        planes = random_planes(form, width, height)
        packed = pack(planes, form, packing)
        assert packed.dtype == np.float32
        assert packed.shape[0] == len(plane_of_channel(form, packing))
        assert packed.shape[1:] == (-(-height // packing), -(-width // packing))
        for array in (packed, packed.astype(np.float64), pad(packed, 8, 8)):
            back = unpack(array, form, width, height, packing)
            for plane, restored in zip(planes, back, strict=True):
                assert restored.dtype == form.dtype
                assert np.array_equal(plane, restored)


def test_channel_order_and_scale():
    form = pixel_format("yuv422p10le")
    luma = np.arange(16, dtype="<u2").reshape(4, 4)
    chroma = np.full((4, 2), 512, "<u2")
    chroma[1] = 1023
    packed = pack([luma, chroma, chroma], form, 2)
    assert plane_of_channel(form, 2) == [0, 0, 0, 0, 1, 1, 2, 2]
    assert packed.shape == (8, 2, 2)
    assert np.allclose(packed[1], (luma[0::2, 1::2] - 512.0) * 255 / 1023)
    assert np.allclose(packed[4], [[0, 0], [0, 0]])
    assert np.allclose(packed[5], [[511 * 255 / 1023] * 2, [0, 0]])


def test_channel_counts():
    counts = {name: len(plane_of_channel(f, 2)) for name, f in PIXEL_FORMATS.items()}
    assert (counts["gray"], counts["yuv420p"], counts["yuv422p"]) == (4, 6, 8)
    assert (counts["yuv444p"], counts["gbrp12le"]) == (12, 12)
    assert plane_of_channel(pixel_format("gray"), 1) == [0, None, None, None]
    assert plane_of_channel(pixel_format("yuv420p"), 1) == [0, 1, 2, None]


def test_unpack_rounds_half_up_clips_and_survives_nan():
    form = pixel_format("gray")
    values = np.array([[[0.5, 0.49, -0.5, 500.0, -500.0, np.nan]]])
    (plane,) = unpack(np.concatenate([values, np.zeros((3, 1, 6))]), form, 6, 1, 1)
    assert plane.tolist() == [[129, 128, 128, 255, 0, 0]]


def test_unpack_of_repeated_chroma_takes_the_mean():
    form = pixel_format("yuv420p")
    array = np.zeros((4, 2, 3))
    array[1] = [[0, 4, 10], [8, 4, 20]]
    planes = unpack(array, form, 3, 2, 1)
    assert planes[1].tolist() == [[132, 143]]


def test_pad_repeats_the_edge():
    padded = pad(np.array([[[1, 2], [3, 4]]]), 3, 4)
    assert padded.tolist() == [[[1, 2, 2, 2], [3, 4, 4, 4], [3, 4, 4, 4]]]
