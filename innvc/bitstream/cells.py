"""Modes and vectors of the cells of one frame, flag by flag (docs/format.md, section 14).

The same functions code and decode. A flag has a kind, and up to five classes that tell how likely
it is; strings of format 0.19 and before know the first of them alone, and no candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from innvc.bitstream import mixing
from innvc.bitstream.mixing import Mixer, code_mixed
from innvc.bitstream.range_coder import BROKEN, DECODING, Stream, code_number
from innvc.compiled import compiled
from innvc.model.motion import AFTER, BEFORE, BOTH

LONGEST = 14  # bits of a component's difference, without the first
OWN = 3  # a quarter's vector that is neither the cell's nor a neighbour's
# Modes from likely to unlikely, by the mode that is expected.
ORDER = np.array([[0, 1, 3, 2], [1, 3, 2, 0], [2, 3, 1, 0], [3, 1, 2, 0]])
RANK = np.argsort(ORDER, axis=1)
COARSEST = 4  # levels from here on are one
# Kinds of flags, and how many classes each has. Those of differences follow VECTOR and OWN_VECTOR.
MODE, PREDICTED, CANDIDATE, VECTOR, OWN_VECTOR, DIVISION, CHOICE = 0, 1, 2, 3, 7, 11, 12
SIGN, SIZE, SECOND = 1, 2, 3  # after VECTOR and OWN_VECTOR
INPUTS = [4, 4, 4, 4, 3, 4, 2, 2, 2, 3, 2, 5, 4]


class Frame(NamedTuple):
    """The motion of a frame, to code or to decode into.

    Attributes:
        mode: int64 [rows, columns].
        vector: int64 [2, 2, rows, columns], see `LevelMotion`.
        quarters: int64 [2, 2, 2 rows, 2 columns].
        divided: Whether a cell's quarters differ, to each reference [2, rows, columns].
    """

    mode: np.ndarray
    vector: np.ndarray
    quarters: np.ndarray
    divided: np.ndarray


class Known(NamedTuple):
    """What is known of a frame before.

    Attributes:
        level: From 0, the finest.
        before: The frame before of the level; zeros where there is none.
        coarser: Modes of the coarser level's frame; zeros where there is none [rows, columns].
        halves: Half of its vectors, as `Frame.vector`.
    """

    level: int
    before: Frame
    coarser: np.ndarray
    halves: np.ndarray


class Side(NamedTuple):
    """What was coded of the vectors to one reference.

    Attributes:
        side: The reference.
        field: The cells' vectors, or what is predicted where a cell has none [2, rows, columns].
        changed: Whether a vector is the predicted one (0), a neighbour's (1) or its own (2).
        sizes: Of differences, where it is its own [2, rows, columns].
        near: Of the cell that is coded: the prediction, and the vectors to the left, above and
            above to the right [4, 2].
    """

    side: int
    field: np.ndarray
    changed: np.ndarray
    sizes: np.ndarray
    near: np.ndarray


def still(rows: int, columns: int) -> Frame:
    """A frame of nothing but zeros."""
    shapes = (rows, columns), (2, 2, rows, columns), (2, 2, 2 * rows, 2 * columns)
    mode, vector, quarters = (np.zeros(shape, np.int64) for shape in shapes)
    return Frame(mode, vector, quarters, np.zeros((2, rows, columns), np.int64))


def mixer(mixed: bool) -> Mixer:
    """Before the first flag of a string; `mixed` is false for those of format 0.19 and before."""
    return mixing.mixer(INPUTS, mixed)


@compiled
def code_frame(stream: Stream, mixer: Mixer, frame: Frame, known: Known) -> bool:
    """Codes a frame's cells, or decodes into them.

    Returns:
        Whether the string is valid.
    """
    rows, columns = frame.mode.shape
    _code_modes(stream, mixer, frame.mode, known)
    field, near = np.zeros((2, rows, columns), np.int64), np.empty((4, 2), np.int64)
    for side in range(2):
        changed, sizes = np.zeros_like(frame.mode), np.zeros_like(field)
        now = Side(side, field, changed, sizes, near)
        alone = AFTER if side else BEFORE
        for i in range(rows):
            for j in range(columns):
                _predict(frame, now, i, j)
                if frame.mode[i, j] == alone or frame.mode[i, j] == BOTH:
                    _code_vector(stream, mixer, frame, known, now, i, j)
        for i in range(rows):
            for j in range(columns):
                if frame.mode[i, j] == alone or frame.mode[i, j] == BOTH:
                    _code_quarters(stream, mixer, frame, known, now, i, j)
    return bool(stream.state[DECODING] != BROKEN)


@compiled
def _code_modes(stream: Stream, mixer: Mixer, mode: np.ndarray, known: Known) -> None:
    rows, columns = mode.shape
    classes = mixer.classes
    for i in range(rows):
        for j in range(columns):
            left = BEFORE
            if j > 0:
                left = mode[i, j - 1]
            elif i > 0:
                left = mode[i - 1, j]
            above = mode[i - 1, j] if i > 0 else left
            corner = mode[i - 1, j - 1] if i > 0 and j > 0 else above
            far = 4 * (mode[i, j - 2] if j > 1 else left) + (mode[i - 2, j] if i > 1 else above)
            rank, wanted = 0, RANK[left, mode[i, j]]
            while rank < 3:
                classes[0] = 3 * (4 * left + above) + rank
                classes[1] = 48 * (4 * known.level + known.before.mode[i, j]) + classes[0]
                classes[2] = 48 * known.coarser[i, j] + classes[0]
                classes[3] = 48 * (16 * corner + far) + classes[0]
                if not code_mixed(stream, mixer, MODE, rank, wanted > rank):
                    break
                rank += 1
            mode[i, j] = ORDER[left, rank]


@compiled
def _predict(frame: Frame, now: Side, i: int, j: int) -> None:
    """Puts what is known of a cell's vector into `near`, and the prediction into the field."""
    columns = frame.mode.shape[1]
    for axis in range(2):
        field = now.field[axis]
        above = field[i - 1, j] if i > 0 else 0
        left = above
        if j > 0:
            left = field[i, j - 1]
            if i == 0:
                above = left
        third = left
        if i > 0:
            third = field[i - 1, min(j + 1, columns - 1)]
        if now.side == 1 and frame.mode[i, j] == BOTH:
            third = -frame.vector[0, axis, i, j]
        field[i, j] = max(min(left, above), min(max(left, above), third))
        now.near[0, axis], now.near[1, axis] = field[i, j], left
        now.near[2, axis], now.near[3, axis] = above, third


