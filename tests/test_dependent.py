"""Dependent quantisation: its code, the encoder's choice of symbols, and what it is worth."""

import itertools
import json

import numpy as np
import pytest
from helpers import DATA, crop, read_frames, write_clip
from test_entropy import RandomChooser, exact_of, model_of, stirred
from test_format_document import next_state

from innvc.bitstream import tables
from innvc.bitstream.adaptive import AdaptiveTables
from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.dependent import SymbolCoder, following, half_steps, in_steps
from innvc.bitstream.latent import code_packet
from innvc.config import TRELLIS_STATES
from innvc.fit.trellis import Trellis

PLANES = np.array([0, 1, 0, 2, 2, 0, 0, 1, 0])


@pytest.mark.parametrize("states", TRELLIS_STATES)
def test_trellis_of_the_document(states):
    found = following(states)
    documented = [[next_state(s, q, states) for q in (-2, 3)] for s in range(states)]
    assert found.tolist() == documented
    for column in found.T:  # each parity leads to every state once: two paths meet in each
        assert sorted(column) == list(range(states))


def test_distance_of_paths():
    """Least squared distance of paths that part and meet again, in half steps: Ungerboeck's."""
    assert [free_distance(states) for states in TRELLIS_STATES] == [10, 11, 13, 14, 16, 17]


def free_distance(states):
    """By the pairs of states, from pairs that a first symbol parts to pairs of the same state.

    Of two symbols of one quantiser values differ by 0 or 4 half steps where the parity is the same
    and by 2 where it is not; those of two quantisers by 1.
    """
    after = following(states).astype(int)
    least = {tuple(sorted(after[s])): 4 for s in range(states)}
    while True:
        before = dict(least)
        for (s, t), distance in before.items():
            if s == t:
                continue
            for p, q in itertools.product(range(2), repeat=2):
                step = 1 if (s ^ t) & 1 else 4 * (p != q)
                pair = tuple(sorted((after[s, p], after[t, q])))
                least[pair] = min(least.get(pair, 1 << 20), distance + step)
        if least == before:
            return min(d for (s, t), d in least.items() if s == t)


def test_half_steps():
    symbols = np.arange(-3, 4)
    assert half_steps(symbols, 0).tolist() == [-6, -4, -2, 0, 2, 4, 6]
    assert half_steps(symbols, 1).tolist() == [-5, -3, -1, 0, 1, 3, 5]
    assert in_steps(half_steps(symbols, 1), 13).tolist() == [-32, -19, -6, 0, 6, 19, 32]


@pytest.mark.parametrize("planes", [None, PLANES], ids=["independent", "dependent"])
def test_code(planes):
    random = np.random.default_rng(2)
    count, width = len(PLANES), 11
    symbols = random.laplace(0, 3, (count, width)).round().astype(np.int32)
    symbols[4, 5] = 20000  # an escape
    scale = random.integers(0, 64, (count, width + 2))
    places = np.delete(np.arange(width + 2), [0, 5])  # two positions without symbols
    parts = [slice(0, 1), slice(1, 5), slice(5, count)]

    def run(coder, given):
        symbol_coder = SymbolCoder(planes)
        states, adaptive = symbol_coder.start(width + 2), AdaptiveTables(16)
        found = [
            symbol_coder.code(
                coder, states, part, places, scale[part], given and given(part), adaptive
            )
            for part in parts
        ]
        both = [np.concatenate(results) for results in zip(*found, strict=True)]
        return [*both, states]

    encoder = Encoder()
    coded = run(encoder, symbols.__getitem__)
    decoded = run(Decoder(encoder.finish()), None)
    for ours, theirs in zip(coded, decoded, strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(decoded[0], symbols)
    quantisers = 2 * abs(symbols) - abs(decoded[1])
    assert set(np.unique(quantisers)) == ({0} if planes is None else {0, 1})


@pytest.mark.parametrize("group", [1, 5])
def test_packets(group):
    size = (3, 5)
    model = stirred(model_of(reach=2, halves=3))
    exact = exact_of(model, dependent=True)
    coded = code_packet(exact, group, size, None, choose=RandomChooser(1))
    decoded = code_packet(exact, group, size, None, data=coded.coded)
    assert np.array_equal(coded.values, decoded.values)
    assert coded.checksums == decoded.checksums
    part = code_packet(exact, group, size, None, data=[layers[:2] for layers in coded.coded])
    assert part.checksums == coded.checksums[:2]


@pytest.mark.parametrize("number", [8, 256])
def test_the_best_path(number):
    """The costs are those of the best of all symbols, and the symbols chosen have them."""
    random = np.random.default_rng(3)
    planes, width, largest = np.array([0, 0, 1, 0, 1]), 6, 5
    x = random.normal(0, 1.2, (5, width))
    scale = random.integers(14, 24, x.shape)
    weight = random.uniform(1, 8, x.shape)
    bits = [t[len(t) // 2 :] for t in tables.bits()]

    def cost(symbols, k):
        states, total = [0, 0], 0
        for d, q in enumerate(symbols):
            odd = states[planes[d]] % 2
            error = abs(x[d, k]) - (q - odd / 2 * (q > 0))
            total += weight[d, k] * error**2 + bits[64 * (1 + odd) + scale[d, k]][q]
            states[planes[d]] = next_state(states[planes[d]], q, number)
        return total

    parts = [slice(0, 2), slice(2, 5)]
    starts = [part.start for part in parts]
    trellis = Trellis(following(number), x, scale, weight, planes, starts)
    everywhere = np.ones(width, bool)
    symbols = np.concatenate(
        [trellis.symbols(p, everywhere, x[p], scale[p], weight[p]) for p in parts]
    )
    assert abs(symbols).max() <= largest and (np.sign(symbols) * x >= 0).all()
    every = list(itertools.product(range(largest + 1), repeat=len(x)))
    for k in range(width):
        best = min(cost(choice, k) for choice in every)
        assert trellis.costs[k] == pytest.approx(best, rel=1e-5)
        assert cost(abs(symbols[:, k]), k) == pytest.approx(best, rel=1e-5)


@pytest.mark.slow
def test_what_it_is_worth(tmp_path, call):
    """Fewer bits and errors on a real clip; the header says which it is."""
    frames = [
        crop(frame, 144, 176) for frame in read_frames(DATA / "street_cif.mkv", frames=(0, 3))
    ]
    source, costs = write_clip(tmp_path / "in.mkv", frames), []
    for options in ([], ["--no-dependent"]):
        output = tmp_path / f"a{len(costs)}.innv"
        arguments = ("--preset", "instant", "--lambda", 2, "--json", *options)
        result = json.loads(call("encode", source, "-o", output, *arguments)[1])
        samples = result["width"] * result["height"] * result["frames"]
        error = 255**2 / 10 ** (result["psnr_611"] / 10)
        costs.append(8 * result["bytes"] / samples + 2 * error)
        info = json.loads(call("info", output, "--json")[1])
        assert info["model"]["dependent_quantisation"] == (not options)
        assert call("verify", output)[0] == 0
    assert costs[0] < 0.995 * costs[1]
