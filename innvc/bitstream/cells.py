"""Modes and vectors of the cells of one frame, flag by flag (docs/format.md, section 14).

The same functions code and decode. Flags of a class follow the frequencies of those before.
"""

from __future__ import annotations

import numpy as np

from innvc.bitstream.range_coder import BROKEN, DECODING, Stream, code_flag, code_number
from innvc.compiled import compiled
from innvc.model.motion import AFTER, BEFORE, BOTH

LONGEST = 14  # bits of a component's difference, without the first
OWN = 3  # a quarter's vector that is neither the cell's nor a neighbour's
# Modes from likely to unlikely, by the mode that is expected.
ORDER = np.array([[0, 1, 3, 2], [1, 3, 2, 0], [2, 3, 1, 0], [3, 1, 2, 0]])
RANK = np.argsort(ORDER, axis=1)
# First class of each kind of flag.
MODES = 0  # by the modes to the left and above, and by rank
VECTORS = MODES + 4 * 4 * 3  # by spread, distance, changes beside, and the vertical difference
SIGNS = VECTORS + 4 * 5 * 3 * 4  # by direction and distance, and which neighbour is greater
SIZES = SIGNS + 3 * 3 * 3  # by spread or distance, the vertical difference, and length
SECONDS = SIZES + 6 * 4 * LONGEST  # by length
DIVISIONS = SECONDS + 1 + LONGEST  # by whether neighbours differ, and those divided
CHOICES = DIVISIONS + 2 * 3  # by quarters before, which neighbours differ, and choice
OWN_VECTORS = CHOICES + 4 * 8 * 3  # by the vertical difference
OWN_SIGNS = OWN_VECTORS + 4  # by axis
OWN_SIZES = OWN_SIGNS + 2  # by the vertical difference and length
OWN_SECONDS = OWN_SIZES + 4 * LONGEST  # by length
CLASSES = OWN_SECONDS + 1 + LONGEST


def counts() -> np.ndarray:
    """Zeros and ones of each class [CLASSES, 2] before the first flag."""
    return np.ones((CLASSES, 2), np.int64)


@compiled
def code_frame(
    stream: Stream,
    counts: np.ndarray,
    mode: np.ndarray,
    vector: np.ndarray,
    quarters: np.ndarray,
    expected: np.ndarray,
    told: np.ndarray,
) -> bool:
    """Codes a frame's cells, or decodes into them.

    Args:
        counts: Of flags before [CLASSES, 2].
        mode: int64 [rows, columns].
        vector: int64 [2, 2, rows, columns], see `LevelMotion`.
        quarters: int64 [2, 2, 2 rows, 2 columns].
        expected: Half the coarser level's vectors, as `vector`.
        told: Where there are such [rows, columns].

    Returns:
        Whether the string is valid.
    """
    rows, columns = mode.shape
    for i in range(rows):
        for j in range(columns):
            left = BEFORE
            if j > 0:
                left = mode[i, j - 1]
            elif i > 0:
                left = mode[i - 1, j]
            above = mode[i - 1, j] if i > 0 else left
            rank, wanted = 0, RANK[left, mode[i, j]]
            while rank < 3:
                number = MODES + 3 * (4 * left + above) + rank
                if not code_flag(stream, counts, number, wanted > rank):
                    break
                rank += 1
            mode[i, j] = ORDER[left, rank]
    field = np.zeros((2, rows, columns), np.int64)
    for side in range(2):
        alone = AFTER if side else BEFORE
        _code_vectors(stream, counts, side, alone, mode, vector, expected[side], told, field)
        _code_quarters(stream, counts, alone, mode, field, quarters[side])
    return bool(stream.state[DECODING] != BROKEN)


@compiled
def _code_vectors(
    stream: Stream,
    counts: np.ndarray,
    side: int,
    alone: int,
    mode: np.ndarray,
    vector: np.ndarray,
    expected: np.ndarray,
    told: np.ndarray,
    field: np.ndarray,
) -> None:
    """Codes the vectors to one reference; `field` takes all, or what is predicted."""
    rows, columns = mode.shape
    changed = np.zeros((rows, columns), np.int64)
    for i in range(rows):
        for j in range(columns):
            near = (changed[i, j - 1] if j > 0 else 0) + (changed[i - 1, j] if i > 0 else 0)
            uses = mode[i, j] == alone or mode[i, j] == BOTH
            size = 0
            for axis in range(2):
                above = field[axis, i - 1, j] if i > 0 else 0
                left = above
                if j > 0:
                    left = field[axis, i, j - 1]
                    if i == 0:
                        above = left
                third = left
                if i > 0:
                    third = field[axis, i - 1, min(j + 1, columns - 1)]
                if side == 1 and mode[i, j] == BOTH:
                    third = -vector[0, axis, i, j]
                predicted = max(min(left, above), min(max(left, above), third))
                field[axis, i, j] = predicted
                if not uses:
                    continue
                spread = max(abs(left - above), abs(left - third))
                way = expected[axis, i, j] - predicted if told[i, j] else 0
                distance = 1 + _grade(abs(way)) if told[i, j] else 0
                difference = _difference(
                    stream,
                    counts,
                    vector[side, axis, i, j] - predicted,
                    VECTORS + 4 * (3 * (5 * _grade(spread) + distance) + near) + size,
                    SIGNS
                    + 9 * (1 + np.sign(way))
                    + 3 * min(abs(way), 2)
                    + 1
                    + np.sign(left - above),
                    SIZES + LONGEST * (4 * _fine_grade(max(spread, abs(way))) + size),
                    SECONDS,
                )
                field[axis, i, j] += difference
                vector[side, axis, i, j] = field[axis, i, j]
                if difference != 0:
                    changed[i, j] = 1
                size = _size(difference)


