"""A second decoder of motion, written from section 14 of docs/format.md alone, in plain loops."""

from math import floor, pi, sin, sqrt

import numpy as np
import pytest
from test_format_document import Adaptive, RangeDecoder
from test_motion import LAYOUTS, picture, random_motion

from innvc.bitstream import motion as coding
from innvc.model import lifting
from innvc.model.motion import LevelMotion, MotionLifting
from innvc.model.warp import planes_of

MODES = [[0, 1, 3, 2], [1, 3, 2, 0], [2, 3, 1, 0], [3, 1, 2, 0]]
WEIGHTS = [(0, 0), (1, 0), (0, 1), (0.5, 0.5)]


def low_frames(group):
    """c_0, c_1 ... c_k of section 5."""
    return [group, *low_frames(1 if group == 3 else -(-group // 2))] if group > 1 else [1]


def steps(rows, columns):
    for t in range(2 * (rows - 1) + columns):
        yield [(i, t - 2 * i) for i in range(rows) if 0 <= t - 2 * i < columns]


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


class ClassDecoder(RangeDecoder):
    def __init__(self, data):
        super().__init__(data)
        self.fine = self.number(1)
        self.tables = [self.number(6) for _ in range(21)]
        self.adaptive = Adaptive(64)

    def read(self, classes):
        return self.call([192 * c + self.tables[c] for c in classes], self.adaptive)


def decode_motion(data, group, rows, columns):
    coder, levels, c = ClassDecoder(data), {}, low_frames(group)
    for level in range(len(c) - 1, 0, -1):
        frames = range(c[level - 1] - c[level])
        mode = [[[None] * columns for _ in range(rows)] for _ in frames]
        for cells in steps(rows, columns):
            lefts, classes = [], []
            for p in frames:
                for i, j in cells:
                    left = mode[p][i][j - 1] if j else mode[p][i - 1][j] if i else 1
                    lefts.append(left)
                    classes.append(int(i > 0 and mode[p][i - 1][j] != left))
            symbols = iter(coder.read(classes))
            for p in frames:
                for i, j in cells:
                    mode[p][i][j] = MODES[lefts.pop(0)][[0, 1, -1, 2].index(next(symbols))]
        far = levels.get(level + 1)
        vector = np.zeros((len(frames), 2, 2, rows, columns), int)
        quarters = np.zeros((len(frames), 2, 2, 2 * rows, 2 * columns), int)
        for side in range(2):
            field = np.zeros((len(frames), 2, rows, columns), int)
            for cells in steps(rows, columns):
                first = {}
                for axis in range(2):
                    wanted, classes = [], []
                    for p in frames:
                        f = field[p, axis]
                        for i, j in cells:
                            above = f[i - 1, j] if i else f[i, j - 1] if j else 0
                            left = f[i, j - 1] if j else above
                            third = above
                            if i and j + 1 < columns:
                                third = f[i - 1, j + 1]
                            if side and mode[p][i][j] == 3:
                                third = -vector[p, 0, axis, i, j]
                            f[i, j] = sorted([left, above, third])[1]
                            if WEIGHTS[mode[p][i][j]][side]:
                                spread = max(abs(left - above), abs(left - third))
                                if (half := half_of(far, p, side, axis, i, j)) is not None:
                                    spread = max(spread, abs(f[i, j] - half))
                                number = 2 + sum(spread > limit for limit in (0, 2, 8))
                                if axis:
                                    number += 4 * sum(abs(first[p, i, j]) > n for n in (0, 3))
                                classes.append(number)
                                wanted.append((p, axis, i, j))
                    found = coder.read(classes)
                    for (p, axis, i, j), symbol in zip(wanted, found, strict=True):
                        first[p, i, j] = symbol
                        field[p, axis, i, j] += symbol
                        vector[p, side, axis, i, j] = field[p, axis, i, j]
            using = [
                (p, i, j)
                for p in frames
                for i, j in np.ndindex(rows, columns)
                if WEIGHTS[mode[p][i][j]][side]
            ]
            decode_quarters(coder, field, using, quarters[:, side])
        levels[level] = np.array(mode), vector, quarters, int(c[level - 1] == 3)
    unit = 1 if coder.fine else 2
    return {level: (m, unit * v, unit * q, first) for level, (m, v, q, first) in levels.items()}


def decode_quarters(coder, field, using, quarters):
    """Into quarters [P, 2, 2 rows, 2 columns]; `using` are the cells that use the reference."""
    rows, columns = field.shape[2:]

    def at(p, i, j):
        return field[p, :, min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)]

    classes = []
    for p, i, j in using:
        around = [at(p, i, j - 1), at(p, i, j + 1), at(p, i - 1, j), at(p, i + 1, j)]
        classes.append(14 + any((v != at(p, i, j)).any() for v in around))
    flags = coder.read(classes)
    divided = [cell for cell, flag in zip(using, flags, strict=True) if flag]
    for p, i, j in using:
        quarters[p, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = at(p, i, j)[:, None, None]
    places = [(p, i, j, y, x) for y in (0, 1) for x in (0, 1) for p, i, j in divided]
    own = []
    for (p, i, j, y, x), symbol in zip(places, coder.read([16] * len(places)), strict=True):
        near = {0: (i, j), 1: (i, j + 2 * x - 1), -1: (i + 2 * y - 1, j), 2: (i, j)}[symbol]
        quarters[p, :, 2 * i + y, 2 * j + x] = at(p, *near)
        if symbol == 2:
            own.append((p, 2 * i + y, 2 * j + x))
    vertical = coder.read([17] * len(own))
    classes = [18 + (v != 0) + (abs(v) > 3) for v in vertical]
    horizontal = coder.read(classes)
    for (p, i, j), difference in zip(own, zip(vertical, horizontal, strict=True), strict=True):
        quarters[p, :, i, j] += difference


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
    matrix = np.zeros((height * width, height * width))
    o = [size // 2 for size in cell]
    for i, j in np.ndindex(rows, columns):
        for s, t in np.ndindex(cell[0] + 2 * o[0], cell[1] + 2 * o[1]):
            y, x = i * cell[0] - o[0] + s, j * cell[1] - o[1] + t
            if not (0 <= y < height and 0 <= x < width):
                continue
            w = weight[i, j] * share(s, cell[0] + 2 * o[0], o[0], i == 0, i == rows - 1)
            w *= share(t, cell[1] + 2 * o[1], o[1], j == 0, j == columns - 1)
            for a, f in taps(vector[0, i, j], precision[0]):
                for b, g in taps(vector[1, i, j], precision[1]):
                    place = min(max(y + a, 0), height - 1) * width + min(max(x + b, 0), width - 1)
                    matrix[y * width + x, place] += w * f * g
    return matrix


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