@compiled
def _code_vector(
    stream: Stream, mixer: Mixer, frame: Frame, known: Known, now: Side, i: int, j: int
) -> None:
    vector, field = frame.vector[now.side], now.field
    beside = now.changed[i, j - 1] if j > 0 else 0
    upright = now.changed[i - 1, j] if i > 0 else 0
    around = 3 * beside + upright
    own = True
    if mixer.mixed:
        taken = _code_candidates(stream, mixer, frame, known, now, i, j, around)
        own = taken < 0
        now.changed[i, j] = min(taken, 1)
        if not own:
            field[0, i, j], field[1, i, j] = now.near[taken]
    if own:
        changes = int(beside > 0) + int(upright > 0)
        _code_own(stream, mixer, frame, known, now, i, j, around, changes)
    vector[0, i, j], vector[1, i, j] = field[:, i, j]


@compiled
def _code_candidates(
    stream: Stream,
    mixer: Mixer,
    frame: Frame,
    known: Known,
    now: Side,
    i: int,
    j: int,
    around: int,
) -> int:
    """Codes which of the vectors in `near` a cell has; -1 is none of them."""
    vector, before = frame.vector[now.side, :, i, j], known.before.vector[now.side, :, i, j]
    near, mode, classes = now.near, frame.mode[i, j], mixer.classes
    told = known.coarser[i, j] > 0
    half = known.halves[now.side, :, i, j]
    alike = (
        int(_distance(near[1], near[2]) == 0)
        + 2 * int(_distance(near[1], near[3]) == 0)
        + 4 * int(_distance(near[2], near[3]) == 0)
    )
    spread = max(_distance(near[1], near[2]), _distance(near[1], near[3]))
    place = 0  # among those that differ
    for n in range(4):
        known_before = False
        for m in range(n):
            known_before |= _distance(near[n], near[m]) == 0
        if known_before:
            continue
        way = 1 + _grade(_distance(half, near[n])) if told else 0
        way_before = _grade(_distance(before, near[n]))
        if n == 0:
            changes = int(around >= 3) + int(around % 3 > 0)
            classes[0] = 3 * (5 * _grade(spread) + way) + changes
            classes[1] = 4 * (9 * alike + around) + mode
            classes[2] = 4 * (5 * known.level + way) + way_before
            classes[3] = 6 * (2 * mode + now.side) + _fine_grade(spread)
            kind, chosen = PREDICTED, now.side
        else:
            classes[0] = 6 * (5 * n + way) + _fine_grade(_distance(near[n], near[0]))
            classes[1] = 8 * (9 * n + around) + alike
            classes[2] = 4 * (4 * way + way_before) + place
            classes[3] = 4 * (6 * n + _fine_grade(spread)) + place
            kind, chosen = CANDIDATE, n
        if code_mixed(stream, mixer, kind, chosen, _distance(vector, near[n]) == 0):
            return n
        place += 1
    return -1


