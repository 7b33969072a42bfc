"""Details chosen by what rounded samples err: paths beside the trellis' own, and real clips."""

import json

import numpy as np
import pytest
import torch
from helpers import DATA, crop, make_clip, read_frames, write_clip
from test_motion import LAYOUTS, random_motion

import innvc
from innvc.bitstream.dependent import SymbolCoder, following
from innvc.bitstream.reader import Reader
from innvc.decoder import SegmentDecoder
from innvc.errors import UsageError
from innvc.fit.branches import best_ways, cheapest_branches, detour
from innvc.fit.path_search import BlockErrors, better_paths
from innvc.fit.refinement import Refinement, slope
from innvc.fit.symbol_costs import dependent_costs
from innvc.fit.trellis import Trellis, before_states
from innvc.model import lifting
from innvc.model import subbands as order
from innvc.model.motion import AFTER, BEFORE, MotionLifting
from innvc.model.planes import planes_of
from innvc.model.subbands import low_counts


@pytest.mark.parametrize("group", [2, 3, 5, 6, 12])
def test_what_a_detail_brings_into_the_frames(group):
    """As the whole inverse has it; and its transpose."""
    torch.manual_seed(group)
    lifter = MotionLifting(random_motion(group, 2, 3), planes_of(LAYOUTS["yuv420p"]))
    frames, detail = torch.randn(group, 6, 16, 24), torch.randn(6, 16, 24)
    for subband in range(1, group):
        level = order.level_of(subband, group)
        number = subband - order.details(group, level).start
        subbands = torch.zeros_like(frames)
        subbands[subband] = detail
        expected = torch.stack(list(lifting.inverse_frames(subbands, group, lifter)))
        moved = lifter.moved(level, number, detail, group)
        assert torch.allclose(moved, expected, atol=1e-5)
        back = lifter.moved_transpose(level, number, frames)
        product = float((moved.double() * frames).sum())
        assert float((back.double() * detail).sum()) == pytest.approx(product, abs=1e-2)


