"""The temporal filter, and a second one written from section 17 of docs/format.md alone."""

from functools import cache

import numpy as np
import pytest
import torch
from helpers import DATA, QUICK, crop, psnr, read_frames, same, write_clip
from test_format_motion import WEIGHTS, decode_motion, warp_matrix
from test_motion import LAYOUTS, picture, random_motion
from test_post_filter import read_gains, rewritten

import innvc
from innvc.bitstream import gains
from innvc.bitstream.reader import Reader
from innvc.decoder import SegmentDecoder
from innvc.errors import CorruptError
from innvc.filters import Gains
from innvc.model.motion import zero
from innvc.model.planes import planes_of
from innvc.model.temporal_filter import TemporalFilter


def around(x):
    """The mean over the 3x3 samples around each, those that there are."""
    result = np.zeros_like(x)
    for i, j in np.ndindex(x.shape):
        result[i, j] = x[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean()
    return result


@cache
def whole_warp(vector, shape, cell, precision):
    """W with the weight 1 everywhere."""
    vector = np.frombuffer(vector, int).reshape(shape)
    return warp_matrix(vector, np.ones(shape[1:]), cell, precision)


def difference(x, y, own, t, beside, mode, quarters, cell, precision):
    """d of the samples x of frame t to those of its neighbour y; `own`: x is of the odd frame."""
    odd, even = (t, beside) if own else (beside, t)
    reference = int(even > odd)
    vector = np.zeros(quarters.shape[1:])
    for i, j in np.ndindex(vector.shape[1:]):
        weights = WEIGHTS[mode[i // 2, j // 2]]
        if weights[reference]:
            vector[:, i, j] = quarters[reference, :, i, j]
        elif weights[1 - reference]:
            vector[:, i, j] = -quarters[1 - reference, :, i, j]
    vector = vector.astype(int) * (1 if own else -1)
    warp = whole_warp(vector.tobytes(), vector.shape, cell, precision)
    return (warp @ y.ravel()).reshape(x.shape) - x


def correction(frames, t, mode, quarters, cell, precision, s):
    """Of the samples of frame t, by those of its neighbours in `frames` [G, H, W]."""
    odd = (0, 2) if len(frames) == 3 else range(1, len(frames), 2)
    total = np.zeros_like(frames[t])
    for beside in (t - 1, t + 1):
        if 0 <= beside < len(frames):
            p = list(odd).index(t if t in odd else beside)
            parts = t, beside, mode[p], quarters[p], cell, precision
            d = difference(frames[t], frames[beside], t in odd, *parts)
            total += d / (1 + around(d**2) / (s / 5) ** 2)
    return total


def filtered(frames, planes, mode, quarters, gains, s):
    """Packed frames [G, C, h, w] by gains [G][planes, rows, columns, 1]."""
    result = frames.copy()
    for t in range(len(frames)):
        for number, plane in enumerate(planes):
            cell = tuple(n for n in plane.samples(8))
            samples = plane.unpack(torch.from_numpy(result)).numpy()
            found = correction(samples, t, mode, quarters, cell, plane.precision, s)
            size = plane.samples(128)
            i, j = np.indices(found.shape)
            weight = gains[t][number, i // size[0], j // size[1], 0] / 32
            changed = samples[t] + weight * found
            result[t, plane.channels] = plane.pack(torch.from_numpy(changed)[None])[0].numpy()
    return result


@pytest.mark.parametrize(
    ("layout", "group"), [("gray", 2), ("gray", 3), ("yuv420p", 4), ("yuv422p", 2), ("yuv444p", 3)]
)
def test_a_second_filter_of_random_motion(layout, group):
    planes, step = planes_of(LAYOUTS[layout]), 400.0
    level = random_motion(group, 2, 2, reach=40, seed=group)[0]
    frames = picture(group, len(LAYOUTS[layout]), 2, 2).double()
    random = np.random.default_rng(group)
    chosen = random.integers(10, 60, (group, len(planes), 1, 1, 1))
    ours = TemporalFilter(level, group, planes, step).apply(frames, lambda n, *_: chosen[n])
    parts = level.mode.astype(int), level.quarters.astype(int), list(chosen)
    theirs = filtered(frames.numpy(), planes, *parts, step)
    found = torch.stack(list(ours)).numpy()
    assert np.allclose(found, theirs, rtol=0, atol=1e-9)
    assert abs(found - frames.numpy()).reshape(group, -1).max(1).min() > 1


@pytest.fixture(scope="module", params=["bunny_cif.mkv", "street_cif.mkv"])
def clip(request, tmp_path_factory):
    """Real frames in packets of 3, their file, and one without the filter."""
    folder = tmp_path_factory.mktemp(request.param[:-4])
    frames = [crop(f, 128, 112) for f in read_frames(DATA / request.param, frames=(0, 6))]
    source = write_clip(folder / "in.mkv", frames)
    options = {"lambda_": 0.1, "gop": 3, **QUICK}
    innvc.encode(source, folder / "a.innv", **options)
    innvc.encode(source, folder / "plain.innv", temporal_filter=False, **options)
    return source, folder / "a.innv", folder / "plain.innv"


def test_a_second_filter_gives_the_same_frames(clip):
    planes = planes_of(LAYOUTS["yuv420p"])
    with Reader(clip[1]) as reader:
        header, segment = reader.header, reader.segment(0)
        record, packet = reader.parameters(0), reader.packet(0, 0)
    assert segment.sizes == [3, 3] and header.model.temporal_filter
    decoder = SegmentDecoder(header, segment, record, torch.device("cpu"), exact=True)
    found = decoder.motion(packet.motion, packet.subbands)
    values = decoder.symbols(packet, None).values
    alone = Gains(alone=decoder.filters.gains(packet).alone)
    before = decoder.synthesis(0, values, found, packet.intra, gains=alone).frames.numpy()
    chosen = read_gains(packet.temporal_gains, 3, 3, 1, 1, 1)
    assert any(g.any() for g in chosen)
    mode, _, quarters, _ = decode_motion(packet.motion, 3, *decoder.cells)[1]
    s = 2 ** (header.step_base / 16)
    theirs = filtered(before, planes, mode, quarters, chosen, s)
    assert abs(theirs - before).max() > 0.5
    shown = decoder.frames(0, torch.from_numpy(theirs))
    with innvc.open(clip[1], exact=True) as frames:
        assert same(shown, [frames[0], frames[1], frames[2]])


def test_frames_get_better(clip):
    source, encoded, plain = clip
    original = read_frames(source)
    with innvc.open(encoded) as ours, innvc.open(plain) as theirs:
        better, usual = list(ours), list(theirs)
    gained = [psnr(original, better, p, 255) - psnr(original, usual, p, 255) for p in range(3)]
    assert max(gained) > 0.02 and min(gained) > -0.02  # of rounding to integers


def test_a_still_packet_without_motion(tmp_path):
    """Vectors of zero where a packet has no motion: frames become alike."""
    planes = planes_of(LAYOUTS["gray"])
    frames = picture(1, 4, 2, 2).double() + 2 * picture(4, 4, 2, 2).double() / 80
    ones = np.full((4, 1, 1, 1, 1), 10)
    temporal = TemporalFilter(zero(4, 2, 2)[0], 4, planes, 50.0)
    found = torch.stack(list(temporal.apply(frames, lambda n, *_: ones[n])))
    assert found.std(0).mean() < 0.6 * frames.std(0).mean()


def test_without_all_layers_there_is_no_filter(clip):
    _, encoded, plain = clip
    with innvc.open(encoded, layers=2) as ours, innvc.open(plain, layers=2) as theirs:
        assert same([ours[0], ours[1], ours[2]], [theirs[0], theirs[1], theirs[2]])


def test_one_frame_has_no_gains(tmp_path):
    source = write_clip(tmp_path / "in.mkv", read_frames(DATA / "bunny_cif.mkv", frames=(0, 1)))
    innvc.encode(source, tmp_path / "a.innv", **QUICK)
    with Reader(tmp_path / "a.innv") as reader:
        assert reader.header.model.temporal_filter and not reader.packet(0, 0).temporal_gains
    with pytest.raises(ValueError, match="gains"):
        rewritten(tmp_path / "a.innv", tmp_path / "b.innv", {"temporal_gains": bytes(3)})


def test_gains_that_do_not_fit(clip, tmp_path):
    far = gains.encode(np.full((1, 3, 1, 1, 1), 1000))
    broken = rewritten(clip[1], tmp_path / "broken.innv", {"temporal_gains": far})
    with pytest.raises(CorruptError, match="gain"):
        innvc.decode(broken, tmp_path / "out.mkv")
    with pytest.raises(ValueError, match="gains"):
        given = {"temporal_gains": bytes(3)}
        rewritten(clip[1], tmp_path / "other.innv", given, temporal_filter=False)
    with pytest.raises(ValueError, match="temporal filter needs motion"):
        without = {"motion": False, "prediction": False}
        rewritten(clip[1], tmp_path / "third.innv", {"temporal_gains": b""}, **without)