@compiled
def _code_own(
    stream: Stream,
    mixer: Mixer,
    frame: Frame,
    known: Known,
    now: Side,
    i: int,
    j: int,
    around: int,
    changes: int,
) -> None:
    """Codes how a vector differs from the prediction."""
    near, field, sizes = now.near, now.field, now.sizes
    classes = np.zeros((4, 4), np.int64)
    height = 0
    for axis in range(2):
        predicted, left, above, third = near[:, axis]
        spread = max(abs(left - above), abs(left - third))
        told = known.coarser[i, j] > 0
        way = known.halves[now.side, axis, i, j] - predicted if told else 0
        distance = 1 + _grade(abs(way)) if told else 0
        far = max(abs(left - predicted), abs(above - predicted), abs(third - predicted))
        around_size = (sizes[axis, i, j - 1] if j > 0 else 0) + (
            sizes[axis, i - 1, j] if i > 0 else 0
        )
        size = _fine_grade(around_size) + int(around_size > 60)
        classes[0, 0] = 4 * (3 * (5 * _grade(spread) + distance) + changes) + height
        classes[0, 1] = 9 * height + around
        classes[0, 2] = 6 * (4 * known.level + height) + _fine_grade(spread)
        classes[0, 3] = 6 * (4 * size + height) + _fine_grade(spread)
        sign = 1 + np.sign(way)
        classes[SIGN, 0] = 9 * sign + 3 * min(abs(way), 2) + 1 + np.sign(left - above)
        classes[SIGN, 1] = 2 * (3 * (1 + np.sign(predicted)) + sign) + axis
        classes[SIGN, 2] = 9 * (1 + np.sign(left - predicted)) + 3 * (
            1 + np.sign(above - predicted)
        )
        classes[SIGN, 2] = 3 * (classes[SIGN, 2] + 1 + np.sign(third - predicted)) + sign
        classes[SIZE, 0] = 4 * _fine_grade(max(spread, abs(way))) + height
        classes[SIZE, 1] = 6 * _fine_grade(abs(way)) + _fine_grade(spread)
        classes[SIZE, 2] = 4 * size + height
        classes[SIZE, 3] = 4 * (6 * known.level + _fine_grade(far)) + height
        value = frame.vector[now.side, axis, i, j] - predicted
        difference = _difference(stream, mixer, VECTOR, classes, value)
        field[axis, i, j] += difference
        sizes[axis, i, j] = abs(difference)
        if difference != 0:
            now.changed[i, j] = 2
        height = _height(difference)


