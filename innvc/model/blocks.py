"""Prediction of blocks from a plane, its transpose and its errors; compiled, on the CPU."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from innvc.compiled import compiled, fused, inlined, reassociated

TAPS = 8  # of the filters
# Errors are found in turns: first row, stride, and the part of the limit above which a block is
# given up. Rows that are spread over the block are about their share of it.
TURNS = ((0, 4, 0.325), (2, 4, 0.55), (1, 2, 1.0))


class Blocks(NamedTuple):
    """Predictions of n cells and the samples around, which are blocks of one size.

    Attributes:
        place: [n, 2] row and column of a block's first sample; it may lie outside.
        start: [n, 2] those of the first sample that predicts it.
        down, across: Filters, vertically and horizontally [n, TAPS].
        rows, columns: Shares of the prediction in the samples [n, height], [n, width].
        weight: [n] a factor of them.
    """

    place: np.ndarray
    start: np.ndarray
    down: np.ndarray
    across: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    weight: np.ndarray


class Room(NamedTuple):
    """Of one block.

    Attributes:
        share: [height, width].
        block: [height, width] what is predicted.
        window: What predicts it; lines are padded to a multiple of LANES.
        line: One of them.
    """

    share: np.ndarray
    block: np.ndarray
    window: np.ndarray
    line: np.ndarray


@compiled
def lay_out(
    vector: np.ndarray,
    which: np.ndarray,
    weight: np.ndarray,
    shape: tuple[int, int],
    reach: tuple[int, int],
    precision: tuple[int, int],
    filters: tuple[np.ndarray, np.ndarray],
    windows: tuple[np.ndarray, np.ndarray],
) -> Blocks:
    """The blocks of some cells.

    Args:
        vector: [2, rows, columns].
        which: Numbers of the cells [n].
        weight: [rows, columns].
        shape: Of the plane.
        reach: Samples by which a block is larger than its cell on each side.
        precision: Fractional bits of a vector.
        filters, windows: From `_filters`, `_windows`.
    """
    count, columns = len(which), vector.shape[2]
    place, start = np.empty((2, count, 2), np.int64)
    down = np.empty((count, TAPS), weight.dtype)
    across = np.empty((count, TAPS), weight.dtype)
    vertical = np.empty((count, windows[0].shape[1]), weight.dtype)
    horizontal = np.empty((count, windows[1].shape[1]), weight.dtype)
    weights = np.empty(count, weight.dtype)
    for n in range(count):
        cell = which[n] // columns, which[n] % columns
        weights[n] = weight[cell]
        for axis in range(2):
            length = windows[axis].shape[1] - 2 * reach[axis]
            place[n, axis] = cell[axis] * length - reach[axis]
            moved = vector[axis, cell[0], cell[1]]
            first = place[n, axis] - (TAPS // 2 - 1) + (moved >> precision[axis])
            # Outside of the picture the samples are those at its edge.
            least = -(length + 2 * reach[axis] + TAPS - 1)
            start[n, axis] = min(max(first, least), shape[axis])
            taps = filters[axis][moved & ((1 << precision[axis]) - 1)]
            for k in range(TAPS):
                if axis == 0:
                    down[n, k] = taps[k]
                else:
                    across[n, k] = taps[k]
        vertical[n], horizontal[n] = windows[0][cell[0]], windows[1][cell[1]]
    return Blocks(place, start, down, across, vertical, horizontal, weights)


@compiled
def _window(samples: np.ndarray, y0: int, x0: int, window: np.ndarray) -> None:
    """The samples [H, W] from y0 and x0 on; outside, those at the edge."""
    height, width = samples.shape
    for i in range(window.shape[0]):
        row = samples[min(max(y0 + i, 0), height - 1)]
        if x0 >= 0 and x0 + window.shape[1] <= width:
            row = row[x0:]
            for j in range(window.shape[1]):
                window[i, j] = row[j]
        else:
            for j in range(window.shape[1]):
                window[i, j] = row[min(max(x0 + j, 0), width - 1)]


@fused
def _interpolate(
    window: np.ndarray,
    down: np.ndarray,
    across: np.ndarray,
    line: np.ndarray,
    block: np.ndarray,
    first: int,
    stride: int,
) -> None:
    """Each stride-th row of a block from a window that is larger by the filters."""
    middle = TAPS // 2 - 1
    for y in range(first, block.shape[0], stride):
        found = line
        if down[middle] == 1:  # whole samples
            found = window[y + middle]
        else:
            for x in range(window.shape[1]):
                total = down[0] * window[y, x]
                for k in range(1, TAPS):
                    total += down[k] * window[y + k, x]
                line[x] = total
        if across[middle] == 1:
            for x in range(block.shape[1]):
                block[y, x] = found[x + middle]
        else:
            for x in range(block.shape[1]):
                total = across[0] * found[x]
                for k in range(1, TAPS):
                    total += across[k] * found[x + k]
                block[y, x] = total


@fused
def _spread(
    part: np.ndarray, down: np.ndarray, across: np.ndarray, line: np.ndarray, patch: np.ndarray
) -> None:
    """The transpose of `_interpolate`, of a block that has TAPS - 1 zeros on each side."""
    last, middle = TAPS - 1, TAPS // 2
    for y in range(patch.shape[0]):
        found = line
        if down[last - middle] == 1:  # whole samples
            found = part[y + middle]
        else:
            for x in range(part.shape[1]):
                total = down[last] * part[y, x]
                for k in range(1, TAPS):
                    total += down[last - k] * part[y + k, x]
                line[x] = total
        if across[last - middle] == 1:
            for x in range(patch.shape[1]):
                patch[y, x] = found[x + middle]
        else:
            for x in range(patch.shape[1]):
                total = across[last] * found[x]
                for k in range(1, TAPS):
                    total += across[last - k] * found[x + k]
                patch[y, x] = total


@compiled
def _find_shares(blocks: Blocks, n: int, share: np.ndarray) -> None:
    rows, columns, weight = blocks.rows[n], blocks.columns[n], blocks.weight[n]
    for y in range(share.shape[0]):
        for x in range(share.shape[1]):
            share[y, x] = rows[y] * columns[x] * weight


@compiled
def predict(
    blocks: Blocks, room: Room, samples: np.ndarray, above: int, left: int, padded: np.ndarray
) -> None:
    """Adds predictions from samples [N, H, W] to those with a margin above and on the left."""
    share, block, window, line = room
    for n in range(len(blocks.weight) - 1, -1, -1):
        _find_shares(blocks, n, share)
        for plane in range(len(samples)):
            _window(samples[plane], blocks.start[n, 0], blocks.start[n, 1], window)
            _interpolate(window, blocks.down[n], blocks.across[n], line, block, 0, 1)
            for y in range(block.shape[0]):
                row = padded[plane, above + blocks.place[n, 0] + y, left + blocks.place[n, 1] :]
                for x in range(block.shape[1]):
                    row[x] += block[y, x] * share[y, x]


@inlined
def _add_line(line: np.ndarray, share: float, row: np.ndarray, x: int) -> None:
    """Adds a line to a row from x on; what lies outside goes to the samples at its edge."""
    if x >= 0 and x + len(line) <= len(row):
        row = row[x:]
        for j in range(len(line)):
            row[j] += share * line[j]
    else:
        for j in range(len(line)):
            row[min(max(x + j, 0), len(row) - 1)] += share * line[j]


@compiled
def give_back(
    blocks: Blocks,
    room: Room,
    samples: np.ndarray,
    part: np.ndarray,
    line: np.ndarray,
    result: np.ndarray,
) -> None:
    """The transpose of `predict` without margin, added to `result` [N, H, W].

    Args:
        part: Zeros, larger than a block by TAPS - 1 on each side; it is changed inside.
        line: One of its lines.
    """
    share, _, patch, _ = room
    height, width = share.shape
    rows, columns = samples.shape[1:]
    for n in range(len(blocks.weight)):
        _find_shares(blocks, n, share)
        y0, x0 = blocks.place[n, 0], blocks.place[n, 1]
        for plane in range(len(samples)):
            for i in range(height):
                target, row = part[TAPS - 1 + i], samples[plane, min(max(y0 + i, 0), rows - 1)]
                # Outside of the picture there are no shares.
                for j in range(width):
                    target[TAPS - 1 + j] = row[min(max(x0 + j, 0), columns - 1)] * share[i, j]
            _spread(part, blocks.down[n], blocks.across[n], line, patch)
            y, x, span = blocks.start[n, 0], blocks.start[n, 1], width + TAPS - 1
            for i in range(len(patch)):
                row = result[plane, min(max(y + i, 0), rows - 1)]
                _add_line(patch[i, :span], 1, row, x)


@compiled
def give_back_ones(blocks: Blocks, result: np.ndarray) -> None:
    """`give_back` of samples that are one, added to `result` [H, W]."""
    rows, columns = result.shape
    height, width = blocks.rows.shape[1] + TAPS - 1, blocks.columns.shape[1] + TAPS - 1
    down, across = np.empty(height, result.dtype), np.empty(width, result.dtype)
    for n in range(len(blocks.weight)):
        _spread_line(blocks.rows[n], blocks.down[n], down)
        _spread_line(blocks.columns[n], blocks.across[n], across)
        y, x = blocks.start[n, 0], blocks.start[n, 1]
        for i in range(height):
            share = down[i] * blocks.weight[n]
            _add_line(across, share, result[min(max(y + i, 0), rows - 1)], x)


@compiled
def _spread_line(shares: np.ndarray, taps: np.ndarray, line: np.ndarray) -> None:
    """The transpose of interpolation of one line, which is longer by the filter."""
    line[:] = 0
    for i in range(len(shares)):
        for k in range(TAPS):
            line[i + k] += shares[i] * taps[k]


@reassociated
def find_errors(
    blocks: Blocks,
    room: Room,
    samples: np.ndarray,
    target: np.ndarray,
    limits: np.ndarray,
    errors: np.ndarray,
    sizes: np.ndarray,
) -> int:
    """See `warp.PredictionErrors`: errors of the blocks that were not given up, and their count."""
    share, block, window, line = room
    height, width, count = block.shape[0], block.shape[1], 0
    sums = share[0]  # of each column
    for n in range(len(blocks.weight)):
        _window(samples, blocks.start[n, 0], blocks.start[n, 1], window)
        y0, x0, columns = blocks.place[n, 0], blocks.place[n, 1], blocks.columns[n]
        inside = x0 >= 0 and x0 + width <= target.shape[1]
        sums[:] = 0
        sizes[n] = 0
        for first, stride, part in TURNS:
            if sizes[n] == np.inf:
                continue
            _interpolate(window, blocks.down[n], blocks.across[n], line, block, first, stride)
            for i in range(first, height, stride):
                row, factor = target[min(max(y0 + i, 0), len(target) - 1)], blocks.rows[n, i]
                error, found = errors[i, count], block[i]
                if inside:
                    row = row[x0:]
                    for j in range(len(error)):
                        error[j] = (row[j] - found[j]) * (factor * columns[j])
                        sums[j] += abs(error[j])
                else:  # outside of the picture there are no shares
                    for j in range(len(error)):
                        wanted = row[min(max(x0 + j, 0), len(row) - 1)]
                        error[j] = (wanted - found[j]) * (factor * columns[j])
                        sums[j] += abs(error[j])
            size = sums.sum()
            sizes[n] = size if size <= part * limits[n] else np.inf
        count += sizes[n] != np.inf
    return count


@reassociated
def add_sizes(values: np.ndarray, sums: np.ndarray) -> None:
    """Adds the sizes of values [height, n, width] to sums [n]."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            row, total = values[i, n], np.float32(0)
            for j in range(values.shape[2]):
                total += abs(row[j])
            sums[n] += total
