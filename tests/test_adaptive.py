"""Adaptive tables, and strings that are as short as they can be."""

import itertools

import numpy as np
import pytest
from test_format_document import Adaptive

from innvc.bitstream import tables
from innvc.bitstream.adaptive import AdaptiveTables
from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.table_coder import COUNTED, LONGEST


def skewed(random, count):
    """Symbols that no table of a Gaussian or Laplacian fits: most are 0, the others large."""
    return (random.integers(-9, 10, count) * (random.random(count) < 0.2)).astype(np.int32)


def coded(calls, weight):
    encoder, adaptive = Encoder(), AdaptiveTables(weight)
    for keys, symbols in calls:
        encoder.code(keys, symbols, adaptive)
    return encoder.finish()


@pytest.mark.parametrize("weight", [8, 256])
def test_round_trip(weight):
    random = np.random.default_rng(weight)
    calls = []
    for size in (1, 40, 3, 5000, 700, 0, 2 * COUNTED, 9, 4000):
        keys = random.choice([3, 20, 22, 63, 64 + 20, 128 + 20, 150], size)
        calls.append((keys, skewed(random, size)))
    calls[3][1][7] = 4711  # an escape
    decoder, adaptive = Decoder(coded(calls, weight)), AdaptiveTables(weight)
    for keys, symbols in calls:
        assert np.array_equal(decoder.code(keys, None, adaptive), symbols)
    for key in (3, 20, 150):
        frequencies = adaptive.frequencies(key)
        assert frequencies.sum() == 1 << 24 and frequencies.min() >= 1
        assert not np.array_equal(frequencies, tables.frequencies()[key])
    assert len(tables.frequencies()[63]) > LONGEST
    assert np.array_equal(adaptive.frequencies(63), tables.frequencies()[63])


@pytest.mark.parametrize("weight", [8, 256])
def test_frequencies_of_the_document(weight):
    random = np.random.default_rng(1)
    ours, theirs, encoder = AdaptiveTables(weight), Adaptive(weight), Encoder()
    for size in (1, 1, 2, 3, 30, 31, 500, 2, COUNTED, 3 * COUNTED, 1, 9000):
        for key in (20, 64 + 24):
            symbols = skewed(random, size)
            encoder.code(np.full(size, key), symbols, ours)
            half = len(tables.frequencies()[key]) // 2 - 1
            entries = np.where(abs(symbols) <= half, symbols, half + 1) + half
            theirs[key].count(entries.tolist())
            assert ours.frequencies(key).tolist() == theirs[key].now


def test_a_key_without_a_table_is_refused():
    with pytest.raises(IndexError, match="no table"):
        Encoder().code(np.array([3, tables.COUNT]), np.zeros(2, np.int32))
    with pytest.raises(IndexError, match="no table"):
        Decoder(b"").code(np.array([-1]))


def test_what_tables_do_not_fit_costs_less():
    random = np.random.default_rng(2)
    symbols = skewed(random, 4000)
    calls = [(np.full(100, 20), part) for part in symbols.reshape(-1, 100)]
    fixed = Encoder()
    for keys, part in calls:
        fixed.code(keys, part)
    counts = np.unique(symbols, return_counts=True)[1]
    entropy = -(counts * np.log2(counts / counts.sum())).sum() / 8
    assert entropy < len(coded(calls, 64)) < 1.05 * entropy < 0.9 * len(fixed.finish())


def test_no_shorter_string_decodes_to_the_same():
    random = np.random.default_rng(3)
    lengths = set()
    for count in range(1, 20):
        scale = random.integers(4, 18, count)
        symbols = (random.random(count) < 0.15).astype(np.int32)
        encoder = Encoder()
        encoder.code(scale, symbols)
        data = encoder.finish()
        lengths.add(len(data))
        shorter = itertools.chain.from_iterable(
            itertools.product(range(256), repeat=n) for n in range(min(len(data), 2))
        )
        for other in shorter:
            assert not np.array_equal(Decoder(bytes(other)).code(scale), symbols)
    assert {1, 2, 3} <= lengths
