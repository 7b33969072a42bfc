"""Vectors of the quarters of cells: mostly those of a cell around (docs/format.md, section 14)."""

from __future__ import annotations

import numpy as np

from innvc.bitstream.cell_flags import (
    CHOICE,
    DIVISION,
    OWN_VECTOR,
    SIGN,
    SIZE,
    Frame,
    Known,
    Side,
    code_difference,
    distance,
    fine_grade,
    height,
)
from innvc.bitstream.mixing import Mixer, code_mixed
from innvc.bitstream.range_coder import Stream
from innvc.compiled import compiled

OWN = 3  # a quarter's vector that is neither the cell's nor a neighbour's


@compiled
def code_quarters(
    stream: Stream, mixer: Mixer, frame: Frame, known: Known, now: Side, i: int, j: int
) -> None:
    """Codes the vectors of a cell's quarters to one reference."""
    field, quarters = now.field, frame.quarters[now.side]
    divided, classes = frame.divided[now.side], mixer.classes
    rows, columns = frame.mode.shape
    mode, side = frame.mode[i, j], now.side
    unlike = int(not _alike(field, i, j, field, i, max(j - 1, 0)))
    unlike += int(not _alike(field, i, j, field, i, min(j + 1, columns - 1)))
    unlike += int(not _alike(field, i, j, field, max(i - 1, 0), j))
    unlike += int(not _alike(field, i, j, field, min(i + 1, rows - 1), j))
    differs = False
    for q in range(4):
        differs |= not _alike(quarters, 2 * i + q // 2, 2 * j + q % 2, field, i, j)
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
        beside, upright = _alike(field, i, j, field, i, across), _alike(field, i, j, field, down, j)
        same = 4 * beside + 2 * upright + _alike(field, i, across, field, down, j)
        edges = 0
        if q % 2 == 0 and j > 0:
            edges += 1 + int(not _alike(quarters, y, x - 1, field, i, j - 1))
        if q < 2 and i > 0:
            edges += 3 + 3 * int(not _alike(quarters, y - 1, x, field, i - 1, j))
        choice, row, column = OWN, i, j
        for k in range(3):
            row, column = down if k == 2 else i, across if k == 1 else j
            if (k == 0 and last) or (k == 1 and beside) or (k == 2 and (upright or same & 1)):
                continue
            away = fine_grade(distance(field[:, row, column], field[:, i, j]))
            classes[0] = 3 * (8 * (3 if last else min(before, 2)) + same) + k
            classes[1] = 3 * (4 * choices + q) + k
            classes[2] = 5 * (6 * k + away) + known.level
            classes[3] = 9 * (6 * k + away) + edges
            other = not _alike(quarters, y, x, field, row, column)
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
    vertical = 0
    for axis in range(2):
        own = field[axis, i, j]
        beside, upright = field[axis, i, across] - own, field[axis, down, j] - own
        classes[0, 0], classes[0, 1] = vertical, 5 * vertical + known.level
        classes[SIGN, 0] = axis
        classes[SIGN, 1] = 3 * (1 + np.sign(beside)) + 1 + np.sign(upright)
        classes[SIZE, 0], classes[SIZE, 1] = vertical, 4 * known.level + vertical
        classes[SIZE, 2] = 4 * fine_grade(max(abs(beside), abs(upright))) + vertical
        difference = code_difference(stream, mixer, OWN_VECTOR, classes, quarters[axis, y, x] - own)
        quarters[axis, y, x] = own + difference
        vertical = height(difference)


@compiled
def _alike(a: np.ndarray, i: int, j: int, b: np.ndarray, row: int, column: int) -> bool:
    """Whether two vectors of fields [2, ., .] are the same."""
    return bool(a[1, i, j] == b[1, row, column] and a[0, i, j] == b[0, row, column])