@pytest.mark.parametrize("group", [2, 3, 4, 5])
def test_where_a_detail_goes(group):
    """By vectors of whole samples the update takes it there, as the inverse has it."""
    torch.manual_seed(group)
    motion, counts = random_motion(group, 3, 3), low_counts(group)
    for level, count in zip(motion, counts[1:], strict=True):
        first = -int(len(level.mode) > count)
        for odd, mode in enumerate(level.mode):
            before, after = (0 <= first + odd + side < count for side in range(2))
            mode[:] = BEFORE * before + AFTER * after
        level.quarters[:] = 16 * (level.quarters[..., :1, :1] // 16)
    planes = planes_of(LAYOUTS["yuv420p"])
    lifter = MotionLifting(motion, planes)
    frames, detail = order.frames_of(group), torch.randn(6, 24, 24)
    reached = 0
    for subband in range(1, group):
        level = order.level_of(subband, group)
        coarser = order.details(group, level).start
        number, even = subband - coarser, sorted(frames[:coarser])
        moved = lifter.moved(level, number, detail, group)
        for plane in planes:
            sent = plane.unpack(detail[None])[0]
            for n, rows, columns, share in lifter.reached(level, number, len(even), plane):
                there = plane.unpack(moved[even[n]][None])[0]
                last = [size - 1 for size in there.shape]
                inside = (0 < rows) & (rows < last[0]) & (0 < columns) & (columns < last[1])
                assert inside.sum() > 50
                found, expected = there[rows, columns], share * sent
                assert torch.allclose(found[inside], expected[inside], atol=1e-5)
                reached += 1
    assert reached == 3 * sum((level.mode[:, 0, 0] + 1).sum() // 2 for level in motion)


def test_slope_of_rounded_errors():
    """Between two whole numbers it adds up to the difference of their squares."""
    errors = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    found = torch.cumulative_trapezoid(slope(errors), errors)
    whole = found[999::1000]
    assert torch.allclose(whole - whole[-1], errors[1000::1000].square() - 16, atol=1e-3)
    assert torch.equal(slope(errors), -slope(-errors))


def test_branches_of_paths():
    """Those of the best path through each state, each once; the detour is that path."""
    channels, states = 9, 8
    cost = np.random.default_rng(0).exponential(2, (channels, 4)).astype(np.float32)
    after = following(states).astype(np.int64)
    costs = {}  # of all paths, by their states
    for symbols in np.ndindex(*(2,) * channels):
        at, path, total = 0, [0], 0.0
        for c, parity in enumerate(symbols):
            total += float(cost[c, 2 * (at & 1) + parity])
            at = int(after[at, parity])
            path.append(at)
        costs[tuple(path)] = total
    places = {(c, path[c]) for path in costs for c in range(1, channels + 1)}
    through = {
        min((p for p in costs if p[c] == s), key=lambda path: costs[path]) for c, s in places
    }
    best = min(costs, key=lambda path: costs[path])

    reach = np.zeros((channels + 1, states), np.float32)
    beside, to_go = np.zeros((2, *reach.shape), np.float32)
    second, odd = np.zeros((2, *reach.shape), np.uint8)
    ways = after, before_states(after)
    best_ways(cost, *ways, reach, beside, second, to_go, odd)
    dear, where = np.zeros(reach.size, np.float32), np.zeros((reach.size, 3), np.int32)
    count = cheapest_branches(reach, beside, second, to_go, reach.size, dear, where)
    found, of_branches = [], dear[:count].tolist()
    for branch, total in zip(where[:count], of_branches, strict=True):
        whole, path, kinds = np.array(best), np.array(best), np.zeros(channels, np.int64)
        start, end = detour(branch, *ways, second, odd, whole, path, kinds)
        whole[start : end + 1] = path[start : end + 1]
        assert costs[tuple(whole.tolist())] == pytest.approx(total, abs=1e-4)
        assert (kinds[start:end] // 2 == whole[start:end] & 1).all()
        found.append(tuple(whole.tolist()))
    assert len(set(found)) == len(found)
    assert through <= {*found, best}
    cheapest = where[np.sort(np.argsort(of_branches)[:20])]
    assert cheapest_branches(reach, beside, second, to_go, 20, dear, where) == 20
    assert np.array_equal(where[:20], cheapest)


@pytest.mark.parametrize("states", [8, 256])
def test_better_paths(states):
    """They are paths, and cost less where errors of rounded samples count."""
    random = np.random.default_rng(0)
    channels, blocks, worth = 64, 6, 2.0
    basis = np.linalg.qr(random.normal(size=(channels, channels)))[0] * 1.5
    scale = np.repeat(random.integers(10, 20, (channels, 1)), blocks, 1)
    x = random.normal(0, 1, (channels, blocks)) * np.exp2((scale - 16) / 4)
    weight = np.full(x.shape, worth * 1.5**2)
    planes, everywhere = np.zeros(channels, np.int64), np.ones(blocks, bool)
    trellis = Trellis(following(states), x, scale, weight, planes, [0])
    symbols = trellis.symbols(slice(0, channels), everywhere, x, scale, weight)
    coder = SymbolCoder(planes, states)
    parts = coder.start(blocks), slice(None), np.arange(blocks)
    values = coder.follow(*parts, symbols) / 2
    own = (values - x).T @ basis
    gain, spread = np.full(x.shape, 0.8), np.full(x.shape, 0.1)
    others = random.normal(0, 0.2, own.shape)
    # Of the frame, and of one that takes a quarter of what changes in it.
    both = np.stack([own, random.normal(0, 0.5, own.shape)], 1)
    shares = np.array([1, -0.25])[None, :, None].repeat(blocks, 0).repeat(channels, 2)
    errors = BlockErrors(basis, both, shares, gain, others, spread, worth, 1.5**2)

    def cost(found):
        """Bits and errors."""
        state, bits = np.zeros(blocks, np.int64), 0.0
        for c in range(channels):
            magnitude = abs(found[c])
            bits += dependent_costs()[state & 1, scale[c], magnitude].sum()
            state = following(states)[state, magnitude & 1].astype(np.int64)
        step = (coder.follow(coder.start(blocks), *parts[1:], found) / 2 - values).T @ basis
        rounded = np.square(np.rint(both + shares * 0.8 * step[:, None])).sum()
        return bits + worth * (rounded + (others * step + 0.1 * step**2).sum())

    found = better_paths(errors, following(states), x, symbols, scale, 500)
    assert cost(found) < 0.97 * cost(symbols)
    nothing = BlockErrors(basis, 0 * both, shares, gain, 0 * others, spread + 1e3, worth, 1.5**2)
    assert np.array_equal(
        better_paths(nothing, following(states), values, symbols, scale, 100), symbols
    )


def test_errors_follow_the_symbols(tmp_path):
    """What other symbols and means bring into the errors is what they decode to."""
    frames = [crop(frame, 96, 112) for frame in read_frames(DATA / "street_cif.mkv", frames=(0, 4))]
    source, file = write_clip(tmp_path / "in.mkv", frames), tmp_path / "a.innv"
    options = {"preset": "instant", "post_filter": False, "temporal_filter": False}
    innvc.encode(source, file, lambda_=2, **options)
    with Reader(file) as reader:
        parts, packet = (reader.header, reader.segment(0)), reader.packet(0, 0)
        decoder = SegmentDecoder(*parts, reader.parameters(0), torch.device("cpu"), exact=True)
    motion = decoder.motion(packet.motion, 4)
    lifter = decoder.lifting(motion)
    values = decoder.symbols(packet, None).values.double()

    def decoded(values):
        return decoder.synthesis(0, values, motion, packet.intra).frames

    before = decoded(values)
    same = values / 16, before, lambda moved: moved, [1.0] * 3, 10
    refinement = Refinement(decoder, 0, lifter, *same)
    random, shape = np.random.default_rng(0), values.shape[1:]
    changed, coder = values.clone(), decoder.prior.symbols
    for subband in refinement.details:
        symbols = random.integers(-2, 3, shape).astype(np.int32)
        mean, places = random.normal(size=shape), random.random(shape[1:]) < 0.8
        refinement.settle(subband, symbols, mean, places)
        which, steps = np.flatnonzero(places), np.zeros((shape[0], places.size))
        own = symbols.reshape(shape[0], -1)[:, which]
        steps[:, which] = coder.follow(coder.start(places.size), slice(None), which, own) / 2
        changed[subband] = torch.from_numpy(16 * (mean + steps.reshape(shape)))
    assert abs(decoded(changed) - before).max() > 5
    assert torch.allclose(refinement._errors, decoded(changed), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("clip", ["street_cif.mkv", "bunny_cif.mkv"])
def test_a_real_clip_costs_less(tmp_path, call, clip):
    frames = [crop(frame, 144, 176) for frame in read_frames(DATA / clip, frames=(0, 4))]
    source, costs = write_clip(tmp_path / "in.mkv", frames), []
    for paths in (0, 100):
        output = tmp_path / f"{paths}.innv"
        arguments = ("--preset", "instant", "--lambda", 5, "--paths", paths, "--json")
        code, out, err = call("encode", source, "-o", output, *arguments)
        assert code == 0, err
        result = json.loads(out)
        samples = result["width"] * result["height"] * result["frames"]
        error = 255**2 / 10 ** (result["psnr_611"] / 10)
        costs.append(8 * result["bytes"] / samples + 5 * error)
        assert call("verify", output, "--pixels")[0] == 0
    assert costs[1] < 0.998 * costs[0]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gray", "gbrp", "yuv422p", "yuv420p10le"])
def test_formats(tmp_path, pix_fmt):
    """Odd sizes; nothing is refined in RGB and of more than 8 bits."""
    source = make_clip(tmp_path / "in.mkv", pix_fmt, 51, 35, 3)
    files = [tmp_path / f"{paths}.innv" for paths in (0, 20)]
    for paths, file in zip((0, 20), files, strict=True):
        innvc.encode(source, file, preset="instant", lambda_=2, paths=paths, gop=3)
    refined = pix_fmt in ("yuv420p", "gray", "yuv422p")
    assert (files[0].read_bytes() != files[1].read_bytes()) == refined
    with innvc.open(files[1]) as video:
        assert len(list(video)) == 3


def test_a_wrong_number_of_paths(tmp_path):
    source = make_clip(tmp_path / "in.mkv")
    with pytest.raises(UsageError, match="Cannot try -1 paths"):
        innvc.encode(source, tmp_path / "a.innv", paths=-1)
