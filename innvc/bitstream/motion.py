"""Coded motion of one packet: the same function codes and decodes it (docs/format.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from innvc.bitstream import cell_flags, cells
from innvc.bitstream.coder import Decoder, Encoder
from innvc.errors import CorruptError
from innvc.model.motion import (
    AFTER,
    BEFORE,
    BOTH,
    VECTOR_LIMIT,
    LevelMotion,
    Motion,
    used,
    zero,
)
from innvc.model.subbands import is_centred, low_counts


def encode(motion: Motion, mixed: bool = True) -> bytes:
    """Codes the motion of a packet of at least 2 frames; nothing where it is still.

    Args:
        mixed: `ModelConfig.mixed_flags`; new files have them.
    """
    still = zero(1 + sum(len(level.mode) for level in motion), *motion[0].mode.shape[1:])
    pairs = zip(motion, still, strict=True)
    if not any(m.quarters.any() or (m.mode != s.mode).any() for m, s in pairs):
        return b""
    fine = any((v & 1).any() for m in motion for v in (m.vector, m.quarters))
    unit = 1 if fine else 2
    coder = Encoder()
    coder.integers(1, np.array([fine]))
    _code(coder, motion, unit, mixed)
    return coder.finish()


def decode(data: bytes, group: int, rows: int, columns: int, mixed: bool = True) -> Motion:
    """The motion of a packet of `group` frames; see `encode`.

    Raises:
        CorruptError: the data is not a valid code.
    """
    motion = _decoded(data, zero(group, rows, columns), mixed)
    for frames, level in zip(low_counts(group), motion, strict=False):
        centred = is_centred(frames)
        if (centred or frames % 2 == 0) and np.isin(level.mode[-1], (AFTER, BOTH)).any():
            raise CorruptError("A cell refers to a frame after its group.")
        if centred and np.isin(level.mode[0], (BEFORE, BOTH)).any():
            raise CorruptError("A cell refers to a frame before its group.")
    return motion


def decode_prediction(data: bytes, rows: int, columns: int, mixed: bool = True) -> Motion:
    """The motion from two frames of the packet before to a low-pass frame, as one level.

    Raises:
        CorruptError: the data is not a valid code.
    """
    return _decoded(data, zero(2, rows, columns), mixed)


def _decoded(data: bytes, motion: Motion, mixed: bool) -> Motion:
    """Decodes into a motion that is still."""
    if not data:
        return motion
    coder = Decoder(data)
    return _code(coder, motion, 2 - int(coder.integers(1, 1)[0]), mixed)


@dataclass(frozen=True)
class Coarser:
    """The level before; `first` is 1 where it is centred, else 0."""

    mode: np.ndarray
    vector: np.ndarray
    first: int


def _code(coder: Encoder | Decoder, motion: Motion, unit: int, mixed: bool) -> Motion:
    """Codes or decodes all levels, the coarsest first; gives what is coded.

    Args:
        motion: To code; of the shape to decode.
        unit: Of vectors.
    """
    coarser, found = None, []
    mixer = cell_flags.mixer(mixed)
    for number, level in reversed(list(enumerate(motion))):
        mode = level.mode.astype(np.int64)
        given = [part.astype(np.int64) for part in (level.vector // unit, level.quarters // unit)]
        vector, quarters = given
        before = cell_flags.still(*mode.shape[1:])
        for p in range(len(mode)):
            divided = np.zeros((2, *mode.shape[1:]), np.int64)
            frame = cell_flags.Frame(mode[p], vector[p], quarters[p], divided)
            # Flags have at most 12 bits; a component 18 of them and 13 bits, a cell 37 besides.
            coder.reserve(4 * (frame.vector.size + frame.quarters.size))
            told = _halves_of(coarser, p, frame.vector)
            known = cell_flags.Known(min(number, cell_flags.COARSEST), before, *told)
            coder.check(cells.code_frame(coder.stream, mixer, frame, known))
            before = frame
        if max(abs(vector).max(initial=0), abs(quarters).max(initial=0)) > VECTOR_LIMIT:
            raise CorruptError("A motion vector is out of range.")
        # Only a step that keeps the middle one of three frames begins with two details.
        coarser = Coarser(mode, vector, int(coarser is None and len(mode) == 2))
        wide = (unit * vector).astype(np.int16), (unit * quarters).astype(np.int16)
        found.append(LevelMotion(mode.astype(np.uint8), *wide))
    return found[::-1]


def _halves_of(coarser: Coarser | None, p: int, like: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Modes [rows, columns] of a coarser frame, and vectors [2, 2, rows, columns] half as far.

    Detail frame p lies between the coarser level's frame p // 2 and that frame's reference p % 2;
    where that level is centred it is the same for p + 1. Zeros where there is none.
    """
    halves = np.zeros_like(like)
    if coarser is None or p >= 2 * len(coarser.mode) - coarser.first:
        return np.zeros_like(like[0, 0]), halves
    q, own = divmod(p + coarser.first, 2)
    uses, vector = used(coarser.mode[q : q + 1])[0], coarser.vector[q]
    far = np.where(uses[own], vector[own], -vector[1 - own])
    halves[own] = np.sign(far) * ((abs(far) + 1) // 2)
    halves[1 - own] = -halves[own]
    return coarser.mode[q], halves
