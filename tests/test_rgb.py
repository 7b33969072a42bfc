"""Frames as RGB tensors, and files as a dataset."""

import numpy as np
import pytest
import torch
from helpers import QUICK, make_clip
from torch.utils.data import DataLoader

import innvc
from innvc.errors import UsageError
from innvc.rgb import RgbConverter
from innvc.video.formats import Frame, VideoInfo, pixel_format


@pytest.fixture(scope="module")
def video(clip):
    with innvc.open(clip[1]) as reader:
        yield reader


def test_slices_are_one_tensor(video):
    frames = video.rgb()
    some = frames[3:9]
    assert some.shape == (6, 3, 32, 48) and some.dtype == torch.uint8
    assert all(torch.equal(some[i], frames[3 + i]) for i in range(6))
    assert torch.equal(frames[8:2:-2], torch.stack([frames[8], frames[6], frames[4]]))
    assert torch.equal(frames[-1], frames[len(video) - 1]) and len(frames) == len(video)
    assert torch.equal(torch.stack(list(frames)), frames[:])
    with pytest.raises(IndexError):
        frames[5:5]
    with pytest.raises(IndexError):
        frames[len(video)]


@pytest.mark.parametrize(
    "matrix, yuv", [(6, (81, 90, 240)), (1, (63, 102, 240)), (9, (74, 97, 240))]
)
def test_red_is_red_in_each_matrix(matrix, yuv):
    """BT.601, BT.709 and BT.2020, limited range: 16 + 219 Y and 128 + 224 C of pure red."""
    form = pixel_format("yuv420p")
    info = VideoInfo(width=16, height=8, format=form, color_matrix=matrix, color_range=1)
    sizes = [form.plane_size(plane, 16, 8) for plane in range(3)]
    planes = [np.full(size, value, np.uint8) for size, value in zip(sizes, yuv, strict=True)]
    red = RgbConverter(info)(Frame(planes)).to(torch.int16)
    wanted = torch.tensor([255, 0, 0])[:, None, None]
    assert (red - wanted).abs().max() <= 1


@pytest.mark.parametrize(
    ("pix_fmt", "shape", "kind"),
    [
        ("gbrp", (3, 5, 9), torch.uint8),
        ("gray12le", (1, 5, 9), torch.uint16),
        ("yuv422p10le", (3, 5, 9), torch.uint16),
    ],
)
def test_formats(tmp_path, pix_fmt, shape, kind):
    source = make_clip(tmp_path / "in.mkv", pix_fmt, 9, 5, 1)
    innvc.encode(source, tmp_path / "a.innv", **QUICK)
    with innvc.open(tmp_path / "a.innv") as reader:
        frame, planes = reader.rgb()[0], reader[0].planes
    assert frame.shape == shape and frame.dtype == kind
    if pix_fmt == "gbrp":
        assert np.array_equal(frame.numpy(), np.stack([planes[2], planes[0], planes[1]]))
    if pix_fmt == "gray12le":
        assert np.array_equal(frame.numpy()[0], planes[0])


def test_a_dataset_in_processes(clip, video):
    data = innvc.VideoDataset([clip[1], clip[1]], frames=8, step=6)
    assert len(data) == 2 * 3  # from frames 0, 6 and 12 of 20
    frames = video.rgb()
    assert torch.equal(data[4], frames[6:14]) and torch.equal(data[-1], frames[12:20])
    loader = DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context="spawn")
    batches = list(loader)
    assert [batch.shape for batch in batches] == [(2, 8, 3, 32, 48)] * 3
    assert all(torch.equal(item, data[i]) for i, item in enumerate(torch.cat(batches)))
    with pytest.raises(IndexError):
        data[6]


def test_datasets_that_cannot_be(clip):
    for options in ({"frames": 0}, {"step": 0}, {"frames": 21}):
        with pytest.raises(UsageError):
            innvc.VideoDataset([clip[1]], **options)
