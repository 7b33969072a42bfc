"""A second decoder of symbols, parameters and start values, written from docs/format.md alone.

Plain integers of Python, no compiled code and no network: sections 9 to 13.
"""

import bisect
import io
import itertools
import re
import zlib
from importlib.resources import files
from math import exp, isqrt
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import make_clip, make_frames, write_clip

import innvc
from innvc import encoder
from innvc.bitstream import parameters
from innvc.bitstream.grids import CodedGrid
from innvc.bitstream.reader import Reader
from innvc.bitstream.tables import SHA256, frequencies
from innvc.bitstream.weights import Axes, CodedTensor
from innvc.config import PriorConfig
from innvc.decoder import SegmentDecoder
from innvc.encoder import SegmentEncoder
from innvc.fit.parameters import ParameterQuantiser
from innvc.model.model import InnvcModel, SampleLayout, kind_of
from innvc.model.parameter_layout import block_counts, matrix_of

DOCUMENT = (Path(__file__).parents[1] / "docs" / "format.md").read_text()
BITS64 = (1 << 64) - 1
LIMIT = (1 << 19) - 1
TABLES = [[int(f) for f in table] for table in frequencies()]


class RangeDecoder:
    """Section 10, "Range coder" and "Symbol coder"."""

    def __init__(self, data):
        data = bytes(data) + bytes(-len(data) % 4)
        self.words = iter([int.from_bytes(data[i : i + 4], "big") for i in range(0, len(data), 4)])
        self.lower, self.range = 0, BITS64
        self.point = self.word() << 32
        self.point |= self.word()

    def word(self):
        return next(self.words, 0)

    def find(self, position):
        scale = self.range >> 24
        t = ((self.point - self.lower) & BITS64) // scale
        assert t < 1 << 24
        symbol, first, frequency = position(t)
        self.lower = (self.lower + scale * first) & BITS64
        self.range = scale * frequency
        if self.range < 1 << 32:
            self.lower = self.lower << 32 & BITS64
            self.range <<= 32
            self.point = (self.point << 32 & BITS64) | self.word()
        return symbol

    def number(self, bits):
        if bits > 16:
            return self.number(bits - 16) << 16 | self.number(16)
        width = 24 - bits
        return self.find(lambda t: (t >> width, t >> width << width, 1 << width)) if bits else 0

    def entry(self, frequencies):
        def position(t):
            starts = [0, *itertools.accumulate(frequencies)]
            i = bisect.bisect_right(starts, t) - 1
            return i, starts[i], frequencies[i]

        return self.find(position)

    def flag(self, k):
        one = 2**24 * step(k) // (step(k) + step(63 - k))
        zero = 2**24 - one
        return self.find(lambda t: (1, zero, one) if t >= zero else (0, 0, zero))

    def call(self, keys, adaptive=None):
        found = [0] * len(keys)
        for key in sorted(set(keys)):
            places = [i for i, other in enumerate(keys) if other == key]
            table = TABLES[key]
            half = len(table) // 2 - 1
            for i in places:
                found[i] = self.entry(adaptive[key].now if adaptive else table) - half
            if adaptive:
                adaptive[key].count([found[i] + half for i in places])
            for i in places:
                if found[i] == half + 1:
                    n = self.number(5)
                    negative = self.number(1)
                    size = (1 << n | self.number(n)) + half
                    found[i] = -size if negative else size
        return found


class Adaptive(dict):
    """Section 10, "Adaptive tables": a set of them."""

    def __init__(self, w):
        self.w = w

    def __missing__(self, key):
        self[key] = AdaptiveTable(TABLES[key], self.w)
        return self[key]

    def __bool__(self):
        return True


