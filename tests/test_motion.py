"""Motion-compensated lifting: exactness, search, coding, and files with motion."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import make_frames, read_frames, same, write_clip

import innvc as package
from innvc.bitstream import motion as coding
from innvc.bitstream.reader import Reader
from innvc.errors import CorruptError
from innvc.fit.coefficient_cost import add_costs, coefficient_cost
from innvc.fit.motion_search import GroupSearch, LevelMatcher
from innvc.fit.tried_vectors import KEPT, TriedVectors
from innvc.model import lifting
from innvc.model.motion import (
    AFTER,
    BOTH,
    VECTOR_LIMIT,
    LevelMotion,
    MotionLifting,
    in_quarters,
    used,
    zero,
)
from innvc.model.planes import planes_of
from innvc.model.subbands import is_centred, low_counts
from innvc.model.warp import OVERLAP, QUARTER, PredictionErrors, Warp

LAYOUTS = {
    "gray": [0] * 4,
    "yuv420p": [0] * 4 + [1, 2],
    "yuv422p": [0] * 4 + [1, 1, 2, 2],
    "yuv444p": [0] * 4 + [1] * 4 + [2] * 4,
}


def random_motion(group: int, rows: int, columns: int, reach: int = 60, seed: int = 0):
    random = np.random.default_rng(seed)
    levels = []
    for frames, low in pairwise(low_counts(group)):
        mode = random.integers(0, 4, (frames - low, rows, columns)).astype(np.uint8)
        if frames % 2 == 0 or is_centred(frames):
            mode[-1] %= AFTER  # the last frame has no reference after it
        if is_centred(frames):
            mode[0] &= AFTER  # and the first one none before it
        vector = random.integers(-reach, reach + 1, (len(mode), 2, 2, rows, columns))
        vector = (vector * used(mode)[:, :, None]).astype(np.int16)
        # Quarters with the vectors of cells around, and with their own.
        quarters = in_quarters(vector)
        divided = in_quarters(random.random(vector[:, :, :1].shape) < 0.4)
        for axis in (-2, -1):
            moved = random.random(divided.shape) < 0.3
            quarters = np.where(divided & moved, np.roll(quarters, 1, axis), quarters)
        own = random.integers(-reach, reach + 1, quarters.shape)
        quarters = np.where(divided & (random.random(divided.shape) < 0.2), own, quarters)
        quarters = (quarters * in_quarters(used(mode)[:, :, None])).astype(np.int16)
        levels.append(LevelMotion(mode, vector, quarters))
    return levels


def picture(count: int, channels: int, rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 80 * torch.randn(count, channels, 8 * rows, 8 * columns, generator=generator)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("group", [2, 3, 8, 11])
def test_lifting_inverts_whatever_the_motion(layout, group):
    planes = planes_of(LAYOUTS[layout])
    x = picture(group, len(LAYOUTS[layout]), 3, 4)
    motion = MotionLifting(random_motion(group, 3, 4), planes)
    back = lifting.inverse(lifting.forward(x, motion), motion)
    assert float((back - x).abs().max()) < 1e-4 * 255
    back = lifting.inverse(lifting.forward(x.double(), motion), motion)
    assert float((back - x.double()).abs().max()) < 1e-9 * 255


def test_no_motion_is_the_haar_transform():
    for group in (8, 7, 5, 3):
        x = picture(group, 6, 2, 3).double()
        motion = MotionLifting(zero(group, 2, 3), planes_of(LAYOUTS["yuv420p"]))
        torch.testing.assert_close(lifting.forward(x, motion), lifting.forward(x))


def test_gains_are_the_energy_of_unit_noise():
    """White noise of one size in every subband frame; vectors of zero, any modes."""
    random = random_motion(7, 2, 2)
    still = [LevelMotion(m.mode, m.vector * 0, m.quarters * 0) for m in random]
    motion = MotionLifting(still, planes_of(LAYOUTS["gray"]))
    gains = motion.gains(torch.zeros(7, 4, 16, 16, dtype=torch.float64))
    for j in range(7):
        impulse = torch.zeros(7, 4, 16, 16, dtype=torch.float64)
        impulse[j] = 1
        frames = lifting.inverse(impulse * gains, motion)  # the inverse divides by the gains
        # Within the cells, where no neighbour is blended in: 2 packed samples from their edges.
        inner = torch.arange(16) % 8 // 2 % 3 > 0
        energy = (frames.square().sum((0, 1)) / 4)[inner][:, inner]
        wanted = gains[j, 0][inner][:, inner].square()
        torch.testing.assert_close(energy if j else energy.mean(), wanted if j else wanted.mean())
    assert not torch.equal(gains[6, 0], gains[6, 0].mean().expand(16, 16))


def test_errors_of_predictions_and_which_are_given_up():
    plane, rows, columns = planes_of(LAYOUTS["gray"])[0], 6, 8
    size = rows * QUARTER, columns * QUARTER
    target, reference = picture(1, 2, *size)[0, :, : size[0], : size[1]]
    vector = random_motion(2, rows, columns)[0].vector[0, 0].astype(np.int64)
    cells = np.arange(rows * columns)
    found = PredictionErrors(target, reference, plane, QUARTER)
    errors, sizes = found(vector, cells, np.full(len(cells), np.inf, np.float32))
    wanted = np.zeros([n + 2 * OVERLAP for n in size], np.float32)
    for n, cell in enumerate(cells):
        y, x = (QUARTER * k for k in divmod(cell, columns))
        wanted[y : y + errors.shape[0], x : x + errors.shape[2]] += errors[:, n]
    warp = Warp(torch.from_numpy(vector), None, plane, reference)
    inner = torch.from_numpy(wanted[OVERLAP:-OVERLAP, OVERLAP:-OVERLAP])
    torch.testing.assert_close(inner, target - warp(reference[None])[0], rtol=1e-4, atol=1e-4)
    assert np.allclose(sizes, abs(errors).sum((0, 2)), rtol=1e-5)
    kept, kept_sizes = found(vector, cells, np.full(len(cells), np.median(sizes), np.float32))
    few = np.isfinite(kept_sizes)
    assert len(cells) / 4 < few.sum() <= len(cells) / 2
    assert np.array_equal(kept, errors[:, few]) and np.array_equal(kept_sizes[few], sizes[few])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_adjoint_of_the_warp(layout):
    for plane in planes_of(LAYOUTS[layout]):
        rows, columns = (n * size for n, size in zip((3, 4), plane.samples(QUARTER), strict=True))
        a, b = (picture(1, 1, rows, columns)[0, :, :rows, :columns].double() for _ in range(2))
        a, b = a.repeat(2, 1, 1), b.flip(1).repeat(2, 1, 1)
        a[1] *= -1
        vector = torch.from_numpy(random_motion(2, 3, 4)[0].vector[0, 0])
        weight = torch.tensor([[0.0, 0.5, 1.0, 1.0], [0.5, 0.5, 0.0, 1.0], [1.0, 0.0, 1.0, 0.5]])
        warp = Warp(vector, weight, plane, a)
        still = Warp(0 * vector, None, plane, a)
        torch.testing.assert_close(still(a), a)
        assert torch.equal(warp(a)[1], -warp(a)[0])
        sums = (warp(a) * b).sum((1, 2)), (a * warp.adjoint(b)).sum((1, 2))
        torch.testing.assert_close(*sums)
        torch.testing.assert_close(warp.received(), warp.adjoint(torch.ones_like(a[:1])))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_planes_are_packed_as_frames_are(layout):
    from innvc.video.formats import pixel_format
    from innvc.video.packing import pack

    form = pixel_format(layout)
    frame = make_frames(layout, 64, 48, 1)[0]
    packed = torch.from_numpy(pack(frame.planes, form, 2))[None]
    for plane, samples in zip(planes_of(LAYOUTS[layout]), frame.planes, strict=True):
        unpacked = plane.unpack(packed)
        assert np.array_equal(unpacked[0].numpy() + 128, samples)
        assert torch.equal(plane.pack(unpacked), packed[:, plane.channels])


def test_search_finds_a_pan_and_a_still_picture():
    random = np.random.default_rng(1)
    wide = torch.from_numpy(random.normal(0, 30, (160, 400))).float()
    wide = torch.nn.functional.avg_pool2d(wide[None, None], 5, 1, 2)[0, 0] * 3
    luma = torch.stack([wide[16:112, 8 + 6 * t : 168 + 6 * t] for t in range(4)])
    planes = planes_of(LAYOUTS["gray"])
    found = GroupSearch(planes[0].pack(luma), LevelMatcher(planes, [2.0])).motion(0, 4)
    inner = found[0].vector[0, 0, :, 1:-1, 1:-2]
    assert (inner[0] == 0).all() and (inner[1] == 48).all()  # 6 samples, in eighths
    assert (found[1].vector[0, 0, 1, 1:-1, 1:-2] == 96).all()
    still = planes[0].pack(luma[:1].expand(4, -1, -1))
    still = GroupSearch(still, LevelMatcher(planes, [2.0]))
    assert not any(level.quarters.any() for level in still.motion(0, 4))
    # Where nothing moves, the part of a group is the group of the part.
    part = still.motion(2, 2)
    assert len(part) == 1 and part[0].mode.shape[0] == 1
    assert not np.isin(part[0].mode, (AFTER, BOTH)).any()


def test_costs_of_coefficients_are_the_same_cell_by_cell():
    random = np.random.default_rng(2)
    sizes = 10.0 ** random.uniform(-3, 5, (24, 7, 24))
    values = (sizes * random.choice([-1, 1], sizes.shape)).astype(np.float32)
    sums = np.ones(7)
    add_costs(values, 3.0, sums)
    wanted = coefficient_cost(torch.from_numpy(values).double() / 3).sum((0, 2)).numpy()
    assert np.allclose(sums - 1, wanted, rtol=1e-9)


@pytest.mark.parametrize("reach", [0, 3, 60, VECTOR_LIMIT])
def test_coded_motion_comes_back(reach):
    for group, rows, columns in (
        (2, 1, 1),
        (3, 4, 4),
        (4, 1, 7),
        (8, 6, 1),
        (13, 2, 2),
        (16, 5, 6),
    ):
        motion = random_motion(group, rows, columns, reach, seed=group)
        quarters = [LevelMotion(m.mode, 2 * m.vector, 2 * m.quarters) for m in motion]
        for wanted in (motion, quarters):
            found = coding.decode(coding.encode(wanted), group, rows, columns)
            for a, b in zip(wanted, found, strict=True):
                assert np.array_equal(a.mode, b.mode) and np.array_equal(a.vector, b.vector)
                assert np.array_equal(a.quarters, b.quarters)
        assert abs(len(coding.encode(quarters)) - len(coding.encode(motion))) <= 1
    assert coding.encode(zero(8, 3, 4)) == b""


def test_damaged_motion_is_an_error_or_valid_motion():
    data = coding.encode(random_motion(8, 4, 5))
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(data)
        for place in random.integers(0, len(data), 3):
            changed[place] = random.integers(256)
        try:
            motion = coding.decode(bytes(changed), 8, 4, 5)
        except CorruptError:
            refused += 1
            continue
        for level in motion:
            assert level.mode.max() <= BOTH and np.abs(level.vector).max() <= 2 * VECTOR_LIMIT
            assert np.abs(level.quarters).max() <= 2 * VECTOR_LIMIT
            assert not np.isin(level.mode[-1], (AFTER, BOTH)).any()
    assert refused > 30


def moving_clip(path, count=9):
    """A textured picture that moves by (1, 2.5) samples a frame, with a cut after frame 5."""
    random = np.random.default_rng(2)
    frames = make_frames("yuv420p", 96, 64, count)
    large = random.normal(0, 1, (400, 400))
    for _ in range(3):
        large = (large + np.roll(large, 1, 0) + np.roll(large, 1, 1) + np.roll(large, -1, 0)) / 2.5
    for t, frame in enumerate(frames):
        top, left = (2 * t, 5 * t) if t < 6 else (200, 200)
        window = large[top : top + 128, left : left + 192]
        halved = (window[::2, ::2] + window[1::2, ::2] + window[::2, 1::2] + window[1::2, 1::2]) / 4
        frame.planes[0][:] = np.clip(128 + 25 * halved, 0, 255).astype(np.uint8)
    return write_clip(path, frames)


@pytest.mark.slow
def test_a_moving_clip_costs_less_with_motion(tmp_path, call):
    source = moving_clip(tmp_path / "in.mkv")
    line = "encode", source, "-p", "instant", "--json"
    code, out, err = call(*line, "-o", tmp_path / "a.innv")
    assert code == 0, err
    with_motion = json.loads(out)
    with Reader(tmp_path / "a.innv") as reader:
        assert reader.header.model.motion
        packets = [packet for _, _, packet in reader.packets()]
    assert any(packet.motion for packet in packets)
    assert call("verify", tmp_path / "a.innv")[0] == 0
    decoded = tmp_path / "b.mkv"
    assert call("decode", tmp_path / "a.innv", "-o", decoded, "--frames", "3:9")[0] == 0
    with package.open(tmp_path / "a.innv") as reader:
        assert same(read_frames(decoded), list(reader)[3:9])

    still = json.loads(call(*line, "-o", tmp_path / "c.innv", "--no-motion")[1])
    assert with_motion["bytes"] < 0.9 * still["bytes"]
    assert with_motion["psnr_y"] > still["psnr_y"] - 1.0


def test_tried_vectors_are_recalled_until_others_take_their_place():
    tried, cells = TriedVectors(6), np.array([1, 4])
    vectors = np.random.default_rng(0).permutation(2 * (KEPT + 1)).reshape(-1, 2, 1, 1)
    vectors = (vectors - KEPT).repeat(2, 2).repeat(3, 3)  # [vectors, 2, 2, 3], no two alike
    for n, vector in enumerate(vectors):
        found, new = tried.recall(vector, cells)
        assert list(new) == [0, 1]
        tried.keep(vector, cells, np.array([[n, 1], [-n, 2]], np.float32))
    for n, vector in enumerate(vectors[1:], 1):
        found, new = tried.recall(vector, cells)
        assert not len(new) and found.tolist() == [[n, 1], [-n, 2]]
    assert list(tried.recall(vectors[0], cells)[1]) == [0, 1]
    assert list(tried.recall(vectors[1], np.array([4, 5]))[1]) == [1]
