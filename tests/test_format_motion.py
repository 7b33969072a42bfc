"""A second decoder of motion, written from section 14 of docs/format.md alone, in plain loops."""

from math import floor, pi, sin, sqrt

import numpy as np
import pytest
from scipy.sparse import csr_array
from test_format_document import RangeDecoder
from test_motion import LAYOUTS, picture, random_motion

from innvc.bitstream import motion as coding
from innvc.model import lifting
from innvc.model.motion import LevelMotion, MotionLifting
from innvc.model.planes import planes_of

MODES = [[0, 1, 3, 2], [1, 3, 2, 0], [2, 3, 1, 0], [3, 1, 2, 0]]
WEIGHTS = [(0, 0), (1, 0), (0, 1), (0.5, 0.5)]


def low_frames(group):
    """c_0, c_1 ... c_k of section 5."""
    return [group, *low_frames(1 if group == 3 else -(-group // 2))] if group > 1 else [1]


def half_of(far, p, side, axis, i, j):
    """Half a vector of the coarser level; None where there is none."""
    if far is None:
        return None
    q, r = divmod(p + far[3], 2)
    if q >= len(far[0]) or not any(weights := WEIGHTS[far[0][q][i][j]]):
        return None
    v = far[1][q, r, axis, i, j] if weights[r] else -far[1][q, 1 - r, axis, i, j]
    half = (1 if v > 0 else -1) * ((abs(v) + 1) // 2)
    return half if side == r else -half


class FlagDecoder(RangeDecoder):
    """Section 14, "Coding"."""

    def __init__(self, data):
        super().__init__(data)
        self.counts = {}

    def read(self, *name):
        zeros, ones = self.counts.setdefault(name, [1, 1])
        zero = 2**24 - 2**24 * ones // (zeros + ones)
        flag = self.find(lambda t: (1, zero, 2**24 - zero) if t >= zero else (0, 0, zero))
        self.counts[name][flag] += 1
        if zeros + ones >= 255:
            self.counts[name] = [(n + 1) // 2 for n in self.counts[name]]
        return flag

    def difference(self, kind, nonzero, sign, size):
        if not self.read(f"{kind}vector", *nonzero):
            return 0
        negative, n = self.read(f"{kind}sign", *sign), 0
        while n < 14 and self.read(f"{kind}size", *size, n):
            n += 1
        value = 1
        if n:
            value = 2 + self.read(f"{kind}second", n)
            value = value << (n - 1) | self.number(n - 1)
        return -value if negative else value


def sign_of(x):
    return int(x > 0) - int(x < 0)


def grade(x):
    return sum(x > limit for limit in (0, 2, 8))


def height(axis, vertical):
    return (1 + (vertical != 0) + (abs(vertical) > 3)) if axis else 0


def decode_motion(data, group, rows, columns):
    coder, levels, c = FlagDecoder(data), {}, low_frames(group)
    unit = 2 - coder.number(1)
    for level in range(len(c) - 1, 0, -1):
        count = c[level - 1] - c[level]
        mode = np.zeros((count, rows, columns), int)
        vector = np.zeros((count, 2, 2, rows, columns), int)
        quarters = np.zeros((count, 2, 2, 2 * rows, 2 * columns), int)
        for p in range(count):
            m = mode[p]
            for i, j in np.ndindex(rows, columns):
                left = m[i, j - 1] if j else m[i - 1, j] if i else 1
                above = m[i - 1, j] if i else left
                rank = 0
                while rank < 3 and coder.read("mode", left, above, rank):
                    rank += 1
                m[i, j] = MODES[left][rank]
            for side in range(2):
                f = decode_vectors(coder, levels.get(level + 1), p, side, m, vector[p])
                decode_quarters(coder, side, m, f, quarters[p, side])
        levels[level] = mode, vector, quarters, int(c[level - 1] == 3)
    return {level: (m, unit * v, unit * q, first) for level, (m, v, q, first) in levels.items()}


def decode_vectors(coder, far, p, side, mode, vector):
    f = np.zeros((2, *mode.shape), int)
    moved = np.zeros(mode.shape, int)
    for i, j in np.ndindex(mode.shape):
        beside = (moved[i, j - 1] if j else 0) + (moved[i - 1, j] if i else 0)
        vertical = 0
        for axis in range(2):
            g = f[axis]
            above = g[i - 1, j] if i else g[i, j - 1] if j else 0
            left = g[i, j - 1] if j else above
            third = above if i else left
            if i and j + 1 < mode.shape[1]:
                third = g[i - 1, j + 1]
            if side and mode[i, j] == 3:
                third = -vector[0, axis, i, j]
            g[i, j] = sorted([left, above, third])[1]
            if not WEIGHTS[mode[i, j]][side]:
                continue
            half = half_of(far, p, side, axis, i, j)
            w = 0 if half is None else half - g[i, j]
            u = max(abs(left - above), abs(left - third))
            h = height(axis, vertical)
            vertical = coder.difference(
                "",
                (grade(u), 0 if half is None else 1 + grade(abs(w)), beside, h),
                (sign_of(w), min(abs(w), 2), sign_of(left - above)),
                (sum(limit < max(u, abs(w)) for limit in (0, 1, 3, 8, 24)), h),
            )
            g[i, j] += vertical
            vector[side, axis, i, j] = g[i, j]
            moved[i, j] |= vertical != 0
    return f


def decode_quarters(coder, side, mode, field, quarters):
    rows, columns = mode.shape

    def at(i, j):
        return tuple(field[:, min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)].tolist())

    divided = np.zeros(mode.shape, int)
    for i, j in np.ndindex(mode.shape):
        if not WEIGHTS[mode[i, j]][side]:
            continue
        cell = at(i, j)
        varied = any(v != cell for v in (at(i, j - 1), at(i, j + 1), at(i - 1, j), at(i + 1, j)))
        near = (divided[i, j - 1] if j else 0) + (divided[i - 1, j] if i else 0)
        divided[i, j] = coder.read("division", varied, near)
        others = 0
        for q, (y, x) in enumerate(np.ndindex(2, 2)):
            choices = [cell, at(i, j + 2 * x - 1), at(i + 2 * y - 1, j)]
            value = cell
            if divided[i, j]:
                e = 3 if q == 3 and not others else min(others, 2)
                same = 4 * (choices[0] == choices[1]) + 2 * (choices[0] == choices[2])
                same += choices[1] == choices[2]
                for k, choice in enumerate(choices):
                    if choice in choices[:k] or (k == 0 and e == 3):
                        continue
                    if not coder.read("choice", e, same, k):
                        others += k > 0
                        value = choice
                        break
                else:
                    others += 1
                    value, vertical = [], 0
                    for axis in range(2):
                        h = height(axis, vertical)
                        vertical = coder.difference("own ", (h,), (axis,), (h,))
                        value.append(cell[axis] + vertical)
            quarters[:, 2 * i + y, 2 * j + x] = value


def sinc(d):
    return sin(pi * d) / (pi * d) if d else 1.0


def taps(v, n):
    """(whole offset, weight) of each sample that a vector component reads."""
    q = floor(v / 2**n)
    r = v / 2**n - q
    f = {i: sinc(i - r) * sinc((i - r) / 4) if abs(i - r) < 4 else 0.0 for i in range(-3, 5)}
    return [(q + i, w / sum(f.values())) for i, w in f.items()]


def share(t, block, o, at_start, at_end):
    if t < 2 * o:
        return float(t >= o) if at_start else (t + 0.5) / (2 * o)
    if t >= block - 2 * o:
        return float(t < block - o) if at_end else (block - t - 0.5) / (2 * o)
    return 1.0


def warp_matrix(vector, weight, cell, precision):
    """W on the flat plane of rows x columns quarters."""
    rows, columns = vector.shape[1:]
    height, width = rows * cell[0], columns * cell[1]
    to, places, factors = [], [], []
    o = [size // 2 for size in cell]
    for i, j in np.ndindex(rows, columns):
        vertical, horizontal = (taps(vector[k, i, j], precision[k]) for k in range(2))
        for s, t in np.ndindex(cell[0] + 2 * o[0], cell[1] + 2 * o[1]):
            y, x = i * cell[0] - o[0] + s, j * cell[1] - o[1] + t
            if not (0 <= y < height and 0 <= x < width):
                continue
            w = weight[i, j] * share(s, cell[0] + 2 * o[0], o[0], i == 0, i == rows - 1)
            w *= share(t, cell[1] + 2 * o[1], o[1], j == 0, j == columns - 1)
            for a, f in vertical:
                for b, g in horizontal:
                    place = min(max(y + a, 0), height - 1) * width + min(max(x + b, 0), width - 1)
                    to.append(y * width + x)
                    places.append(place)
                    factors.append(w * f * g)
    return csr_array((factors, (to, places)), shape=(height * width, height * width))


def inverse(low, details, predict, update):
    """Section 13, inverse lifting: details of each level from the coarsest."""
    for level, h in details:
        a = [x - u for x, u in zip(low, update(h, level, len(low)), strict=True)]
        b = [x + p for x, p in zip(h, predict(a, level, len(h)), strict=True)]
        if len(b) > len(a):
            low = [b[0], a[0], b[1]]
        else:
            low = [x for pair in zip(a, b, strict=False) for x in pair] + a[len(b) :]
    return low


def details_of(parts):
    c = low_frames(len(parts))
    return [(level, parts[c[level] : c[level - 1]]) for level in range(len(c) - 1, 0, -1)]


def lifting_of(levels, matrices):
    """P and U of section 14; matrices(level, p, reference) is W."""

    def predict(a, level, count):
        result = [0 * a[0] for _ in range(count)]
        for p, j, warp in pairs(level, count):
            result[p] = result[p] + warp @ a[p + j - levels[level][3]]
        return result

    def update(h, level, even):
        total, count = [0 * h[0] for _ in range(even)], [0 * h[0] for _ in range(even)]
        for p, j, warp in pairs(level, len(h)):
            e = p + j - levels[level][3]
            total[e] = total[e] + warp.T @ h[p]
            count[e] = count[e] + warp.T @ np.ones_like(h[p])
        return [t / (1 + np.maximum(0, c)) for t, c in zip(total, count, strict=True)]

    def pairs(level, count):
        for p in range(count):
            for j in range(2):
                if any(WEIGHTS[m][j] for m in levels[level][0][p].flat):
                    yield p, j, matrices(level, p, j)

    return predict, update


def gain_of(levels, subband, i, j, group):
    def weight(level, p, reference):
        return np.array([[WEIGHTS[levels[level][0][p][i, j]][reference]]])

    parts = [np.array([float(k == subband)]) for k in range(group)]
    frames = inverse(parts[:1], details_of(parts), *lifting_of(levels, weight))
    return sum(float(x[0]) ** 2 for x in frames)


@pytest.mark.parametrize(("group", "unit"), [(4, 1), (5, 2), (6, 1)])
def test_a_second_decoder_of_motion_and_lifting(group, unit):
    rows, columns = 2, 3
    motion = [
        LevelMotion(m.mode, unit * m.vector, unit * m.quarters)
        for m in random_motion(group, rows, columns, 40, seed=3)
    ]
    data = coding.encode(motion)
    levels = decode_motion(data, group, rows, columns)
    ours = coding.decode(data, group, rows, columns)
    for level, (mode, vector, quarters, _) in levels.items():
        assert np.array_equal(ours[level - 1].mode, mode)
        assert np.array_equal(ours[level - 1].vector, vector)
        assert np.array_equal(ours[level - 1].quarters, quarters)

    energy = np.array(
        [
            [[gain_of(levels, s, i, j, group) for j in range(columns)] for i in range(rows)]
            for s in range(group)
        ]
    )
    energy[0] = energy[0].mean()
    packed = picture(group, 6, rows, columns).double()
    planes = planes_of(LAYOUTS["yuv420p"])
    found = lifting.inverse(packed, MotionLifting(ours, planes))
    for plane, (cell, precision) in zip(
        planes[:2], (((16, 16), (3, 3)), ((8, 8), (4, 4))), strict=True
    ):
        shape = (rows * cell[0], columns * cell[1])
        matrices = {}

        def matrix(level, p, j, cell=cell, precision=precision, matrices=matrices):
            if (level, p, j) not in matrices:
                mode = np.kron(levels[level][0][p], np.ones((2, 2), int))
                weight = np.vectorize(lambda m: WEIGHTS[m][j])(mode)
                quarter = [size // 2 for size in cell]
                vector = levels[level][2][p, j]
                matrices[level, p, j] = warp_matrix(vector, weight, quarter, precision)
            return matrices[level, p, j]

        samples = plane.unpack(packed).numpy()
        parts = [
            (x / np.kron(np.sqrt(e), np.ones(cell))).ravel()
            for x, e in zip(samples, energy, strict=True)
        ]
        frames = inverse(parts[:1], details_of(parts), *lifting_of(levels, matrix))
        for frame, expected in zip(frames, plane.unpack(found).numpy(), strict=True):
            assert np.allclose(frame.reshape(shape), expected, rtol=0, atol=1e-9)
    assert sqrt(energy[0, 0, 0]) > 1
