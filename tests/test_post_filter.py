"""The post-filter, and a second one written from section 16 of docs/format.md alone."""

import io
import itertools
from importlib.resources import files

import msgspec
import numpy as np
import pytest
import torch
from helpers import QUICK, make_clip, psnr, read_frames, same
from test_format_document import RangeDecoder

import innvc
from innvc.bitstream import gains
from innvc.bitstream.cut import cut_file
from innvc.bitstream.reader import Reader
from innvc.bitstream.writer import Writer
from innvc.config import FitConfig
from innvc.decoder import SegmentDecoder
from innvc.errors import CorruptError, UnsupportedError
from innvc.fit.post_filter import FilterObjective, Windows
from innvc.fit.schedule import Schedule
from innvc.model import post_filter, starting_points
from innvc.model.planes import planes_of
from innvc.model.post_filter import FrameFilter, PostFilter
from innvc.video.packing import unpack

LAMBDA = 0.1
FORMATS = ("yuv420p", "gray", "yuv422p", "yuv444p10le", "gbrp")


@pytest.fixture(scope="module", params=FORMATS)
def clip(request, tmp_path_factory):
    """A noisy clip, its file at a low rate, and one without the filter: two regions, odd size."""
    folder = tmp_path_factory.mktemp(request.param)
    source = make_clip(folder / "in.mkv", request.param, 155, 35, 3)
    options = {"lambda_": 0.05, "gop": 3, "temporal_filter": False, **QUICK}
    innvc.encode(source, folder / "a.innv", **options)
    innvc.encode(source, folder / "plain.innv", post_filter=False, **options)
    return source, folder / "a.innv", folder / "plain.innv"


def correlated(x, kernels):
    """3x3 correlations [U, h, w] of x [C, h + 2, w + 2]."""
    height, width = x.shape[1] - 2, x.shape[2] - 2
    result = np.zeros((len(kernels), height, width))
    for i, j in itertools.product(range(3), range(3)):
        result += np.einsum("uc,cyx->uyx", kernels[:, :, i, j], x[:, i : i + height, j : j + width])
    return result


