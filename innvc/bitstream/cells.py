"""Modes and vectors of the cells of one frame, flag by flag (docs/format.md, section 14).

The same functions code and decode. Strings of format 0.19 and before know no candidates.
"""

from __future__ import annotations

import numpy as np

from innvc.bitstream.cell_flags import (
    CANDIDATE,
    MODE,
    PREDICTED,
    SIGN,
    SIZE,
    VECTOR,
    Frame,
    Known,
    Side,
    code_difference,
    distance,
    fine_grade,
    grade,
    height,
)
from innvc.bitstream.mixing import Mixer, code_mixed
from innvc.bitstream.quarters import code_quarters
from innvc.bitstream.range_coder import BROKEN, DECODING, Stream
from innvc.compiled import compiled
from innvc.model.motion import AFTER, BEFORE, BOTH

# Modes from likely to unlikely, by the mode that is expected.
ORDER = np.array([[0, 1, 3, 2], [1, 3, 2, 0], [2, 3, 1, 0], [3, 1, 2, 0]])
RANK = np.argsort(ORDER, axis=1)


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
                    code_quarters(stream, mixer, frame, known, now, i, j)
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
    taken = -1
    if mixer.mixed:
        taken = _code_candidates(stream, mixer, frame, known, now, i, j, around)
    if taken >= 0:
        now.changed[i, j] = min(taken, 1)
        field[0, i, j], field[1, i, j] = now.near[taken]
    else:
        _code_own(stream, mixer, frame, known, now, i, j, around)
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
    """Codes which of the vectors in `near` a cell has; -1 is none of them.

    Args:
        around: Three times `Side.changed` to the left, and that above.
    """
    vector, before = frame.vector[now.side, :, i, j], known.before.vector[now.side, :, i, j]
    near, mode, classes = now.near, frame.mode[i, j], mixer.classes
    told = known.coarser[i, j] > 0
    half = known.halves[now.side, :, i, j]
    alike = (
        int(distance(near[1], near[2]) == 0)
        + 2 * int(distance(near[1], near[3]) == 0)
        + 4 * int(distance(near[2], near[3]) == 0)
    )
    spread = max(distance(near[1], near[2]), distance(near[1], near[3]))
    place = 0  # among those that differ
    for n in range(4):
        same = False
        for m in range(n):
            same |= distance(near[n], near[m]) == 0
        if same:
            continue
        way = 1 + grade(distance(half, near[n])) if told else 0
        way_before = grade(distance(before, near[n]))
        if n == 0:
            classes[0] = 3 * (5 * grade(spread) + way) + _changes(around)
            classes[1] = 4 * (9 * alike + around) + mode
            classes[2] = 4 * (5 * known.level + way) + way_before
            classes[3] = 6 * (2 * mode + now.side) + fine_grade(spread)
            kind, chosen = PREDICTED, now.side
        else:
            classes[0] = 6 * (5 * n + way) + fine_grade(distance(near[n], near[0]))
            classes[1] = 8 * (9 * n + around) + alike
            classes[2] = 4 * (4 * way + way_before) + place
            classes[3] = 4 * (6 * n + fine_grade(spread)) + place
            kind, chosen = CANDIDATE, n
        if code_mixed(stream, mixer, kind, chosen, distance(vector, near[n]) == 0):
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
) -> None:
    """Codes how a vector differs from the prediction."""
    changes = _changes(around)
    near, field, sizes = now.near, now.field, now.sizes
    classes = np.zeros((4, 4), np.int64)
    vertical = 0
    for axis in range(2):
        predicted, left, above, third = near[:, axis]
        spread = max(abs(left - above), abs(left - third))
        told = known.coarser[i, j] > 0
        way = known.halves[now.side, axis, i, j] - predicted if told else 0
        off = 1 + grade(abs(way)) if told else 0
        far = max(abs(left - predicted), abs(above - predicted), abs(third - predicted))
        around_size = (sizes[axis, i, j - 1] if j > 0 else 0) + (
            sizes[axis, i - 1, j] if i > 0 else 0
        )
        size = fine_grade(around_size) + int(around_size > 60)
        classes[0, 0] = 4 * (3 * (5 * grade(spread) + off) + changes) + vertical
        classes[0, 1] = 9 * vertical + around
        classes[0, 2] = 6 * (4 * known.level + vertical) + fine_grade(spread)
        classes[0, 3] = 6 * (4 * size + vertical) + fine_grade(spread)
        sign = 1 + np.sign(way)
        classes[SIGN, 0] = 9 * sign + 3 * min(abs(way), 2) + 1 + np.sign(left - above)
        classes[SIGN, 1] = 2 * (3 * (1 + np.sign(predicted)) + sign) + axis
        classes[SIGN, 2] = 9 * (1 + np.sign(left - predicted)) + 3 * (
            1 + np.sign(above - predicted)
        )
        classes[SIGN, 2] = 3 * (classes[SIGN, 2] + 1 + np.sign(third - predicted)) + sign
        classes[SIZE, 0] = 4 * fine_grade(max(spread, abs(way))) + vertical
        classes[SIZE, 1] = 6 * fine_grade(abs(way)) + fine_grade(spread)
        classes[SIZE, 2] = 4 * size + vertical
        classes[SIZE, 3] = 4 * (6 * known.level + fine_grade(far)) + vertical
        value = frame.vector[now.side, axis, i, j] - predicted
        difference = code_difference(stream, mixer, VECTOR, classes, value)
        field[axis, i, j] += difference
        sizes[axis, i, j] = abs(difference)
        if difference != 0:
            now.changed[i, j] = 2
        vertical = height(difference)


@compiled
def _changes(around: int) -> int:
    """How many of the two cells have another vector than was predicted."""
    return int(around >= 3) + int(around % 3 > 0)