class AdaptiveTable:
    def __init__(self, table, w):
        self.table, self.now, self.w = table, table, w
        self.x, self.n, self.d = [0] * len(table), 0, w // 8

    def count(self, entries):
        for i in entries:
            self.x[i] += 1
        self.n += len(entries)
        if self.n < self.d or len(self.table) > 256:
            return
        while self.n >= 2**15:
            self.x = [x // 2 for x in self.x]
            self.n = sum(self.x)
        w, n = self.w, self.n
        pairs = zip(self.table, self.x, strict=True)
        self.now = [max(1, (w * f + 2**24 * x) // (w + n)) for f, x in pairs]
        self.now[self.now.index(max(self.now))] += 2**24 - sum(self.now)
        self.d = n + (w + n) // 8


def step(index):
    """S(k) x 2^-20 of section 9, "Steps and vectors"."""
    k = min(max(int(index), 0), 63)
    size = int(2 ** ((k + 20) / 4))
    while (2 * size + 1) ** 4 <= 2 ** (k + 24):
        size += 1
    return size


def read_vector(coder, n):
    """Section 9, "Steps and vectors"."""
    if not coder.number(1):
        return [0] * n
    running, shift = coder.number(1), coder.number(3)
    mean, table = coder.number(8) - 128, coder.number(6)
    symbols = coder.call([table] * n)
    if running:
        symbols = list(itertools.accumulate(symbols))
    return [(mean + symbol) * 2**shift for symbol in symbols]


def table(index):
    return min(max(index, 0), 63)


def places(name, shape, chosen):
    """Rows, columns, and those of each coded element: section 9, "Code of a tensor"."""
    if name.endswith(".skew"):
        c = next(c for c in range(1, 10000) if c * (c - 1) // 2 == shape[0])
        return c, c, [(i, j) for i in range(c) for j in range(i + 1, c)]
    last = name.startswith("prior.") and not name.startswith("prior.hidden")
    n, rows = int(np.prod(shape)), int(np.prod(shape[: 1 + (name == "filter.middle")]))
    columns = n if len(shape) == 1 else shape[-1] if last else n // rows
    every = [divmod(i, columns) for i in range(n)]
    return n // columns, columns, [every[i] for i in np.flatnonzero(chosen)]


def read_elements(coder, first, second):
    """Symbols, or signs and magnitudes."""
    values = coder.call(first)
    if second is None:
        return values
    signs = [(v > 0) - (v < 0) for v in values]
    rest = coder.call([t for sign, t in zip(signs, second, strict=True) if sign])
    magnitudes = iter([2 * r + 1 if r >= 0 else -2 * r for r in rest])
    return [sign * next(magnitudes) if sign else 0 for sign in signs]


def read_tensor(coder, rows, columns, where):
    """Section 9, "Code of a tensor": differences of the elements at `where`."""
    if not coder.number(1):
        return np.zeros(len(where))
    k, split, a = coder.number(6), coder.number(1), coder.number(6)
    b = coder.number(6) if split else None
    if coder.number(1):
        p, q, f, g = (read_vector(coder, n) for n in (rows, columns, rows, columns))
    else:
        p, q, f, g = [0] * rows, [0] * columns, [0] * rows, [0] * columns
    offsets = [f[i] + g[j] - p[i] - q[j] for i, j in where]
    first = [table(a + offset) for offset in offsets]
    second = [table(b + offset) for offset in offsets] if split else None
    values = read_elements(coder, first, second)
    steps = [step(k + p[i] + q[j]) for i, j in where]
    return np.array([v * s / 2**20 for v, s in zip(values, steps, strict=True)])


def read_grids(coder, shapes):
    """Section 9, "Code of the grids": differences of each level."""
    levels, coarser = [], None
    for shape in reversed(shapes):
        value = read_level(coder, shape, coarser)
        levels.insert(0, value.astype(np.float64) / 2**20)
        coarser = value
    return levels


def read_level(coder, shape, coarser):
    channels, length, height, width = shape
    value = np.zeros(shape, dtype=object)
    if not coder.number(1):
        return value
    k, a = coder.number(6), coder.number(6)
    e = coder.number(7) - 64 if coder.number(1) else None
    blocks = (channels, -(-length // 16), -(-height // 8), -(-width // 8))
    offsets = np.array(read_vector(coder, int(np.prod(blocks)))).reshape(blocks)
    f = read_vector(coder, channels)
    change = iter(read_vector(coder, 112))
    bias = [next(change) for _ in range(8)]
    log_weight = [[s + next(change) for s in (64, 64, 80, 40)] for _ in range(8)]
    mean_weight = [[next(change) for _ in range(3)] for _ in range(8)]
    key = zlib.crc32(b"grid_prior.hidden")
    raw = [r for block in range(8) for r in philox(key, block + 1)]
    start = iter([((r >> 32) * 1025 >> 32) - 512 for r in raw])
    hidden = [[next(start) + next(change) for _ in range(4)] for _ in range(8)]
    hidden_bias = [next(change) for _ in range(8)]
    output = [next(change) for _ in range(8)]

    def at(t, y, x, c):
        if 0 <= t < length and 0 <= y < height and 0 <= x < width:
            return min(max(value[c, t, y, x], -(2**24)), 2**24)
        return 0

    for turn, (first, stride) in enumerate([(0, 8), (4, 8), (2, 4), (1, 2)]):
        for odd in (0, 1):
            places = [
                (c, t, y, x)
                for c in range(channels)
                for t in range(first, length, stride)
                for y in range(height)
                for x in range(width)
                if (y + x) % 2 == odd
            ]
            indexes, means, sizes = [], [], []
            for c, t, y, x in places:
                size = step(k + offsets[c, t // 16, y // 8, x // 8])

                def sixteenth(amount, divisor=1, size=size):
                    return min(max(16 * amount // (divisor * size), -LIMIT), LIMIT)

                d = stride // 2
                before, after = (at(t - d, y, x, c), at(t + d, y, x, c)) if turn else (0, 0)
                near = [at(t, y + i, x + j, c) for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1))]
                near = near if odd else [0]
                coarse = 0
                if coarser is not None:
                    size_of = coarser.shape
                    u = [min(i // 2, n - 1) for i, n in zip((t, y, x), size_of[1:], strict=True)]
                    coarse = sum(min(abs(v), 2**24) for v in coarser[:, *u]) // size_of[0]
                logs = [
                    log(sixteenth(abs(before))),
                    log(sixteenth(abs(after))),
                    log(sixteenth(sum(map(abs, near)), 4)),
                    log(sixteenth(coarse)),
                ]
                values = [sixteenth(before), sixteenth(after), sixteenth(sum(near), 4)]
                p = 2 * turn + odd
                total = bias[p] + sum(m * n for m, n in zip(log_weight[p], logs, strict=True))
                for i in range(8):
                    inner = hidden_bias[i] + sum(
                        m * n for m, n in zip(hidden[i], logs, strict=True)
                    )
                    total += output[i] * min(max(0, inner) // 1024, 32767)
                indexes.append(table(a + f[c] + total // 1024))
                mean = sum(m * n for m, n in zip(mean_weight[p], values, strict=True))
                means.append((mean + 8192) // 16384)
                sizes.append(size)
            further = None if e is None else [table(index + e) for index in indexes]
            symbols = read_elements(coder, indexes, further)
            for place, symbol, mean, size in zip(places, symbols, means, sizes, strict=True):
                value[place] = (symbol + mean) * size
    return value


TRAINED = PriorConfig(reach=6, halves=12, intra=(512, 192), scale_units=8)
MATRICES = {
    f"prior.{name}"
    for name in ("spectral", "surround", "predict_mean", "reach", "half_scale", "half_mean")
}
THRESHOLDS = []
for k in range(1, 129):
    x = int(8 * 2 ** (k / 8)) - 2
    while x**8 < 8**8 * 2**k:
        x += 1
    THRESHOLDS.append(x)


def log(a):
    return int(np.searchsorted(THRESHOLDS, a + 8, "right"))


class Plane:
    """Value, own and around of one channel of a subband frame."""

    def __init__(self, values):
        self.v = values
        height, width = values.shape
        self.own = np.array([[log(abs(int(v))) for v in row] for row in values])
        wide = np.zeros((height + 2, width + 2), dtype=object)
        wide[1:-1, 1:-1] = abs(values)
        self.around = np.zeros((height, width), dtype=object)
        for y in range(height):
            for x in range(width):
                total = sum(wide[y : y + 3, x : x + 3].ravel().tolist()) - wide[y + 1, x + 1]
                self.around[y, x] = log(int(total) // 8)


def neighbours(values):
    """Above, below, left, right; zero outside."""
    height, width = values.shape
    wide = np.zeros((height + 2, width + 2), dtype=object)
    wide[1:-1, 1:-1] = values
    return wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]


class Prior:
    """Section 12."""

    def __init__(self, parameters, groups, layers, step_base, reach=0, halves=0):
        for name, value in parameters.items():
            integers = np.floor(1024 * value.astype(np.float64) + 0.5)
            setattr(self, name, np.array(integers.astype(np.int64), dtype=object))
        self.groups, self.step_base = groups, step_base
        self.first = {"reach": sum(groups[:reach]), "halves": sum(groups[:halves])}
        self.group_of = [g for g, n in enumerate(groups) for _ in range(n)]
        self.layer_of = [k for k, n in enumerate(layers) for _ in range(n)]

    def units(self, g, level, frame, parent, sibling, low, size):
        """Those of group g [units, positions]."""
        count = self.scale_enter.shape[0] // len(self.groups)
        own = sum(self.groups[:g])
        others = sum(
            n for n, k in zip(self.groups, self.layer_of, strict=True) if k <= self.layer_of[g]
        )
        mine = slice(g * count, (g + 1) * count)
        sums = np.repeat(self.scale_bias[level, mine, None].astype(np.int64), np.prod(size), 1)
        for k, (planes, seen) in enumerate(
            [(frame, own), (parent, others), (sibling, others), (low, others)]
        ):
            if planes is not None and seen:
                for n, name in enumerate(("own", "around")):
                    logs = np.array([getattr(p, name).ravel() for p in planes[:seen]], np.int64)
                    sums += self.scale_enter[mine, 2 * k + n, :seen].astype(np.int64) @ logs
        return np.minimum(np.maximum(sums, 0) // 16, 32767).astype(object)

    def __call__(self, d, level, frame, parent, sibling, size, elements=(), units=None):
        p, g = self, self.group_of[d]
        c = slice(0, sum(self.groups[:g]))
        s = p.base[d] + p.base_level[level] + p.base_detail[level, d]
        s = np.full(size, s - p.step_base * p.base_slope[level, d], dtype=object)
        m = np.zeros(size, dtype=object)
        for i, other in enumerate(frame[c]):
            s += p.spectral[d, i] * other.own + p.surround[d, i] * other.around
            m += p.predict_mean[d, i] * other.v
        for i, other in enumerate((parent, sibling)):
            if other is not None:
                s += p.temporal[level, 2 * i, d] * other[d].own
                s += p.temporal[level, 2 * i + 1, d] * other[d].around
                m += p.temporal_mean[level, i, d] * other[d].v
        for f, a in enumerate(elements):
            s += p.grid_scale[d, f] * np.vectorize(lambda n: log(abs(int(n))))(a)
            m += p.grid_mean[d, f] * a
        sources = frame[: min(c.stop, self.first["reach"])]
        for i, other in enumerate(sources):
            m += sum(p.reach[a, d, i] * v for a, v in enumerate(neighbours(other.v)))
        if d < self.first["halves"]:
            odd = np.indices(size).sum(0) % 2
            s += odd * p.half_base[d]
            for i, other in enumerate(frame):
                four = neighbours(other.v)
                total = np.sum([abs(v) for v in four], 0)
                s += odd * p.half_scale[d, i] * np.vectorize(lambda n: log(int(n) // 4))(total)
                m += odd * sum(p.half_mean[a, d, i] * v for a, v in enumerate(four))
        if units is not None:
            s += (p.scale_leave[d, : len(units)] @ units // 64).reshape(size)
        index = np.clip(s // 1024, 0, 63)
        return index, np.clip((m + 512) // 1024, -LIMIT, LIMIT)


NEXT = {0: (0, 2), 1: (5, 7), 2: (1, 3), 3: (6, 4), 4: (2, 0), 5: (4, 6), 6: (3, 1), 7: (7, 5)}
TRELLISES = {16: (9, 2), 32: (18, 4), 64: (33, 10), 128: (78, 43), 256: (166, 121)}


def next_state(state, q, states):
    """Section 10, "Dependent quantisation": the state after symbol q in a trellis of `states`."""
    if states == 8:
        return NEXT[state][q % 2]
    a, b = TRELLISES[states]
    return state // 2 ^ (a if state % 2 else 0) ^ (b if (state + q) % 2 else 0)


def read_dependent(coder, adaptive, tables, planes, states, count):
    """Section 10, "Dependent quantisation": symbols and half steps [channel][position]."""
    rows, columns = len(tables), len(tables[0])
    symbols, half = np.zeros((2, rows, columns), dtype=object)
    rank = [planes[:d].count(p) for d, p in enumerate(planes)]
    for n in range(max(rank) + 1):
        now = [d for d in range(rows) if rank[d] == n]
        where = [(d, k) for d in now for k in range(columns)]
        odd = [states[planes[d]][k] % 2 for d, k in where]
        indexes = [int(tables[d][k]) + 64 * (1 + o) for (d, k), o in zip(where, odd, strict=True)]
        for (d, k), o, q in zip(where, odd, coder.call(indexes, adaptive), strict=True):
            symbols[d, k], half[d, k] = q, 2 * q - o * ((q > 0) - (q < 0))
            states[planes[d]][k] = next_state(states[planes[d]][k], q, count)
    return symbols, half


STEPS = {-4: 32, -3: 27, -2: 23, -1: 19, 0: 16, 1: 13, 2: 11, 3: 10, 4: 8, 5: 7, 6: 6, 7: 5, 8: 4}


def read_step_offsets(data, rows, columns):
    """Section 10, "Step offsets"."""
    k = np.zeros((rows + 1, columns + 1), int)  # zeros above and to the left
    if data:
        coder = RangeDecoder(data)
        tables = [coder.number(6), coder.number(6)]
        for n in range(2 * rows + columns):
            places = [(i, n - 2 * i) for i in range(rows) if 0 <= n - 2 * i < columns]
            near = [(k[i + 1, j], k[i, j + 1], k[i, j]) for i, j in places]
            symbols = coder.call([tables[len(set(three)) > 1] for three in near]) if near else []
            for (i, j), (a, b, c), q in zip(places, near, symbols, strict=True):
                k[i + 1, j + 1] = q + sorted((a + b - c, a, b))[1]
    return k[1:, 1:]


ANGLES = [26, 21, 17, 13, 9, 5, 2, 0, -2, -5, -9, -13, -17, -21, -26]
ANGLES += [-32, -26, -21, -17, -13, -9, -5, -2, 0, 2, 5, 9, 13, 17, 21, 26, 32]


def from_side(direction, s):
    """Section 15: samples [N, N] from those of four neighbours [4, N, N]."""
    size = len(s[0])
    left = [s[0][min(i, size - 1)][-1] for i in range(2 * size)]
    above = [*s[1][-1], *s[3][-1]]
    main, side = (left, above) if direction < 15 else (above, left)
    angle = ANGLES[direction]

    def of(samples, i):
        return s[2][-1][-1] if i < 0 else samples[min(i, 2 * size - 1)]

    def ref(i):
        return of(main, i - 1) if i >= 0 else of(side, (i * round(8192 / angle) + 128) // 256 - 1)

    result = np.zeros((size, size))
    for y, x in itertools.product(range(size), range(size)):
        i, f = divmod((y + 1) * angle, 32)
        sample = (32 - f) / 32 * ref(x + i + 1) + (f / 32 * ref(x + i + 2) if f else 0)
        result[(x, y) if direction < 15 else (y, x)] = sample
    return result


def directional_means(channels):
    """Section 15: for each square plane its coefficients, and M of each direction."""
    found = []
    for plane in sorted({p for p, _, _ in channels}):
        places = [e for e, c in enumerate(channels) if c[0] == plane]
        size = 1 + max(channels[e][1] for e in places)
        if size != 1 + max(channels[e][2] for e in places):
            continue
        dct = block_dct([(0, v, h) for v in range(size) for h in range(size)])[0]
        order = [size * channels[e][1] + channels[e][2] for e in places]
        waves = dct[order].reshape(-1, size, size)
        matrices = np.zeros((32, len(places), 4 * len(places)), dtype=object)
        for direction, a, e in itertools.product(range(32), range(4), range(len(places))):
            samples = np.zeros((4, size, size))
            samples[a] = waves[e]
            t = waves.reshape(len(places), -1) @ from_side(direction, samples).ravel()
            column = np.floor(1024 * t + 0.5 + 2.0**-20).astype(np.int64)
            matrices[direction, :, a * len(places) + e] = column
        found.append((places, matrices))
    return found


def read_flags(coder, counts, cells, classes):
    """Section 10, "Skipped positions": flags of cells, by the counts [z, o] of their classes."""
    flags, odds = {}, []
    for number in classes:
        zeros, ones = counts[number]
        odds.append(min(max((2**32 * ones**2 // zeros**2).bit_length() - 1, 0), 63))
    for level in sorted(set(odds)):
        for cell, k in zip(cells, odds, strict=True):
            if k == level:
                flags[cell] = coder.flag(k)
    for cell, number in zip(cells, classes, strict=True):
        counts[number][flags[cell]] += 1
    return flags


def read_directions(coder, counts, there, n, rows, columns):
    """Section 15: the directions of a wavefront's blocks, into `there` (None is none)."""

    def step(blocks, number):
        return read_flags(coder, counts, blocks, [number(b) for b in blocks])

    def left(b):
        return there[b[0], b[1] - 1]

    def above(b):
        return there[b[0] - 1, b[1]]

    def expected(b):
        return above(b) if left(b) is None else left(b)

    blocks = [(r, n - 2 * r) for r in range(1, rows) if 1 <= n - 2 * r < columns]
    some = step(blocks, lambda b: (left(b) is not None) + (above(b) is not None))
    blocks = [b for b in blocks if some[b]]
    for number, other in ((3, left), (4, above)):
        asked = [b for b in blocks if there[b] is None and other(b) is not None]
        asked = [b for b in asked if number == 3 or above(b) != left(b)]
        for b, flag in step(asked, lambda b, number=number: number).items():
            there[b] = other(b) if flag else None
    asked = [b for b in blocks if there[b] is None and expected(b) is not None]
    beside = [b for b, flag in step(asked, lambda b: 5).items() if flag]
    for b, flag in step([b for b in asked if b in beside], lambda b: 6).items():
        there[b] = (expected(b) + (1 if flag else -1)) % 32
    upper = {b: 0 for b in blocks if there[b] is None}
    for bit in range(4, -1, -1):
        flags = step(list(upper), lambda b, bit=bit, u=upper: 7 + 2 ** (4 - bit) + u[b])
        upper = {b: 2 * upper[b] + flags[b] for b in upper}
    for b, direction in upper.items():
        there[b] = direction


class Intra:
    """Section 15."""

    def __init__(self, parameters, channels, step_base, directions=True):
        self.directions = directional_means(channels) if directions else None
        for name, value in parameters.items():
            integers = np.floor(1024 * value.astype(np.float64) + 0.5).astype(np.int64)
            shape = (len(value), -1) if value.ndim == 3 else value.shape
            setattr(self, name, integers.reshape(shape).astype(object))
        self.channels, self.step_base = channels, step_base
        keys = [sum(c) for c in channels]
        self.groups = [[e for e, k in enumerate(keys) if k == key] for key in sorted(set(keys))]

    def from_neighbours(self, near, seen, there):
        """m and s of a block: values and differences [4, E] of its neighbours."""
        flat = [e for e, (_, v, h) in enumerate(self.channels) if v == h == 0]
        sides = [near[a] for a in (0, 1) if there[a]]
        x, average = near.copy(), np.zeros(len(self.channels), dtype=object)
        for e in flat:
            average[e] = sum(side[e] for side in sides) // max(1, len(sides))
            for a in range(4):
                x[a, e] -= average[e] if there[a] else 0
        x = x.ravel()
        f = np.array([min(max(0, n) >> 12, 2**24 - 1) for n in self.enter @ x], dtype=object)
        g = f + (self.middle @ f) // 2**16
        g = np.array([min(max(0, n), 2**24 - 1) for n in g], dtype=object)
        m = (self.linear @ x + self.leave @ g + 2**15) // 2**16 + average
        u = np.array(
            [log(min(abs(n), LIMIT)) for n in [*near.ravel(), *seen.ravel()]], dtype=object
        )
        w = np.array([max(0, n) // 1024 for n in self.scale_enter @ u + self.scale_bias])
        s = self.scale_leave @ np.minimum(w, 2**15 - 1) + self.scale_linear @ u
        s += self.scale_hidden @ np.array([log(n // 32) for n in g], dtype=object)
        absent = np.array([not t for t in there], dtype=int).astype(object)
        s += 64 * (self.base - self.step_base * self.slope + self.absent @ absent)
        return np.clip(m, -LIMIT, LIMIT), s

    def decode(self, coder, offsets):
        """Values [E, rows, columns], and all symbols."""
        rows, columns = (2 * n for n in offsets.shape)
        count = len(self.channels)
        value, difference = np.zeros((2, count, rows, columns), dtype=object)
        beside = [(0, -1), (-1, 0), (-1, -1), (-1, 1)]
        found, counts = [], np.ones((7 + 32, 2), int).tolist()
        adaptive = Adaptive(512)
        directions = self.seen = np.full((rows, columns), None)
        for n in range(2 * rows + columns):
            blocks = [(r, n - 2 * r) for r in range(rows) if 0 <= n - 2 * r < columns]
            if self.directions is not None:
                read_directions(coder, counts, directions, n, rows, columns)
            given = []
            for r, k in blocks:
                near, seen = np.zeros((2, 4, count), dtype=object)
                there = [0 <= r + y and 0 <= k + x < columns for y, x in beside]
                for a, (y, x) in enumerate(beside):
                    if there[a]:
                        near[a], seen[a] = value[:, r + y, k + x], difference[:, r + y, k + x]
                m, scales = self.from_neighbours(near, seen, there)
                for places, matrices in self.directions or []:
                    if directions[r, k] is not None:
                        m[places] = (
                            matrices[directions[r, k]] @ near[:, places].ravel() + 512
                        ) // 1024
                given.append((np.clip(m, -LIMIT, LIMIT), scales))
            for group in self.groups if blocks else []:
                before, tables, means = slice(0, group[0]), [], []
                for d in group:
                    for (r, k), (m, s) in zip(blocks, given, strict=True):
                        delta = difference[before, r, k]
                        logs = [log(min(abs(v), LIMIT)) for v in delta]
                        scale = s[d] + sum(self.scale_within[d, before] * logs)
                        index = min(max(scale // 2**16, 0), 63) + offsets[r // 2, k // 2]
                        tables.append(min(max(index, 0), 63))
                        mean = m[d] + (sum(self.within[d, before] * delta) + 2**15) // 2**16
                        means.append(min(max(mean, -LIMIT), LIMIT))
                symbols = coder.call(tables, adaptive)
                found += symbols
                where = [(d, r, k, m[d]) for d in group for (r, k), (m, _) in
                         zip(blocks, given, strict=True)]  # fmt: skip
                for (d, r, k, m), q, mean in zip(where, symbols, means, strict=True):
                    step = STEPS[offsets[r // 2, k // 2]]
                    value[d, r, k] = min(max(step * q + mean, -LIMIT), LIMIT)
                    difference[d, r, k] = value[d, r, k] - m
        return value, found


def halved(channels, half):
    """Section 15: [E][2][2] the latent's channel of each coefficient."""
    place = {c: i for i, c in enumerate(channels)}
    return [[[place[p, 2 * v + y, 2 * h + x] for x in (0, 1)] for y in (0, 1)] for p, v, h in half]


def half_to_whole(channels, half):
    """Section 15: T / 1024 before it is rounded, by the latents that one coefficient each makes."""
    matrix, places, sides = block_dct(channels)
    small, small_places, small_sides = block_dct(half)
    index = {place: i for i, place in enumerate(places)}
    result = np.zeros((len(channels),) * 2)
    for e, row in enumerate(halved(channels, half)):
        for y, x in itertools.product((0, 1), (0, 1)):
            picture = np.zeros(len(places))
            for i, (p, v, h) in enumerate(small_places):
                n = small_sides[p]
                picture[index[p, n * y + v, n * x + h]] = small[e, i]
            result[:, row[y][x]] = matrix @ picture
    return result


def read_skips(coder, counts, parent, sibling):
    """Section 10, "Skipped positions"."""
    rows, columns = parent.shape
    flags = np.zeros((rows, columns), int)
    for n in range(2 * rows + columns):
        cells = [(r, n - 2 * r) for r in range(rows) if 0 <= n - 2 * r < columns]
        classes = [
            int((k and flags[r, k - 1]) + (r and flags[r - 1, k]))
            + 3 * parent[r, k]
            + 6 * sibling[r, k]
            for r, k in cells
        ]
        for cell, flag in read_flags(coder, counts, cells, classes).items():
            flags[cell] = flag
    return flags


def decode_packet(
    prior, layers, packet, size, before, intra=None, whole=None, count=None, trellis=8
):
    """Section 10: values [frame][channel] of `count` frames, and the checksums of the layers."""
    frames, sums, skips, counts = [], [0] * len(layers), [], [[1, 1] for _ in range(12)]
    groups = np.cumsum([0, *prior.groups]).tolist()
    c = [packet.subbands]
    while c[-1] > 1:
        c.append(1 if c[-1] == 3 else -(-c[-1] // 2))
    offsets = read_step_offsets(packet.step_offsets, *size)
    adaptive = [Adaptive(256) for _ in layers]
    strings = iter(packet.strings(len(layers)))
    for j in range(count or packet.subbands):
        if j == 0 or j in c:  # a level begins
            coders = [RangeDecoder(string) for string in next(strings)]
        if j == 0 and packet.intra:
            coder = coders[0]
            blocks, symbols = intra.decode(coder, offsets)
            sums[0] = zlib.crc32(np.array(symbols, "<i4").tobytes(), sums[0])
            low = np.zeros((sum(prior.groups), *size), dtype=object)
            for e, row in enumerate(halved(*whole)):
                for y, x in itertools.product((0, 1), (0, 1)):
                    low[row[y][x]] = blocks[e, y::2, x::2]
            exact = 1024 * half_to_whole(*whole)
            assert abs(exact - np.floor(exact) - 0.5).min() > 1e-9
            rounded = np.floor(exact + 0.5).astype(int).astype(object)
            latent = (np.tensordot(rounded, low, 1) + 512) // 1024
            frames.append([Plane(v) for v in np.clip(latent, -LIMIT, LIMIT)])
            skips.append(np.zeros(size, int))
            continue
        level = next((n for n in range(len(c) - 1, 0, -1) if c[n] <= j < c[n - 1]), 0)
        predicted = level == 0 and packet.prediction is not None
        if level == 0:
            parent, sibling = None, None if predicted else before
        else:
            sibling = frames[j - 1] if j > c[level] else None
            inner = level < len(c) - 1 and min(
                c[level + 1] + (j - c[level] + (c[level] == 3)) // 2, c[level] - 1
            )
            parent = frames[inner or 0]
        frame, group, units = [], 0, None
        upper = np.zeros(size, int) if level == 0 else skips[inner or 0]
        side = skips[j - 1] if level and j > c[level] else np.zeros(size, int)
        skip = read_skips(coders[0], counts, upper, side)
        sums[0] = zlib.crc32(skip.astype("u1").tobytes(), sums[0])
        skips.append(skip)
        kept = skip == 0
        states = {p: np.zeros(size, int) for p, _, _ in whole[0]}
        for k, count in enumerate(layers):
            coder = coders[k]
            for g in range(group, group + count):
                channels = range(groups[g], groups[g + 1])
                odd = np.indices(size).sum(0) % 2 == 1
                two = channels.stop <= prior.first["halves"]
                values = np.zeros((len(channels), *size), dtype=object)
                at = 4 if predicted else min(level, 4)
                if hasattr(prior, "scale_enter"):
                    first = frames[0] if frames else None
                    here = prior.units(g, at, frame, parent, sibling, first, size)
                    units = here if units is None else np.concatenate([units, here])
                for places in [~odd, odd] if two else [odd | True]:
                    seen = (
                        frame + [Plane(v) for v in values] if (places & ~odd).sum() == 0 else frame
                    )
                    given = [
                        prior(d, at, seen, parent, sibling, size, units=units) for d in channels
                    ]
                    for i, (_, mean) in enumerate(given):
                        values[i, places] = mean[places]
                    places = places & kept
                    more = offsets[places] * (level == 0)
                    step = np.array([STEPS[n] for n in more], dtype=object)
                    tables = np.array([np.clip(index[places] + more, 0, 63) for index, _ in given])
                    if trellis:
                        of = [whole[0][d][0] for d in channels]
                        here = {p: state[places] for p, state in states.items()}
                        coded = coder, adaptive[k], tables, of, here, trellis
                        symbols, half = read_dependent(*coded)
                        for p, state in here.items():
                            states[p][places] = state
                    else:
                        symbols = np.array(
                            coder.call(tables.ravel().tolist(), adaptive[k]), dtype=object
                        )
                        half = 2 * symbols.reshape(tables.shape)
                    sums[k] = zlib.crc32(symbols.astype("<i4").tobytes(), sums[k])
                    for i, (_, mean) in enumerate(given):
                        change = np.sign(half[i]) * (step * abs(half[i]) // 2)
                        values[i, places] = np.clip(change + mean[places], -LIMIT, LIMIT)
                planes = [Plane(v) for v in values]
                frame.extend(planes)
            group += count
        frames.append(frame)
    values = [[plane.v for plane in frame] for frame in frames]
    return frames, [list(low), *values[1:]] if packet.intra else values, sums


def any_filter(model, *_, **__):
    """In place of a fit of the post-filter: other parameters, which pay."""
    quantiser, generator = ParameterQuantiser(model, ("filter.",)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in quantiser.learned.values():
            value += 0.3 * torch.randn(value.shape, generator=generator)
    coded = quantiser.coded(model)
    return {name: coded[name] for name in quantiser.learned}, np.inf


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gray", "yuv420p"])
def test_a_second_decoder_reads_the_same_symbols(tmp_path, monkeypatch, name):
    # What is fitted is coded even where it does not pay.
    windows = SimpleNamespace(found=[0])
    monkeypatch.setattr(
        SegmentEncoder, "_cheapest", lambda self, records, filters: (records[-1], 0, windows)
    )
    monkeypatch.setattr(encoder, "fit_filter", any_filter)
    moving = name == "gray"  # then the second low-pass frame is predicted in space too
    # Packets of 17 frames have a level without parameters of its own.
    frames = make_frames(name, 20, 18, 8) if moving else 34 * make_frames(name, 20, 18, 1)
    source = write_clip(tmp_path / "in.mkv", frames, name)
    # Those of 6 end with three of which the middle one is kept.
    fit = {"preset": "fast", "steps": 60, "filter_steps": 1, "gop": 6 if moving else 17}
    innvc.encode(source, tmp_path / "a.innv", lambda_=2.0, **fit)
    with Reader(tmp_path / "a.innv") as reader:
        header, segment = reader.header, reader.segment(0)
        record = reader.parameters(0)
        packets = [packet for _, _, packet in reader.packets()]
    decoder = SegmentDecoder(header, segment, record, torch.device("cpu"))
    layout = SampleLayout("gray", 0, 0) if name == "gray" else SampleLayout("yuv", 1, 1)
    start = dict(InnvcModel(header.model, layout, header.step_base).named_parameters())

    groups = header.model.groups
    of = np.repeat(np.arange(len(groups)), groups)
    family, shift = ("gray", 0) if name == "gray" else ("yuv", 1)
    whole = dct_channels(family, shift), dct_channels(family, shift, 8)
    of_half = np.array([sum(c) for c in whole[1]])
    values = {n: p.detach().numpy().copy() for n, p in start.items()}
    for kind in ("side", "weights"):
        coder = RangeDecoder(getattr(record, kind))
        for tensor in [n for n in values if kind_of(n) == kind]:
            chosen = np.ones(values[tensor].shape, bool)
            if tensor.endswith("within"):
                chosen &= np.less.outer(of_half, of_half).T
            if tensor.startswith("prior.scale"):
                layer = np.repeat(np.arange(len(header.model.layers)), header.model.layers)
                unit = np.repeat(np.arange(len(groups)), header.model.prior.scale_units)
                if tensor.endswith("enter"):
                    chosen[:, :2] &= (of < unit[:, None])[:, None]
                    chosen[:, 2:] &= (layer[of] <= layer[unit][:, None])[:, None]
                if tensor.endswith("leave"):
                    chosen &= unit <= of[:, None]
            if tensor in MATRICES:
                rows, columns = chosen.shape[-2:]
                limit = of[:rows, None] + ("half" in tensor)
                chosen &= of[None, :columns] < limit
            change = read_tensor(coder, *places(tensor, chosen.shape, chosen.ravel()))
            values[tensor][chosen] += change.astype(np.float32)
    decoded = decoder.model.state_dict()
    moved = 0
    for tensor, value in values.items():
        assert np.array_equal(decoded[tensor].numpy(), value), tensor
        moved += not np.array_equal(start[tensor].detach().numpy(), value)
    assert moved >= 6  # five of them are the post-filter's

    prior = Prior(
        {n.removeprefix("prior."): v for n, v in values.items() if n.startswith("prior.")},
        *(groups, header.model.layers, header.step_base + 5 * header.model.dependent),
        *(header.model.prior.reach, header.model.prior.halves),
    )
    of_intra = {n.removeprefix("intra."): v for n, v in values.items() if n.startswith("intra.")}
    intra = Intra(of_intra, whole[1], header.step_base)
    before, context = None, None
    for packet in packets:
        count = min(packet.subbands, 5)
        frames, theirs, sums = decode_packet(
            *(prior, header.model.layers, packet, (2, 2), before, intra, whole, count),
            header.model.dependent and header.model.trellis_states,
        )
        assert sums == packet.symbols_crc or count < packet.subbands
        ours = decoder.symbols(packet, context)
        assert np.array_equal(np.array(theirs).astype(float), ours.values[:count].numpy())
        before, context = frames[0], ours.low
    assert [packet.intra for packet in packets] == [True, moving]
    assert any(packet.step_offsets for packet in packets)


AXES = {
    "none": {},
    "scales": {"scale_axes": Axes(np.arange(-3, 4), np.arange(30) % 5)},
    "steps": {"step_axes": Axes(rows=-(np.arange(7) ** 2)), "tables": (22,)},
    "all": {
        "step_axes": Axes(np.arange(7), 2 * np.arange(30)),
        "scale_axes": Axes(np.arange(7) % 3, -4 * (np.arange(30) % 7)),
    },
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("name", ["field.a", "prior.temporal", "prior.hidden_weight", "a.skew"])
def test_a_second_decoder_reads_the_same_parameters(name, axes):
    random = np.random.default_rng(4)
    shape = {"prior.temporal": (7, 1, 30), "a.skew": (21,)}.get(name, (7, 3, 2, 5))
    matrix = matrix_of(name, shape)
    steps = [
        np.zeros(len(matrix)),
        random.laplace(0, 1, len(matrix)),
        random.laplace(0, 500, len(matrix)) * (random.random(len(matrix)) < 0.1),
        np.resize([-1, 2, -3, 1 << 20, -(1 << 22), 0], len(matrix)),
    ]
    options = {"tables": (12, 30), **AXES[axes]}
    if name == "a.skew":  # as many columns as rows
        for key in {"step_axes", "scale_axes"} & options.keys():
            options[key] = Axes(options[key].rows, options[key].columns[:7])
    tensors = [
        CodedTensor(v.round().astype(np.int32), 21 * i, **options) for i, v in enumerate(steps)
    ]
    coder = RangeDecoder(parameters.encode(tensors, [matrix] * len(tensors)))
    for tensor in tensors:
        expected = tensor.differences(matrix)
        found = read_tensor(coder, *places(name, shape, np.ones(shape, bool).ravel()))
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 9, 3, 4), (1, 18, 9, 5)])
def test_a_second_decoder_reads_the_same_grids(shape):
    random = np.random.default_rng(5)
    shapes = [(shape[0] << level, *(max(1, n >> level) for n in shape[1:])) for level in range(3)]
    grids = []
    for level, size in enumerate(shapes):
        blocks = (size[0], *block_counts(size[1:]))
        values = random.laplace(0, 3, size).round().astype(np.int64)
        values[random.random(size) < 0.02] *= 100_000
        weights = random.integers(-900, 900, 112)
        grids.append(
            CodedGrid(
                values * (level != 1 or shape[0] == 1),
                *(40, 24, (None, 0, 9)[level]),
                random.integers(-9, 9, blocks),
                random.integers(-5, 5, size[0]),
                weights,
            )
        )
    coder = RangeDecoder(parameters.encode_grids(grids))
    for found, grid in zip(read_grids(coder, shapes), grids, strict=True):
        assert np.array_equal(found, grid.differences())


def philox(key, block):
    """Four outputs of Philox4x64-10 for the counter (block, 0, 0, 0)."""
    c, k = [block, 0, 0, 0], [key, 0]
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [b >> 64 ^ c[1] ^ k[0], b & BITS64, a >> 64 ^ c[3] ^ k[1], a & BITS64]
        k = [(k[0] + 0x9E3779B97F4A7C15) & BITS64, (k[1] + 0xBB67AE8584CAA73B) & BITS64]
    return c


@pytest.mark.parametrize("name, fan_in", [("field.stem.weight", None), ("field.grid.1", 0)])
def test_uniform_start_values(name, fan_in):
    from test_container import MODEL

    layout = SampleLayout("yuv", 1, 1)
    tensor = dict(InnvcModel(MODEL, layout, 0).named_parameters())[name].detach().numpy()
    limit = 65 if fan_in == 0 else isqrt((1 << 32) // tensor[0].size)
    values = tensor.ravel() * 65536
    key = zlib.crc32(name.encode())
    for i in (0, 1, 2, 3, 4, 5, len(values) - 1):
        raw = philox(key, i // 4 + 1)[i % 4]
        assert values[i] == ((raw >> 32) * (2 * limit + 1) >> 32) - limit


def dct_channels(family, shift, side=16):
    """Section 12: (plane, v, h) of every channel for four stages at packing 2, or fewer."""
    sides = [side] + [side >> shift if family == "yuv" else side] * (0 if family == "gray" else 2)
    channels = [(p, v, h) for p, n in enumerate(sides) for v in range(n) for h in range(n)]
    return sorted(channels, key=lambda c: (sum(c), c))


@pytest.mark.parametrize("family, shifts", [("gray", 0), ("yuv", 1), ("yuv", 0), ("rgb", 0)])
def test_prior_start_values(family, shifts):
    """Also: no quotient is so near to a half that another machine could round it otherwise."""
    from innvc.config import ModelConfig
    from innvc.model import start
    from innvc.presets import analytic_groups

    layout = SampleLayout(family, shifts, shifts)
    groups = analytic_groups(layout, 2, 4)
    config = ModelConfig(groups=groups, layers=(len(groups),))
    prior = InnvcModel(config, layout, 0).prior
    channels = dct_channels(family, shifts)
    geometry = start.packed_geometry(family, shifts, shifts, 2)
    found = start.dct_bases(geometry, 4)[1]
    assert channels == list(zip(found.plane, found.vertical, found.horizontal, strict=True))
    of = np.repeat(np.arange(len(groups)), groups)
    for d in (0, 1, 7, len(channels) // 2, len(channels) - 1):
        near, far = [], []
        for c, (p, v, h) in enumerate(channels):
            squared = (channels[d][1] - v) ** 2 + (channels[d][2] - h) ** 2
            same, before = p == channels[d][0], of[c] < of[d]
            near.append(before * exp(-squared / 2) * (1 if same else 0.5))
            far.append(before * exp(-squared / 18) * (1 if same else 0.3))
        for weights, factor, tensor in ((near, 0.22, prior.spectral), (far, 0.13, prior.surround)):
            exact = 1024 * factor * np.array(weights) / (sum(weights) + 1e-6)
            assert np.array_equal(np.round(exact) / 1024, tensor[d].detach().numpy())
            assert abs(exact - np.floor(exact) - 0.5).min() > 1e-9


@pytest.mark.parametrize("family, shift", [("gray", 0), ("yuv", 0), ("yuv", 1), ("rgb", 0)])
def test_starting_point_of_another_layout(family, shift):
    from innvc.config import ModelConfig
    from innvc.presets import analytic_groups

    arrays = {}
    for file in ("start5.npz", "start6.npz"):
        archive = np.load(io.BytesIO(files("innvc.model").joinpath(file).read_bytes()))
        arrays |= {k: v / 1024 for k, v in archive.items()}
    arrays = {k: v for k, v in arrays.items() if not k.startswith("filter.")}
    order = dct_channels("yuv", 1)
    trained = {c: i for i, c in enumerate(order)}
    channels = dct_channels(family, shift)
    clamped = [(p, min(v, 7 if p else 15), min(h, 7 if p else 15)) for p, v, h in channels]
    t = [trained[c] for c in clamped]
    known = np.array([a == b for a, b in zip(channels, clamped, strict=True)])
    layout = SampleLayout(family, shift, shift)
    groups = analytic_groups(layout, 2, 4)
    config = ModelConfig(groups=groups, layers=(len(groups),), prior=TRAINED, start=6)
    model = dict(InnvcModel(config, layout, 0).named_parameters())
    assert len(arrays) > 5
    half, half_order = dct_channels(family, shift, 8), dct_channels("yuv", 1, 8)
    small = [(p, min(v, 3 if p else 7), min(h, 3 if p else 7)) for p, v, h in half]
    rows = [half_order.index(c) for c in small]
    same = np.array([a == b for a, b in zip(half, small, strict=True)])
    for name, array in arrays.items():
        expected = array
        if name.startswith("intra."):
            if array.shape[0] == 96:
                expected = expected[rows]
                if name in ("intra.leave", "intra.linear", "intra.within"):
                    expected = (expected.T * same).T
            if array.shape[-1] == 96 and array.ndim > 1:
                expected = expected[..., rows] * same
        elif name.startswith("prior.scale"):
            keys = sorted({sum(c) for c in channels})
            axis = 0 if name.endswith("enter") else 1
            units = np.split(array, 31, axis)
            units = [units[k] if k < 31 else 0 * units[0] for k in keys]
            expected = np.concatenate(units, axis)
            if name.endswith("enter"):
                expected = expected[..., t] * known
            if name.endswith("leave"):
                expected = expected[t]
        elif name != "prior.base_level":
            last = [sum(c) for c in order[:-1]] + [99]  # the group of each, and all
            a = sum(sum(c) <= last[array.shape[-1] - 1] for c in channels)
            expected = array[..., t[:a]]
            if name in MATRICES:
                b = sum(sum(c) <= last[array.shape[-2] - 1] for c in channels)
                expected = expected[..., t[:b], :] * known[:a]
        assert np.array_equal(model[name].detach().numpy(), expected.astype(np.float32)), name


def block_dct(channels):
    """D_k of section 13: rows are the channels of section 12, columns (plane, y, x)."""
    sides = {p: 1 + max(v for q, v, _ in channels if q == p) for p, _, _ in channels}
    places = [(p, y, x) for p, n in sides.items() for y in range(n) for x in range(n)]
    matrix = np.zeros((len(channels), len(places)))
    for i, (p, v, h) in enumerate(channels):
        for j, (q, y, x) in enumerate(places):
            if p == q:
                n = sides[p]
                wave = np.cos(np.pi * (2 * y + 1) * v / (2 * n))
                wave *= np.cos(np.pi * (2 * x + 1) * h / (2 * n))
                matrix[i, j] = wave * np.sqrt((1 + (v > 0)) * (1 + (h > 0))) / n
    return matrix, places, sides


def pictures(latent, transform):
    """Planes of coefficients [C, H, W]."""
    matrix, places, sides = transform
    samples = np.einsum("cj,chw->jhw", matrix, latent)
    planes = [np.zeros([size * n for size in latent.shape[1:]]) for n in sides.values()]
    for (p, y, x), part in zip(places, samples, strict=True):
        planes[p][y :: sides[p], x :: sides[p]] = part
    return planes


def test_synthesis_without_field(tmp_path):
    """Sections 10 and 13: inverse transform, inverse lifting and rounding, in plain numpy."""
    source = make_clip(tmp_path / "in.mkv", "yuv420p10le", 30, 20, 4)
    off = {"motion": False, "post_filter": False}
    innvc.encode(source, tmp_path / "a.innv", preset="instant", steps=2, gop=4, **off)
    with Reader(tmp_path / "a.innv") as reader:
        header, segment = reader.header, reader.segment(0)
        record, packet = reader.parameters(0), reader.packet(0, 0)
    decoder = SegmentDecoder(header, segment, record, torch.device("cpu"))
    values = decoder.symbols(packet, None).values.numpy()
    assert len(values) == 4
    parameters_of = {n: p.detach().numpy() for n, p in decoder.model.named_parameters()}
    assert packet.intra
    channels, half = dct_channels("yuv", 1), dct_channels("yuv", 1, 8)
    weights, density = (6, 1, 1), (1, 0.25, 0.25)
    frames = []
    for j, v in enumerate(values):
        level = 0 if j == 0 else 2 - (j.bit_length() - 1)
        octaves = [
            (header.step_base + 5 * (j > 0)) / 16
            + 0.5 * np.log2(density[p] * weights[0] / weights[p])
            for p, _, _ in channels
        ]
        octaves = octaves + parameters_of["step"] + parameters_of["step_level"][level]
        latent = v / 16 * 2.0 ** octaves[:, None, None]
        if j == 0:  # half-size blocks
            small = np.zeros((len(half), 2 * latent.shape[1], 2 * latent.shape[2]))
            for e, row in enumerate(halved(channels, half)):
                for y, x in itertools.product((0, 1), (0, 1)):
                    small[e, y::2, x::2] = latent[row[y][x]]
            frames.append(pictures(small, block_dct(half)))
        else:
            frames.append(pictures(latent, block_dct(channels)))
    low = [np.stack([frame[p] for frame in frames[:1]]) for p in range(3)]
    while len(low[0]) < 4:
        n = len(low[0])
        for p in range(3):
            h = np.stack([frame[p] for frame in frames[n : 2 * n]]) * np.sqrt(2)
            a = low[p] / np.sqrt(2) - h / 2
            low[p] = np.stack([a, h + a], 1).reshape(2 * n, *h.shape[1:])
    with innvc.open(tmp_path / "a.innv", exact=True) as reader:
        for i, frame in enumerate(reader):
            for p, plane in enumerate(frame.planes):
                codes = np.floor(low[p][i] * 1023 / 255 + 512.5).clip(0, 1023)
                found = codes[: plane.shape[0], : plane.shape[1]]
                assert np.array_equal(found, plane), (i, p)


def test_names_that_the_document_gives():
    from test_container import MODEL

    names = set(re.findall(r"`(prior\.\w+|step\w*|field\.\w+)`", DOCUMENT))
    for part in ("base", "base_level", "spectral", "temporal", "temporal_mean", "hidden_weight"):
        assert f"prior.{part}" in names
    model = InnvcModel(MODEL, SampleLayout("yuv", 1, 1), 0)
    for name, _ in model.named_parameters():
        if name.startswith("prior."):
            assert f"`{name}`" in DOCUMENT


def test_checksum_in_the_document():
    assert SHA256 in DOCUMENT


def test_no_section_is_empty():
    assert "To be specified" not in DOCUMENT
    for number, name in enumerate(("Parameters", "Latent symbols", "CDF", "Latent prior"), 9):
        assert re.search(rf"^## {number}\. {name}", DOCUMENT, re.MULTILINE)