def corrections(tensors, x):
    """[K, 6, h, w] of an input [6, h, w]."""
    enter = tensors["enter"].copy()
    for u in range(len(enter)):
        for part in (slice(0, 4), slice(4, 5), slice(5, 6)):
            enter[u, part] -= enter[u, part].mean()
    h = correlated(np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge"), enter)
    h = h / (1 + abs(h))
    for y, column in itertools.product(range(h.shape[1]), range(h.shape[2])):
        h[:, y, column] += tensors["tile"][:, y % 8, column % 8]
    around = ((0, 0), (1, 1), (1, 1))
    for kernels, bias in zip(tensors["middle"], tensors["middle_bias"], strict=True):
        h = h + np.maximum(0, correlated(np.pad(h, around), kernels) + bias[:, None, None])
    return correlated(np.pad(h, around), tensors["leave"]).reshape(-1, 6, *h.shape[1:])


def filtered(tensors, packed, family, gains, s):
    """A packed frame [C, h, w] with gains [planes, rows, columns, K]."""
    planes = 1 if family == "gray" else 3
    n = 4 if family == "rgb" else (len(packed) - 4) // 2
    parts = [packed[:4], *(packed[4 + n * p : 4 + n * p + n] for p in range(planes - 1))]
    result, zero = [], np.zeros((2, *packed.shape[1:]))
    last = gains.shape[2] - 1
    for p, part in enumerate(parts):
        if family == "rgb":
            x, own = np.concatenate([part, zero]), slice(0, 4)
        else:
            x = np.concatenate([parts[0], *(q.mean(0)[None] for q in parts[1:])])
            x = np.concatenate([x, zero])[:6]
            own = slice(3 + p, 4 + p) if p else slice(0, 4)
        found = corrections(tensors, x / s)
        here = np.array(
            [
                [gains[p, 0, min(x // 64, last)] for x in range(part.shape[2])]
                for y in range(part.shape[1])
            ]
        )
        result.append(part + s * np.einsum("yxk,kcyx->cyx", here / 32, found[:, own]))
    return np.concatenate(result)


def read_gains(data, frames, planes, rows, columns, count):
    """Gains [frames][planes, rows, columns, K]."""
    coder = RangeDecoder(data)
    tables = [coder.number(6) for _ in range(planes)]
    counts, gains = [[1, 1] for _ in range(planes)], []
    for t in range(frames):
        gains.append(np.zeros((planes, rows, columns, count), int))
        for p in range(planes):
            z, o = counts[p]
            k = min(max((2**32 * o * o // (z * z)).bit_length() - 1, 0), 63)
            flags = [coder.flag(k) for _ in range(rows * columns)]
            counts[p] = [z + flags.count(0), o + flags.count(1)]
            found = iter(coder.call([tables[p]] * (count * sum(flags))))
            for (i, j), flag in zip(np.ndindex(rows, columns), flags, strict=True):
                if t:
                    before = gains[t - 1][p, i, j]
                else:
                    before = gains[0][p, i, j - 1] if j else gains[0][p, i - 1, 0] * (i > 0)
                gains[t][p, i, j] = [b + (next(found) if flag else 0) for b in before]
    return gains


def test_a_second_decoder_reads_the_same_gains():
    random = np.random.default_rng(3)
    for shape in ((1, 1, 1, 1, 3), (4, 3, 3, 5, 3), (3, 3, 1, 2, 1)):
        values = random.integers(-127, 128, shape)
        values[1:] = np.where(random.random(shape[1:4])[..., None] < 0.7, values[:1], values[1:])
        assert np.array_equal(np.stack(read_gains(gains.encode(values), *shape)), values)
        assert np.array_equal(gains.decode(gains.encode(values), shape), values)
    assert gains.encode(np.zeros(shape, int)) == b""


def shipped():
    """Tensors of the post-filter, read from the package's file."""
    archive = np.load(io.BytesIO(files("innvc.model").joinpath("start5.npz").read_bytes()))
    return {n[7:]: v.astype(np.float64) for n, v in archive.items() if n.startswith("filter.")}


@pytest.mark.parametrize("rows", [23, 24, 25, 56, 69])
def test_strips_make_no_difference(rows, monkeypatch):
    """Frames go through the network in strips, here of 24 rows, as if they went whole."""
    monkeypatch.setattr(post_filter, "POSITIONS", 24 * 11)
    x = np.random.default_rng(rows).normal(0, 4, (6, rows, 11))
    network = PostFilter(starting_points.post_filter(starting_points.NEWEST)).double()
    with torch.no_grad():
        found = network(torch.from_numpy(x)[None])[0].numpy()
    assert np.allclose(found, corrections(shipped(), x), rtol=0, atol=1e-9)


def test_a_second_filter_gives_the_same_frames(clip):
    compare_with_second_filter(clip[1], (1, 2), shipped())


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A clip, its file with a post-filter fitted to it, and one without the fit."""
    folder = tmp_path_factory.mktemp("own")
    source = make_clip(folder / "in.mkv", width=128, height=128, count=8)
    for steps in (100, 0):
        options = {
            "lambda_": LAMBDA,
            "gop": 8,
            "filter_steps": steps,
            "temporal_filter": False,
            **QUICK,
        }
        innvc.encode(source, folder / f"{steps}.innv", **options)
    return source, folder / "100.innv", folder / "0.innv"


def test_a_second_filter_with_parameters_of_the_file(own):
    with Reader(own[1]) as reader:
        parts = reader.header, reader.segment(0), reader.parameters(0)
    network = SegmentDecoder(*parts, torch.device("cpu")).model.filter
    tensors = {name: value.double().numpy() for name, value in network.state_dict().items()}
    assert any(not np.array_equal(value, tensors[name]) for name, value in shipped().items())
    compare_with_second_filter(own[1], (1, 1), tensors)


def test_a_fitted_filter_costs_less(own):
    source, *files = own
    original, costs = read_frames(source), []
    for file in files:
        with innvc.open(file, exact=True) as video:
            found = list(video)
        errors = [10 ** (-psnr(original, found, plane, 255) / 10) * 255**2 for plane in range(3)]
        error = np.dot(errors, (0.75, 0.125, 0.125))
        costs.append(8 * file.stat().st_size + LAMBDA * 128 * 128 * len(original) * error)
    assert costs[0] < costs[1]


def test_batches_weigh_samples_alike():
    """Of regions that end at an edge, too: the mean of all is that of all samples."""
    random = torch.Generator().manual_seed(1)
    decoded, originals = (torch.rand(1, 6, 70, 90, generator=random) for _ in range(2))
    windows = Windows(1, (70, 90), 0)
    windows.add(0, decoded, originals, np.full((1, 3, 2, 2, 3), 16))
    network = PostFilter(starting_points.post_filter(starting_points.NEWEST))
    filters = FrameFilter(network, "yuv", planes_of([0, 0, 0, 0, 1, 2]), 1.0)
    objective = FilterObjective(network, filters, torch.ones(6), 1.0, windows.mean_positions)
    schedule = Schedule.at(0, FitConfig(steps=1, learn=()), 1)
    losses = [objective(window, schedule, random)[1].item() for window in windows.found]
    errors = filters.apply(decoded[0], np.full((3, 2, 2, 3), 16)) - originals[0]
    assert len(losses) == 4
    assert np.isclose(np.mean(losses), errors.square().sum().item() / (70 * 90), rtol=1e-4)
    wide, corner = windows.found[0], windows.found[-1]
    assert wide.like(wide) and not wide.like(corner)


@pytest.mark.parametrize(
    "arguments", [["--filter-steps", "-1"], ["--filter-steps", "9", "--no-filter"]]
)
def test_steps_that_cannot_be(own, tmp_path, call, arguments):
    code, _, err = call("encode", own[0], "-o", tmp_path / "a.innv", *arguments)
    assert code == 2 and "filter" in err and not (tmp_path / "a.innv").exists()


def compare_with_second_filter(file, regions, tensors):
    with Reader(file) as reader:
        header, segment = reader.header, reader.segment(0)
        record, packet = reader.parameters(0), reader.packet(0, 0)
    decoder = SegmentDecoder(header, segment, record, torch.device("cpu"), exact=True)
    motion = decoder.motion(packet.motion, packet.subbands)
    values = decoder.symbols(packet, None).values
    packed = decoder.synthesis(0, values, motion, packet.intra).frames.numpy()
    family = decoder.format.family
    planes = 1 if family == "gray" else 3
    count = len(tensors["leave"]) // 6
    found = read_gains(packet.gains, packet.subbands, planes, *regions, count)
    assert all(g[0].any() for g in found)
    with innvc.open(file, exact=True) as frames:
        for x, g, frame in zip(packed, found, frames, strict=True):
            y = filtered(tensors, x, family, g, 2 ** (header.step_base / 16))
            assert abs(y - x).max() > 0.5
            planes = unpack(y, decoder.format, header.width, header.height, 2)
            assert all(map(np.array_equal, planes, frame.planes))


def test_no_plane_gets_worse(clip):
    source, encoded, plain = clip
    original = read_frames(source)
    with innvc.open(encoded) as ours, innvc.open(plain) as theirs:
        ours, theirs = list(ours), list(theirs)
    peak = 1023 if "10le" in str(source) else 255
    gained = [
        psnr(original, ours, p, peak) - psnr(original, theirs, p, peak)
        for p in range(len(original[0].planes))
    ]
    assert min(gained) > -0.02  # of rounding to integers
    assert gained[0] > 0.02


def test_a_file_without_all_layers_is_not_filtered(clip, tmp_path):
    _, encoded, plain = clip
    short = tmp_path / "short.innv"
    with Reader(encoded) as reader, open(short, "wb") as file:
        cut_file(reader, file, 2)
    with innvc.open(short) as ours, innvc.open(plain, layers=2) as theirs:
        assert same(list(ours), list(theirs))
    with innvc.open(encoded, layers=2) as ours, innvc.open(plain, layers=2) as theirs:
        assert same(list(ours), list(theirs))


def rewritten(path, target, fields, **model):
    """The file with other fields of its packets, and other ones in its header's model."""
    with Reader(path) as reader, open(target, "wb") as file:
        writer = Writer(file)
        changed = msgspec.structs.replace(reader.header.model, **model)
        writer.write_header(msgspec.structs.replace(reader.header, model=changed))
        writer.begin_segment(reader.segment(0))
        writer.write_parameters(reader.parameters(0))
        for number in range(len(reader.segment(0).sizes)):
            writer.write_packet(msgspec.structs.replace(reader.packet(0, number), **fields))
        writer.finish()
    return target


def test_gains_that_do_not_fit(clip, tmp_path):
    far = gains.encode(np.full((1, 3, 1, 1, 3), 1000))  # of 3 planes, in the only region
    broken = rewritten(clip[1], tmp_path / "broken.innv", {"gains": far})
    with pytest.raises(CorruptError, match="gain"):
        innvc.decode(broken, tmp_path / "out.mkv")
    with pytest.raises(ValueError, match="gains"):
        rewritten(clip[1], tmp_path / "other.innv", {"gains": bytes(3)}, post_filter=False)


def test_a_start_without_a_filter():
    with pytest.raises(UnsupportedError, match="no post-filter"):
        starting_points.post_filter(0)
