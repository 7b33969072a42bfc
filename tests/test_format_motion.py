"""A second decoder of motion, written from section 14 of docs/format.md alone, in plain loops."""

from math import exp, floor, log, pi, sin, sqrt

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


def coarser_of(far, p):
    """q of section 14, and whether its first reference is nearer to p; None where there is none."""
    if far is None:
        return None
    q, r = divmod(p + far[3], 2)
    return (q, r) if q < len(far[0]) else None


def half_of(far, p, side, axis, i, j):
    """Half a vector of the coarser level; None where the cell is not told of."""
    found = coarser_of(far, p)
    if found is None or not any(weights := WEIGHTS[far[0][found[0]][i][j]]):
        return None
    q, r = found
    v = far[1][q, r, axis, i, j] if weights[r] else -far[1][q, 1 - r, axis, i, j]
    half = sign_of(v) * ((abs(v) + 1) // 2)
    return half if side == r else -half


class FlagDecoder(RangeDecoder):
    """Section 14, "Coding"."""

    def __init__(self, data, mixed):
        super().__init__(data)
        self.mixed, self.counts, self.weights = mixed, {}, {}

    def read(self, kind, chosen, *classes):
        """A flag: its kind, set and classes."""
        names = [(kind, place, *name) for place, name in enumerate(classes)]
        if not self.mixed:
            names = names[:1]
        counts = [self.counts.setdefault(name, [1, 1]) for name in names]
        if self.mixed:
            first = [2**16 // len(names)] * len(names)
            weights = self.weights.setdefault((kind, chosen), first)
            odds = [logarithm(o) - logarithm(z) for z, o in counts]
            s = sum(w * e for w, e in zip(weights, odds, strict=True)) // 2**16
            q = round(2**16 / (1 + exp(-min(max(s, -2047), 2047) / 256)))
            zero, recent = 2**24 - 256 * q, 127
        else:
            ((zeros, ones),) = counts
            zero, recent = 2**24 - 2**24 * ones // (zeros + ones), 255
        flag = self.find(lambda t: (1, zero, 2**24 - zero) if t >= zero else (0, 0, zero))
        if self.mixed:
            for n, e in enumerate(odds):
                weights[n] += (2**16 * flag - q) * e // 2**15
        for count in counts:
            many = sum(count) >= recent
            count[flag] += 1
            if many:
                count[:] = [(n + 1) // 2 for n in count]
        return flag

    def difference(self, kind, nonzero, sign, size, second):
        if not self.read(f"{kind}vector", 0, *nonzero):
            return 0
        negative, n = self.read(f"{kind}sign", 0, *sign), 0
        while n < 14 and self.read(f"{kind}size", n, *[(*name, n) for name in size]):
            n += 1
        value = 1
        if n:
            value = 2 + self.read(f"{kind}second", 0, (n,), (n, *second))
            value = value << (n - 1) | self.number(n - 1)
        return -value if negative else value


def logarithm(n):
    return round(256 * log(2 * n - 1))


def sign_of(x):
    return int(x > 0) - int(x < 0)


def grade(x):
    return sum(x > limit for limit in (0, 2, 8))


def fine_grade(x):
    return sum(limit < x for limit in (0, 1, 3, 8, 24))


def distance(x, y):
    return max(abs(x[0] - y[0]), abs(x[1] - y[1]))


def height(axis, vertical):
    return (1 + (vertical != 0) + (abs(vertical) > 3)) if axis else 0


def decode_motion(data, group, rows, columns, mixed=True):
    coder, levels, c = FlagDecoder(data, mixed), {}, low_frames(group)
    unit = 2 - coder.number(1)
    for level in range(len(c) - 1, 0, -1):
        count = c[level - 1] - c[level]
        mode = np.zeros((count, rows, columns), int)
        vector = np.zeros((count, 2, 2, rows, columns), int)
        quarters = np.zeros((count, 2, 2, 2 * rows, 2 * columns), int)
        before = Frame(min(level - 1, 4), rows, columns)
        for p in range(count):
            frame = Frame(min(level - 1, 4), rows, columns)
            frame.mode, frame.vector = mode[p], vector[p]
            far = levels.get(level + 1)
            decode_modes(coder, far, p, frame, before)
            for side in range(2):
                f = decode_vectors(coder, far, p, side, frame, before)
                decode_quarters(coder, side, frame, before, f, quarters[p, side])
            before = frame
        levels[level] = mode, vector, quarters, int(c[level - 1] == 3)
    return {level: (m, unit * v, unit * q, first) for level, (m, v, q, first) in levels.items()}


class Frame:
    def __init__(self, level, rows, columns):
        self.level = level
        self.mode = np.zeros((rows, columns), int)
        self.vector = np.zeros((2, 2, rows, columns), int)
        self.divided = np.zeros((2, rows, columns), int)
        self.state = np.zeros((rows, columns), int)


def decode_modes(coder, far, p, frame, before):
    m = frame.mode
    found = coarser_of(far, p)
    for i, j in np.ndindex(m.shape):
        left = m[i, j - 1] if j else m[i - 1, j] if i else 1
        above = m[i - 1, j] if i else left
        corner = m[i - 1, j - 1] if i and j else above
        left2 = m[i, j - 2] if j > 1 else left
        above2 = m[i - 2, j] if i > 1 else above
        coarse = far[0][found[0]][i, j] if found else 0
        n = 0
        while n < 3 and coder.read(
            "mode",
            n,
            (left, above, n),
            (frame.level, before.mode[i, j], left, above, n),
            (coarse, left, above, n),
            (corner, left2, above2, left, above, n),
        ):
            n += 1
        m[i, j] = MODES[left][n]


def decode_vectors(coder, far, p, side, frame, before):
    mode = frame.mode
    f = np.zeros((2, *mode.shape), int)
    frame.state = state = np.zeros(mode.shape, int)
    sizes = np.zeros_like(f)
    for i, j in np.ndindex(mode.shape):
        near = []
        for g, earlier in zip(f, frame.vector[0], strict=True):
            above = g[i - 1, j] if i else g[i, j - 1] if j else 0
            left = g[i, j - 1] if j else above
            third = above if i else left
            if i and j + 1 < mode.shape[1]:
                third = g[i - 1, j + 1]
            if side and mode[i, j] == 3:
                third = -earlier[i, j]
            g[i, j] = sorted([left, above, third])[1]
            near.append((int(g[i, j]), left, above, third))
        if not WEIGHTS[mode[i, j]][side]:
            continue
        half = [half_of(far, p, side, axis, i, j) for axis in range(2)]
        candidates = list(zip(*near, strict=True))
        c1, c2 = state[i, j - 1] if j else 0, state[i - 1, j] if i else 0
        b = int(c1 > 0) + int(c2 > 0)
        taken = None
        if coder.mixed:
            _, left, above, third = candidates
            a = (left == above) + 2 * (left == third) + 4 * (above == third)
            spread = max(distance(left, above), distance(left, third))
            k = 0
            for n, x in enumerate(candidates):
                if x in candidates[:n]:
                    continue
                t = 0 if half[0] is None else 1 + grade(distance(half, x))
                y = grade(distance(before.vector[side, :, i, j], x))
                m = mode[i, j]
                if n == 0:
                    row = (
                        (grade(spread), t, b),
                        (a, c1, c2, m),
                        (frame.level, t, y),
                        (m, side, fine_grade(spread)),
                    )
                    flag = coder.read("prediction", side, *row)
                else:
                    row = (
                        (n, t, fine_grade(distance(x, candidates[0]))),
                        (n, c1, c2, a),
                        (t, y, k),
                        (n, fine_grade(spread), k),
                    )
                    flag = coder.read("candidate", n, *row)
                if flag:
                    taken = n
                    break
                k += 1
            state[i, j] = int(bool(taken))
        if taken is not None:
            f[:, i, j] = candidates[taken]
        else:
            vertical = 0
            for axis, (middle, left, above, third) in enumerate(near):
                w = 0 if half[axis] is None else half[axis] - middle
                g = 0 if half[axis] is None else 1 + grade(abs(w))
                u = max(abs(left - above), abs(left - third))
                h = height(axis, vertical)
                v = frame.level
                total = (sizes[axis, i, j - 1] if j else 0) + (sizes[axis, i - 1, j] if i else 0)
                size = fine_grade(total) + (total > 60)
                far_off = max(abs(x - middle) for x in (left, above, third))
                beside = [sign_of(x - middle) for x in (left, above, third)]
                most = fine_grade(max(u, abs(w)))
                vertical = coder.difference(
                    "",
                    (
                        (grade(u), g, b, h),
                        (h, c1, c2),
                        (v, h, fine_grade(u)),
                        (size, h, fine_grade(u)),
                    ),
                    (
                        (sign_of(w), min(abs(w), 2), sign_of(left - above)),
                        (sign_of(middle), sign_of(w), axis),
                        (*beside, sign_of(w)),
                    ),
                    (
                        (most, h),
                        (fine_grade(abs(w)), fine_grade(u)),
                        (size, h),
                        (v, fine_grade(far_off), h),
                    ),
                    (most, h),
                )
                f[axis, i, j] += vertical
                sizes[axis, i, j] = abs(vertical)
                if vertical:
                    state[i, j] = 2
        frame.vector[side, :, i, j] = f[:, i, j]
    return f


def decode_quarters(coder, side, frame, before, field, quarters):
    mode, divided = frame.mode, frame.divided[side]
    rows, columns = mode.shape

    def at(i, j):
        return tuple(field[:, min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)].tolist())

    def edge(there, y, x, i, j):
        return 0 if not there else 1 if tuple(quarters[:, y, x]) == at(i, j) else 2

    for i, j in np.ndindex(mode.shape):
        if not WEIGHTS[mode[i, j]][side]:
            continue
        cell, m, v = at(i, j), mode[i, j], frame.level
        unlike = sum(u != cell for u in (at(i, j - 1), at(i, j + 1), at(i - 1, j), at(i + 1, j)))
        d1, d2 = divided[i, j - 1] if j else 0, divided[i - 1, j] if i else 0
        divided[i, j] = coder.read(
            "division",
            side,
            (unlike > 0, d1 + d2),
            (unlike, d1, d2, m),
            (v, before.divided[side, i, j], d1 + d2),
            (frame.divided[0, i, j] if side else 0, side, m, d1 + d2),
            (unlike, frame.state[i, j]),
        )
        chosen = []
        for q, (y, x) in enumerate(np.ndindex(2, 2)):
            choices = [cell, at(i, j + 2 * x - 1), at(i + 2 * y - 1, j)]
            value = cell
            row, column = 2 * i + y, 2 * j + x
            if divided[i, j]:
                others = sum(choice > 0 for choice in chosen)
                e = 3 if q == 3 and not others else min(others, 2)
                same = 4 * (choices[0] == choices[1]) + 2 * (choices[0] == choices[2])
                same += choices[1] == choices[2]
                edges = (
                    edge(not x and j > 0, row, column - 1, i, j - 1),
                    edge(not y and i > 0, row - 1, column, i - 1, j),
                )
                for k, choice in enumerate(choices):
                    if choice in choices[:k] or (k == 0 and e == 3):
                        continue
                    off = fine_grade(distance(choice, cell))
                    names = (e, same, k), (*chosen, k), (k, off, v), (k, off, *edges)
                    if not coder.read("choice", k, *names):
                        chosen.append(k)
                        value = choice
                        break
                else:
                    chosen.append(3)
                    value, vertical = [], 0
                    for axis in range(2):
                        h = height(axis, vertical)
                        beside, upright = (c[axis] - cell[axis] for c in choices[1:])
                        vertical = coder.difference(
                            "own ",
                            ((h,), (h, v)),
                            ((axis,), (sign_of(beside), sign_of(upright))),
                            ((h,), (v, h), (fine_grade(max(abs(beside), abs(upright))), h)),
                            (h,),
                        )
                        value.append(cell[axis] + vertical)
            quarters[:, row, column] = value


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


@pytest.mark.parametrize("reach", [1, 40])
@pytest.mark.parametrize("mixed", [True, False])
def test_a_second_decoder_of_motion(mixed, reach):
    motion = random_motion(11, 6, 9, reach, seed=5)
    data = coding.encode(motion, mixed)
    levels = decode_motion(data, 11, 6, 9, mixed)
    for level, (mode, vector, quarters, _) in levels.items():
        assert np.array_equal(motion[level - 1].mode, mode)
        assert np.array_equal(motion[level - 1].vector, vector)
        assert np.array_equal(motion[level - 1].quarters, quarters)


def test_the_tables_of_mixed_flags_are_not_near_a_half():
    logs = [256 * log(2 * n - 1) for n in range(1, 130)]
    logistic = [2**16 / (1 + exp(-s / 256)) for s in range(-2047, 2048)]
    for x in (*logs, *logistic):
        assert abs(x % 1 - 0.5) > 1e-6


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