@compiled
def _code_quarters(
    stream: Stream,
    counts: np.ndarray,
    alone: int,
    mode: np.ndarray,
    field: np.ndarray,
    quarters: np.ndarray,
) -> None:
    """Codes the vectors of quarters [2, 2 rows, 2 columns] to one reference."""
    rows, columns = mode.shape
    divided = np.zeros((rows, columns), np.int64)
    for i in range(rows):
        for j in range(columns):
            if mode[i, j] != alone and mode[i, j] != BOTH:
                continue
            varied, differs = 0, False
            for q in range(4):
                across = min(max(j + 2 * (q % 2) - 1, 0), columns - 1)
                down = min(max(i + 2 * (q // 2) - 1, 0), rows - 1)
                if not _alike(field, i, j, i, across) or not _alike(field, i, j, down, j):
                    varied = 1
                for axis in range(2):
                    if quarters[axis, 2 * i + q // 2, 2 * j + q % 2] != field[axis, i, j]:
                        differs = True
            near = (divided[i, j - 1] if j > 0 else 0) + (divided[i - 1, j] if i > 0 else 0)
            divided[i, j] = code_flag(stream, counts, DIVISIONS + 3 * varied + near, differs)
            before = 0
            for q in range(4):
                y, x = 2 * i + q // 2, 2 * j + q % 2
                across = min(max(j + 2 * (q % 2) - 1, 0), columns - 1)
                down = min(max(i + 2 * (q // 2) - 1, 0), rows - 1)
                choice, row, column = 0, i, j
                last = q == 3 and before == 0
                if divided[i, j] == 1:
                    beside, upright = _alike(field, i, j, i, across), _alike(field, i, j, down, j)
                    same = 4 * beside + 2 * upright + _alike(field, i, across, down, j)
                    context = CHOICES + 3 * (8 * (3 if last else min(before, 2)) + same)
                    choice = OWN
                    for k in range(3):
                        row, column = down if k == 2 else i, across if k == 1 else j
                        if (
                            (k == 0 and last)
                            or (k == 1 and beside)
                            or (k == 2 and (upright or same & 1))
                        ):
                            continue
                        other = (
                            quarters[0, y, x] != field[0, row, column]
                            or quarters[1, y, x] != field[1, row, column]
                        )
                        if not code_flag(stream, counts, context + k, other):
                            choice = k
                            break
                if choice > 0:
                    before += 1
                if choice < OWN:
                    quarters[0, y, x] = field[0, row, column]
                    quarters[1, y, x] = field[1, row, column]
                    continue
                size = 0
                for axis in range(2):
                    difference = _difference(
                        stream,
                        counts,
                        quarters[axis, y, x] - field[axis, i, j],
                        OWN_VECTORS + size,
                        OWN_SIGNS + axis,
                        OWN_SIZES + LONGEST * size,
                        OWN_SECONDS,
                    )
                    quarters[axis, y, x] = field[axis, i, j] + difference
                    size = _size(difference)


@compiled
def _alike(field: np.ndarray, i: int, j: int, row: int, column: int) -> bool:
    across = field[1, i, j] == field[1, row, column]
    return bool(across and field[0, i, j] == field[0, row, column])


@compiled
def _grade(size: int) -> int:
    return int(size > 0) + int(size > 2) + int(size > 8)


@compiled
def _fine_grade(size: int) -> int:
    return int(size > 0) + int(size > 1) + int(size > 3) + int(size > 8) + int(size > 24)


@compiled
def _size(difference: int) -> int:
    """Of a vertical difference, from 1; the vertical component itself has 0."""
    return 1 + int(difference != 0) + int(abs(difference) > 3)


@compiled
def _difference(
    stream: Stream, counts: np.ndarray, value: int, zero: int, sign: int, sizes: int, seconds: int
) -> int:
    """Codes or decodes a component's difference; the other arguments are classes."""
    if not code_flag(stream, counts, zero, value != 0):
        return 0
    negative = code_flag(stream, counts, sign, value < 0)
    size, length = abs(value), 0
    while length < LONGEST:
        if not code_flag(stream, counts, sizes + length, size >> (length + 1) > 0):
            break
        length += 1
    found = 1
    if length > 0:
        found = 2 + code_flag(stream, counts, seconds + length, size >> (length - 1) & 1 > 0)
        rest = size & ((1 << (length - 1)) - 1)
        found = (found << (length - 1)) + code_number(stream, length - 1, rest)
    return -found if negative == 1 else found
