"""Flags of the cells' motion: their kinds, what is known of them, and coded differences.

A flag has a kind, and up to five classes that tell how likely it is (docs/format.md, section 14);
strings of format 0.19 and before know the first of them alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from innvc.bitstream import mixing
from innvc.bitstream.mixing import Mixer, code_mixed
from innvc.bitstream.range_coder import Stream, code_number
from innvc.compiled import compiled

LONGEST = 14  # bits of a component's difference, without the first
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
def code_difference(
    stream: Stream, mixer: Mixer, kind: int, classes: np.ndarray, value: int
) -> int:
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


@compiled
def distance(a: np.ndarray, b: np.ndarray) -> int:
    return int(max(abs(a[0] - b[0]), abs(a[1] - b[1])))


@compiled
def grade(size: int) -> int:
    return int(size > 0) + int(size > 2) + int(size > 8)


@compiled
def fine_grade(size: int) -> int:
    return int(size > 0) + int(size > 1) + int(size > 3) + int(size > 8) + int(size > 24)


@compiled
def height(difference: int) -> int:
    """Of a vertical difference, from 1; the vertical component itself has 0."""
    return 1 + int(difference != 0) + int(abs(difference) > 3)
