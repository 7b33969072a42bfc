"""Coded motion of one packet: the same function codes and decodes it (docs/format.md).

Cells are visited in a wavefront 2 row + column, so that the cells to the left, above and above to
the right are known, for all frames of a lifting level at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from innvc.bitstream.adaptive import AdaptiveTables
from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.vectors import best_table
from innvc.bitstream.wavefront import wavefront
from innvc.errors import CorruptError
from innvc.model.motion import (
    AFTER,
    BEFORE,
    BOTH,
    VECTOR_LIMIT,
    LevelMotion,
    Motion,
    in_quarters,
    used,
    zero,
)
from innvc.model.subbands import is_centred, low_counts

TABLE_BITS = 6
WEIGHT = 64  # of a table, in symbols
# First class of each kind of symbol.
MODES, VECTORS, DIVISIONS, CHOICES, OWN_VECTORS, CLASSES = 0, 2, 14, 16, 17, 21
CLASS_LIMITS = (0, 2, 8)  # of the spread of what could predict a vector
SECOND_LIMITS = (0, 3)  # of the vertical difference, for the class of the horizontal one
# Modes from likely to unlikely, by the mode that is expected: symbols 0, 1, -1, 2.
_ORDER = np.array([[0, 1, 3, 2], [1, 3, 2, 0], [2, 3, 1, 0], [3, 1, 2, 0]])
_RANK = np.argsort(_ORDER, axis=1)
_SYMBOL = np.array([0, 1, -1, 2])
_PLACE = np.array([0, 1, 3, 2])  # of symbols 0, 1, 2, -1
OWN = 3  # a quarter's vector that is neither the cell's nor a neighbour's


class _Collector:
    """Stands in for the coder in a first pass: what is coded of each class."""

    def __init__(self) -> None:
        self._symbols: list[list[np.ndarray]] = [[] for _ in range(CLASSES)]

    def code(self, classes: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        assert symbols is not None
        for number in np.unique(classes):
            self._symbols[number].append(symbols[classes == number])
        return symbols

    def tables(self) -> np.ndarray:
        """The best table of each class."""
        none = np.zeros(0, np.int64)
        return np.array([best_table(np.concatenate([none, *s]))[0] for s in self._symbols])


class _ClassCoder:
    """Codes or decodes symbols by their classes.

    Args:
        first: Table of each class to begin with.
    """

    def __init__(self, coder: Encoder | Decoder, first: np.ndarray) -> None:
        self._coder = coder
        self._adaptive = AdaptiveTables(WEIGHT, first)

    def code(self, classes: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        return self._coder.code(classes, symbols, self._adaptive)


Coder = _ClassCoder | _Collector


def encode(motion: Motion) -> bytes:
    """Codes the motion of a packet of at least 2 frames; nothing where it is still."""
    still = zero(1 + sum(len(level.mode) for level in motion), *motion[0].mode.shape[1:])
    pairs = zip(motion, still, strict=True)
    if not any(m.quarters.any() or (m.mode != s.mode).any() for m, s in pairs):
        return b""
    fine = any((v & 1).any() for m in motion for v in (m.vector, m.quarters))
    unit = 1 if fine else 2
    motion = [LevelMotion(m.mode, m.vector // unit, m.quarters // unit) for m in motion]
    collector, coder = _Collector(), Encoder()
    coder.integers(1, np.array([fine]))
    _code(collector, motion, True)
    first = coder.integers(TABLE_BITS, collector.tables())
    _code(_ClassCoder(coder, first), motion, True)
    return coder.finish()


def decode(data: bytes, group: int, rows: int, columns: int) -> Motion:
    """The motion of a packet of `group` frames.

    Raises:
        CorruptError: the data is not a valid code.
    """
    motion = _decoded(data, zero(group, rows, columns))
    for frames, level in zip(low_counts(group), motion, strict=False):
        centred = is_centred(frames)
        if (centred or frames % 2 == 0) and np.isin(level.mode[-1], (AFTER, BOTH)).any():
            raise CorruptError("A cell refers to a frame after its group.")
        if centred and np.isin(level.mode[0], (BEFORE, BOTH)).any():
            raise CorruptError("A cell refers to a frame before its group.")
    return motion


def decode_prediction(data: bytes, rows: int, columns: int) -> Motion:
    """The motion from two frames of the packet before to a low-pass frame, as one level.

    Raises:
        CorruptError: the data is not a valid code.
    """
    return _decoded(data, zero(2, rows, columns))


def _decoded(data: bytes, motion: Motion) -> Motion:
    """Decodes into a motion that is still."""
    if not data:
        return motion
    coder = Decoder(data)
    fine = coder.integers(1, 1).any()
    _code(_ClassCoder(coder, coder.integers(TABLE_BITS, CLASSES)), motion, False)
    unit = 1 if fine else 2
    return [LevelMotion(m.mode, unit * m.vector, unit * m.quarters) for m in motion]


@dataclass(frozen=True)
class Coarser:
    """The level before; `first` is 1 where it is centred, else 0."""

    motion: LevelMotion
    first: int


def _code(coder: Coder, motion: Motion, given: bool) -> None:
    """Codes, or decodes into, all levels, the coarsest first."""
    coarser = None
    for level in reversed(motion):
        _modes(coder, level, given)
        _vectors(coder, level, coarser, given)
        # Only a step that keeps the middle one of three frames begins with two details.
        coarser = Coarser(level, int(coarser is None and len(level.mode) == 2))


def _modes(coder: Coder, level: LevelMotion, given: bool) -> None:
    """Codes, or decodes into, the modes [P, rows, columns]."""
    mode = level.mode
    for i, j in wavefront(*mode.shape[1:]):
        left = np.where(j > 0, mode[:, i, j - 1], BEFORE)
        left = np.where((j == 0) & (i > 0), mode[:, i - 1, j], left)
        above = np.where(i > 0, mode[:, i - 1, j], left)
        classes = MODES + (left != above).ravel()
        symbols = _SYMBOL[_RANK[left, mode[:, i, j]]].ravel() if given else None
        coded = coder.code(classes, symbols)
        if not given:
            if np.any((coded < -1) | (coded > 2)):
                raise CorruptError("A cell's mode is out of range.")
            mode[:, i, j] = _ORDER[left, _PLACE[coded].reshape(left.shape)]


def _halves_of(coarser: Coarser | None, like: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [P, 2, 2, rows, columns] that go half as far as those a level coarser, and where.

    Detail frame p lies between the coarser level's frame p // 2 and that frame's reference p % 2;
    where that level is centred it is the same for p + 1.
    """
    found, there = np.zeros_like(like, np.int32), np.zeros((len(like), *like.shape[3:]), bool)
    if coarser is None:
        return found, there
    vector, uses = coarser.motion.vector, used(coarser.motion.mode)
    for p in range(min(len(like), 2 * len(uses) - coarser.first)):
        q, own = divmod(p + coarser.first, 2)
        far = np.where(uses[q, own], vector[q, own], -vector[q, 1 - own])
        near = np.sign(far) * ((abs(far.astype(np.int32)) + 1) // 2)
        found[p, own], found[p, 1 - own] = near, -near
        there[p] = uses[q].any(0)
    return found, there


def _vectors(coder: Coder, level: LevelMotion, coarser: Coarser | None, given: bool) -> None:
    """Codes, or decodes into, the vectors [P, 2, 2, rows, columns], where the mode uses them.

    A vector is predicted by the median of three neighbours; the vector after, where both are
    used, by the one before in place of the third. Cells without a vector take the prediction on.
    The quarters of the cells follow.
    """
    mode, vector = level.mode, level.vector
    expected, told = _halves_of(coarser, vector)
    for side in range(2):
        field = np.zeros_like(vector[:, side], dtype=np.int32)
        there = used(mode)[:, side]
        for i, j in wavefront(*mode.shape[1:]):
            left = np.where(j > 0, field[:, :, i, j - 1], 0)
            above = np.where(i > 0, field[:, :, i - 1, j], left)
            left = np.where((j == 0) & (i > 0), above, left)
            right = np.minimum(j + 1, mode.shape[2] - 1)
            third = np.where(i > 0, field[:, :, i - 1, right], left)
            if side:
                mirrored = -vector[:, 0, :, i, j].transpose(1, 2, 0)
                third = np.where((mode[:, i, j] == BOTH)[:, None], mirrored, third)
            predicted = np.median(np.stack([left, above, third]), axis=0).astype(np.int32)
            spread = np.maximum(abs(left - above), abs(left - third))
            beyond = abs(predicted - expected[:, side][:, :, i, j]) * told[:, None, i, j]
            classes = VECTORS + np.digitize(np.maximum(spread, beyond), CLASS_LIMITS, right=True)
            here = there[:, i, j]
            difference = np.zeros_like(predicted)
            for axis in range(2):
                if axis:
                    size = np.digitize(abs(difference[:, 0]), SECOND_LIMITS, right=True)
                    classes[:, 1] += (1 + len(CLASS_LIMITS)) * size
                known = vector[:, side, axis, i, j] - predicted[:, axis]
                wanted = known[here] if given else None
                difference[:, axis][here] = coder.code(classes[:, axis][here], wanted)
            found = predicted + difference
            if np.abs(found).max(initial=0) > VECTOR_LIMIT:
                raise CorruptError("A motion vector is out of range.")
            field[:, :, i, j] = found
            if not given:
                vector[:, side][:, :, i, j] = np.where(here[:, None], found, 0)
        quarters = level.quarters[:, side] if given else None
        found = _quarters(coder, field, there, quarters)
        if not given:
            level.quarters[:, side] = np.where(in_quarters(there[:, None]), found, 0)


def _quarters(
    coder: Coder, cells: np.ndarray, there: np.ndarray, quarters: np.ndarray | None
) -> np.ndarray:
    """Codes (`quarters`) or decodes the vectors of the quarters of cells, [P, 2, 2 R, 2 C].

    A quarter has the vector of its cell, of the cell on its left or right, of that above or below,
    or its own.

    Args:
        cells: Vectors of all cells [P, 2, R, C].
        there: Which of them have quarters, bool [P, R, C].
    """
    around = np.pad(cells, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    beside = around[:, :, 1:-1, :-2], around[:, :, 1:-1, 2:]
    upright = around[:, :, :-2, 1:-1], around[:, :, 2:, 1:-1]
    choices = np.stack(  # [3, 4, P, 2, R, C]
        [
            [cells] * 4,
            [beside[x] for _ in range(2) for x in range(2)],
            [upright[y] for y in range(2) for _ in range(2)],
        ]
    )
    varied = (choices != cells).any((0, 1, 3))
    known = None
    if quarters is not None:
        known = np.stack([quarters[:, :, y::2, x::2] for y in range(2) for x in range(2)])
    flags = None if known is None else (known != cells).any((0, 2))[there].astype(np.int32)
    flags = coder.code(DIVISIONS + varied[there], flags)
    if np.any((flags < 0) | (flags > 1)):
        raise CorruptError("Whether a cell is divided is out of range.")
    divided = np.zeros_like(there)
    divided[there] = flags.astype(bool)
    divided = np.broadcast_to(divided, (4, *divided.shape))

    symbols = None
    if known is not None:
        alike = (known == choices).all(3)
        chosen = np.where(alike.any(0), alike.argmax(0), OWN)
        symbols = _SYMBOL[chosen[divided]]
    coded = coder.code(np.full(divided.sum(), CHOICES), symbols)
    if np.any((coded < -1) | (coded > 2)):
        raise CorruptError("The choice of a vector is out of range.")
    choice = np.zeros(divided.shape, np.intp)
    choice[divided] = _PLACE[coded]

    own = choice == OWN
    found = np.take_along_axis(choices, choice[None, :, :, None] % OWN, 0)[0].astype(np.int32)
    classes = np.full(own.sum(), OWN_VECTORS)
    for axis in range(2):
        here = found[:, :, axis]
        wanted = None if known is None else (known[:, :, axis] - here)[own]
        difference = coder.code(classes, wanted)
        here[own] += difference
        classes = OWN_VECTORS + 1 + np.digitize(abs(difference), SECOND_LIMITS, right=True)
    if np.abs(found).max(initial=0) > VECTOR_LIMIT:
        raise CorruptError("A motion vector is out of range.")
    rows, columns = (2 * n for n in cells.shape[2:])
    blocks = found.reshape(2, 2, *cells.shape).transpose(2, 3, 4, 0, 5, 1)
    result: np.ndarray = blocks.reshape(*cells.shape[:2], rows, columns)
    return result
