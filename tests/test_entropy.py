"""Entropy coding: tables, symbol coder, parameters, and latents that only integers decide."""

import hashlib
from decimal import getcontext
from importlib.resources import files

import constriction
import numpy as np
import pytest
import torch

from innvc.bitstream import make_tables, tables
from innvc.bitstream.coder import SYMBOL_LIMIT, Decoder, Encoder
from innvc.bitstream.latent import code_packet
from innvc.bitstream.prior import ExactPrior
from innvc.bitstream.range_coder import PENDING
from innvc.config import ModelConfig, PriorConfig
from innvc.errors import CorruptError, UnsupportedError
from innvc.model import start
from innvc.model import subbands as order
from innvc.model.contexts import VALUE_LIMIT
from innvc.model.model import InnvcModel, SampleLayout


def halves():
    return [len(f) // 2 - 1 for f in tables.frequencies()]


def test_tables_are_the_documented_ones():
    data = files("innvc.bitstream").joinpath("tables.bin").read_bytes()
    assert hashlib.sha256(data).hexdigest() == tables.SHA256
    assert len(tables.frequencies()) == 3 * 64
    for number, frequencies in enumerate(tables.frequencies()):
        assert frequencies.sum() == 1 << 24 and frequencies.min() >= 1
        assert len(frequencies) % 2 == 0
        inside = frequencies[:-1]
        assert np.array_equal(inside, inside[::-1])
        # In dependent quantisation the cell of 0 is narrower than that of 1.
        upper = inside[len(inside) // 2 + (number >= 64) :]
        assert (np.diff(upper.astype(int)) <= 0).all()


@pytest.mark.parametrize("index", [0, 12, 20, 33, 45, 64 + 17, 64 + 40, 128 + 9, 128 + 22])
def test_tables_can_be_made_again(index):
    getcontext().prec = 60
    assert np.array_equal(make_tables.table(index), tables.frequencies()[index])


def test_tables_are_wider_and_wider():
    deviation = []
    for f in tables.frequencies()[:64]:
        half = len(f) // 2 - 1
        symbols = np.arange(-half, half + 1)
        deviation.append(np.sqrt((f[:-1] * symbols**2.0).sum() / f.sum()))
    # Tables 0 and 1 both have the least frequencies only.
    assert all(a < b for a, b in zip(deviation[1:50], deviation[2:50], strict=False))
    # sigma = 2^(i / 4 - 5), mixed with 40 % of 1.6 sigma; the integers add a variance of 1/12.
    expected = [2 ** (i / 4 - 5) * np.sqrt(0.6 + 0.4 * 1.6**2) for i in range(20, 45)]
    found = np.sqrt(np.square(deviation[20:45]) - 1 / 12)
    assert found == pytest.approx(expected, rel=0.01)


def test_coder_round_trip():
    random = np.random.default_rng(1)
    scale = random.integers(0, 64, 20000).astype(np.uint8)
    spread = 2.0 ** (scale / 4 - 5)
    symbols = np.round(random.laplace(0, 1, scale.size) * spread).astype(np.int32)
    encoder = Encoder()
    encoder.integers(6, np.array([5, 63, 0]))
    encoder.code(scale[:7000], symbols[:7000])
    encoder.code(scale[7000:], symbols[7000:])
    data = encoder.finish()
    decoder = Decoder(data)
    assert decoder.integers(6, 3).tolist() == [5, 63, 0]
    assert np.array_equal(decoder.code(scale[:7000]), symbols[:7000])
    assert np.array_equal(decoder.code(scale[7000:]), symbols[7000:])
    # As many bytes as the tables say, but for escapes and the coder's state.
    bits = sum(
        table[symbol + half]
        for index, (table, half) in enumerate(zip(tables.bits(), halves(), strict=True))
        for symbol in symbols[(scale == index) & (abs(symbols) <= half)]
    )
    escapes = sum(abs(symbols) > np.array(halves())[scale])
    assert bits / 8 - 1 <= len(data) <= bits / 8 + 8 * escapes + 16
    assert escapes > 0


def test_the_stream_is_that_of_constriction():
    """Both ways: words, tables and numbers of another implementation."""
    random = np.random.default_rng(5)
    queue, model = constriction.stream.queue, constriction.stream.model
    runs = []
    for index in random.integers(0, 192, 300):
        half = halves()[index]
        size = int(random.integers(1, 50))
        symbols = random.laplace(0, 2.0 ** (index % 64 / 4 - 5), size).round()
        runs.append((index, symbols.clip(-half, half).astype(np.int32)))
    ours, theirs = Encoder(), queue.RangeEncoder()
    for index, symbols in runs:
        ours.code(np.full(len(symbols), index), symbols)
        ours.integers(9, abs(symbols) % 512)
        frequencies = tables.frequencies()[index].astype(np.float64)
        table = model.Categorical(frequencies - 1, perfect=False)
        theirs.encode(symbols + halves()[index], table)
        theirs.encode(abs(symbols) % 512, model.Uniform(512))
    words = theirs.get_compressed()
    data = ours.finish()
    assert 0 <= 4 * len(words) - len(data) < 8
    common = len(data) - 8
    assert words.astype(">u4").tobytes()[:common] == data[:common]
    padded = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
    theirs, ours = queue.RangeDecoder(padded), Decoder(words.astype(">u4").tobytes())
    for index, symbols in runs:
        frequencies = tables.frequencies()[index].astype(np.float64)
        table = model.Categorical(frequencies - 1, perfect=False)
        assert np.array_equal(theirs.decode(table, len(symbols)) - halves()[index], symbols)
        assert np.array_equal(theirs.decode(model.Uniform(512), len(symbols)), abs(symbols) % 512)
        assert np.array_equal(ours.code(np.full(len(symbols), index)), symbols)
        assert np.array_equal(ours.integers(9, len(symbols)), abs(symbols) % 512)


def test_carries_run_through_words_that_wait():
    """Symbols that keep the range around a power of two, so that whole words wait for a carry."""
    for last in (0, 1):
        encoder = Encoder()
        # The upper half of the range, then its lower end: bits 1 0 0 0 ... or 0 1 1 1 ...
        bits = np.array([1 - last, *[last] * 200, last, 1 - last])
        encoder.integers(1, bits)
        encoder.code(np.full(40, 3), np.zeros(40, np.int32))
        decoder = Decoder(encoder.finish())
        assert np.array_equal(decoder.integers(1, len(bits)), bits)
        assert not decoder.code(np.full(40, 3)).any()
    waited = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        symbols = random.integers(-1, 2, 400).astype(np.int32)
        keys = random.choice([0, 1, 63, 20], 400)
        encoder = Encoder()
        for first in range(0, 400, 20):
            part = slice(first, first + 20)
            encoder.code(keys[part], symbols[part])
            waited = max(waited, int(encoder.stream.state[PENDING]))
        decoder = Decoder(encoder.finish())
        for first in range(0, 400, 20):
            part = slice(first, first + 20)
            assert np.array_equal(decoder.code(keys[part]), symbols[part])
    assert waited >= 1


@pytest.mark.parametrize("index", [0, 20, 50, 63])
def test_escapes(index):
    half = halves()[index]
    edge = [half - 1, half, half + 1, half + 2, half + 3, half + 4]
    far = [1000, 65535 + half, 65536 + half, 65537 + half, SYMBOL_LIMIT]
    values = [0, *edge, *far]
    symbols = np.array([*values, *(-v for v in values), 0, 1], dtype=np.int32)
    scale = np.full(len(symbols), index, np.uint8)
    encoder = Encoder()
    encoder.code(scale, symbols)
    assert np.array_equal(Decoder(encoder.finish()).code(scale), symbols)


def test_zeros_cost_nothing_and_no_bytes_are_zeros():
    encoder = Encoder()
    encoder.code(np.zeros(5, np.uint8), np.zeros(5, np.int32))
    data = encoder.finish()
    assert not data.endswith(b"\0") and len(data) <= 4
    assert Decoder(b"").integers(8, 3).tolist() == [0, 0, 0]
    assert Encoder().finish() == b""


def test_random_bytes_never_crash_the_decoder():
    random = np.random.default_rng(2)
    scale = random.integers(0, 64, 500).astype(np.uint8)
    for length in (0, 1, 3, 50, 400):
        for _ in range(5):
            try:
                assert Decoder(random.bytes(length)).code(scale).dtype == np.int32
            except CorruptError:
                pass


def model_of(stages=2, hidden=2, **prior):
    layout = SampleLayout("yuv", 1, 1)
    geometry = start.packed_geometry("yuv", 1, 1, 2)
    groups = start.dct_groups(start.dct_bases(geometry, stages)[1])
    config = ModelConfig(
        stages=stages,
        groups=groups,
        layers=(1, len(groups) - 1 - len(groups) // 2, len(groups) // 2),
        prior=PriorConfig(hidden=hidden, **prior),
    )
    return InnvcModel(config, layout, 0)


@torch.no_grad()
def stirred(model, seed=0, size=0.1):
    """Every parameter of the prior moved, so that each of its parts matters."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.prior.parameters():
        parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return model


def exact_of(model, dependent=False):
    return ExactPrior(model.prior, model.config.layers, model.planes if dependent else None)


class RandomChooser:
    """Symbols of any size, whatever the prior expects; a few far outside of the tables."""

    def __init__(self, seed, size=6.0, far=0.002):
        self.random, self.size, self.far = np.random.default_rng(seed), size, far

    def __call__(self, subband, rows, places, scale, mean):
        symbols = self.random.laplace(0, self.size, tuple(scale.shape))
        far = self.random.random(scale.shape) < self.far
        symbols = np.where(far, symbols * 2000, symbols)
        return symbols.round().clip(-30000, 30000).astype(np.int32)

    def known(self, subband):
        return None

    def skipped(self, subband):
        return None

    def improve(self, subband):
        return False


PRIORS = [
    dict(),
    dict(hidden=0),
    dict(temporal=False),
    dict(energy=False),
    dict(stages=3),
    dict(reach=2, halves=3),
    dict(halves=3, scale_units=2),
]


@pytest.mark.parametrize("group", [1, 2, 8])
@pytest.mark.parametrize("options", PRIORS, ids=str)
def test_latents_decode_to_what_was_coded(options, group):
    size = (3, 5)
    coding = exact_of(stirred(model_of(**options)))
    first = code_packet(coding, group, size, None, choose=RandomChooser(1))
    second = code_packet(coding, group, size, first.low, choose=RandomChooser(2))
    decoding = exact_of(stirred(model_of(**options)))
    a = code_packet(decoding, group, size, None, data=first.coded)
    b = code_packet(decoding, group, size, a.low, data=second.coded)
    for coded, decoded in ((first, a), (second, b)):
        assert torch.equal(coded.values, decoded.values)
        assert coded.checksums == decoded.checksums
        assert torch.equal(coded.low.own, decoded.low.own)
    assert a.values.abs().max() <= VALUE_LIMIT
    if options.get("temporal", True):  # and the context of the packet before is really used
        try:
            blind = code_packet(decoding, group, size, None, data=second.coded)
            assert blind.checksums != second.checksums
        except CorruptError:
            pass


@pytest.mark.parametrize("options", PRIORS, ids=str)
def test_layers_read_no_later_layer(options):
    """The first layers alone decode to the same symbols, in every subband frame."""
    size = (2, 3)
    exact = exact_of(stirred(model_of(**options)))
    before = code_packet(exact, 4, size, None, choose=RandomChooser(4))
    whole = code_packet(exact, 4, size, before.low, choose=RandomChooser(5))
    ends = np.cumsum([0, *exact.network.groups])[np.cumsum([0, *map(len, exact.layers)])]
    for count in range(len(exact.layers) + 1):
        previous = code_packet(exact, 4, size, None, data=[d[:count] for d in before.coded])
        part = code_packet(exact, 4, size, previous.low, data=[d[:count] for d in whole.coded])
        assert part.checksums == whole.checksums[:count]
        end = ends[count]
        assert torch.equal(part.values[:, :end], whole.values[:, :end])
        assert not part.values[:, end:].any()
    low = code_packet(exact, 4, size, before.low, data=whole.coded, subbands=1)
    assert torch.equal(low.low.value, whole.low.value)


def test_symbols_do_not_depend_on_threads_or_float_modes():
    exact = exact_of(stirred(model_of()))
    packet = code_packet(exact, 4, (9, 11), None, choose=RandomChooser(6))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        again = code_packet(exact, 4, (9, 11), None, data=packet.coded)
    finally:
        torch.set_num_threads(threads)
    assert again.checksums == packet.checksums


@pytest.mark.parametrize("options", PRIORS, ids=str)
def test_coding_group_by_group_is_the_prior_of_the_whole_frame(options):
    """The sums are the same integers, on values of any size, with step offsets."""
    size, group = (4, 5), 4
    exact = exact_of(stirred(model_of(**options), size=0.5))
    random = np.random.default_rng(7)
    offsets = random.integers(-4, 9, size).astype(np.int32)
    shape = group, exact.channels, *size
    indexes, means = np.zeros(shape), np.zeros(shape)

    class Choice(RandomChooser):
        def __call__(self, subband, rows, places, scale, mean):
            indexes[subband, rows][:, places] = scale[:, places]
            means[subband, rows][:, places] = mean[:, places]
            return super().__call__(subband, rows, places, scale, mean)

    before = exact.network.context(
        torch.from_numpy(random.integers(-90, 90, shape[1:])[None] * 1.0)
    )
    packet = code_packet(exact, group, size, before, offsets=offsets, choose=Choice(7, size=500))
    contexts = [exact.network.context(value[None]) for value in packet.values.double()]
    none = exact.empty(size)
    for j in range(group):
        parent, sibling = order.parent_of(j, group), order.sibling_of(j, group)
        scale, mean = exact.network(
            exact.weights,
            slice(0, exact.channels),
            torch.tensor([order.parameter_level(j, group)]),
            contexts[j],
            none if parent is None else contexts[parent],
            contexts[sibling] if sibling is not None else none if j else before,
            contexts[0] if j else none,
        )
        scale = (scale[0].numpy() + (0 if j else offsets)).clip(0, 63)
        assert np.array_equal(indexes[j], scale) and np.array_equal(means[j], mean[0].numpy())
    assert len(np.unique(indexes)) > 5 and abs(means).max() <= VALUE_LIMIT


@torch.no_grad()
def test_weights_too_large_to_be_exact_are_refused():
    model = model_of()
    model.prior.predict_mean.fill_(2.0**30)
    with pytest.raises(UnsupportedError):
        exact_of(model)