@compiled
def _code_quarters(
    stream: Stream, mixer: Mixer, frame: Frame, known: Known, now: Side, i: int, j: int
) -> None:
    """Codes the vectors of a cell's quarters to one reference."""
    field, quarters = now.field, frame.quarters[now.side]
    divided, classes = frame.divided[now.side], mixer.classes
    rows, columns = frame.mode.shape
    mode, side = frame.mode[i, j], now.side
    unlike = int(not _alike(field, i, j, i, max(j - 1, 0)))
    unlike += int(not _alike(field, i, j, i, min(j + 1, columns - 1)))
    unlike += int(not _alike(field, i, j, max(i - 1, 0), j))
    unlike += int(not _alike(field, i, j, min(i + 1, rows - 1), j))
    differs = False
    for q in range(4):
        differs |= not _alike_quarter(quarters, 2 * i + q // 2, 2 * j + q % 2, field, i, j)
    beside = divided[i, j - 1] if j > 0 else 0
    upright = divided[i - 1, j] if i > 0 else 0
    first = frame.divided[0, i, j] if side == 1 else 0
    classes[0] = 3 * int(unlike > 0) + beside + upright
    classes[1] = 4 * (4 * unlike + 2 * beside + upright) + mode
    classes[2] = 3 * (2 * known.level + known.before.divided[side, i, j]) + beside + upright
    classes[3] = 3 * (4 * (2 * first + side) + mode) + beside + upright
    classes[4] = 3 * unlike + now.changed[i, j]
    divided[i, j] = code_mixed(stream, mixer, DIVISION, side, differs)
    before, choices = 0, 0
    for q in range(4):
        y, x = 2 * i + q // 2, 2 * j + q % 2
        if divided[i, j] == 0:
            quarters[0, y, x], quarters[1, y, x] = field[:, i, j]
            continue
        across = min(max(j + 2 * (q % 2) - 1, 0), columns - 1)
        down = min(max(i + 2 * (q // 2) - 1, 0), rows - 1)
        last = q == 3 and before == 0
        beside, upright = _alike(field, i, j, i, across), _alike(field, i, j, down, j)
        same = 4 * beside + 2 * upright + _alike(field, i, across, down, j)
        edges = 0
        if q % 2 == 0 and j > 0:
            edges += 1 + int(not _alike_quarter(quarters, y, x - 1, field, i, j - 1))
        if q < 2 and i > 0:
            edges += 3 + 3 * int(not _alike_quarter(quarters, y - 1, x, field, i - 1, j))
        choice, row, column = OWN, i, j
        for k in range(3):
            row, column = down if k == 2 else i, across if k == 1 else j
            if (k == 0 and last) or (k == 1 and beside) or (k == 2 and (upright or same & 1)):
                continue
            away = _fine_grade(_distance(field[:, row, column], field[:, i, j]))
            classes[0] = 3 * (8 * (3 if last else min(before, 2)) + same) + k
            classes[1] = 3 * (4 * choices + q) + k
            classes[2] = 5 * (6 * k + away) + known.level
            classes[3] = 9 * (6 * k + away) + edges
            other = not _alike_quarter(quarters, y, x, field, row, column)
            if not code_mixed(stream, mixer, CHOICE, k, other):
                choice = k
                break
        before += int(choice > 0)
        choices = 4 * choices + choice
        if choice < OWN:
            quarters[0, y, x], quarters[1, y, x] = field[:, row, column]
        else:
            _code_quarter(stream, mixer, known, field, quarters, (i, j, across, down, y, x))


@compiled
def _code_quarter(
    stream: Stream,
    mixer: Mixer,
    known: Known,
    field: np.ndarray,
    quarters: np.ndarray,
    place: tuple[int, int, int, int, int, int],
) -> None:
    """Codes how a quarter's vector differs from its cell's."""
    i, j, across, down, y, x = place
    classes = np.zeros((4, 4), np.int64)
    height = 0
    for axis in range(2):
        own = field[axis, i, j]
        beside, upright = field[axis, i, across] - own, field[axis, down, j] - own
        classes[0, 0], classes[0, 1] = height, 5 * height + known.level
        classes[SIGN, 0] = axis
        classes[SIGN, 1] = 3 * (1 + np.sign(beside)) + 1 + np.sign(upright)
        classes[SIZE, 0], classes[SIZE, 1] = height, 4 * known.level + height
        classes[SIZE, 2] = 4 * _fine_grade(max(abs(beside), abs(upright))) + height
        difference = _difference(stream, mixer, OWN_VECTOR, classes, quarters[axis, y, x] - own)
        quarters[axis, y, x] = own + difference
        height = _height(difference)


@compiled
def _distance(a: np.ndarray, b: np.ndarray) -> int:
    return int(max(abs(a[0] - b[0]), abs(a[1] - b[1])))


@compiled
def _alike(field: np.ndarray, i: int, j: int, row: int, column: int) -> bool:
    across = field[1, i, j] == field[1, row, column]
    return bool(across and field[0, i, j] == field[0, row, column])


@compiled
def _alike_quarter(
    quarters: np.ndarray, y: int, x: int, field: np.ndarray, row: int, column: int
) -> bool:
    across = quarters[1, y, x] == field[1, row, column]
    return bool(across and quarters[0, y, x] == field[0, row, column])


@compiled
def _grade(size: int) -> int:
    return int(size > 0) + int(size > 2) + int(size > 8)


@compiled
def _fine_grade(size: int) -> int:
    return int(size > 0) + int(size > 1) + int(size > 3) + int(size > 8) + int(size > 24)


@compiled
def _height(difference: int) -> int:
    """Of a vertical difference, from 1; the vertical component itself has 0."""
    return 1 + int(difference != 0) + int(abs(difference) > 3)


@compiled
def _difference(stream: Stream, mixer: Mixer, kind: int, classes: np.ndarray, value: int) -> int:
    """Codes or decodes a component's difference.

    Args:
        kind: VECTOR or OWN_VECTOR.
        classes: Of whether there is one, of its sign and of its size, without its length [4, 4].
    """
    mixer.classes[:4] = classes[0]
    if not code_mixed(stream, mixer, kind, 0, value != 0):
        return 0
    mixer.classes[:4] = classes[SIGN]
    negative = code_mixed(stream, mixer, kind + SIGN, 0, value < 0)
    size, length = abs(value), 0
    while length < LONGEST:
        mixer.classes[:4] = LONGEST * classes[SIZE] + length
        if not code_mixed(stream, mixer, kind + SIZE, length, size >> (length + 1) > 0):
            break
        length += 1
    found = 1
    if length > 0:
        mixer.classes[0] = length
        mixer.classes[1] = (1 + LONGEST) * classes[SIZE, 0] + length
        found = 2 + code_mixed(stream, mixer, kind + SECOND, 0, size >> (length - 1) & 1 > 0)
        rest = size & ((1 << (length - 1)) - 1)
        found = (found << (length - 1)) + code_number(stream, length - 1, rest)
    return -found if negative == 1 else found
