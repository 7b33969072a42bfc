"""What a block of a low-pass frame reads of others, and what follows from it; compiled.

Integer-valued float64, as in `bitstream.intra`.
"""

from __future__ import annotations

import numpy as np

from innvc.compiled import compiled
from innvc.model.contexts import VALUE_LIMIT, log_table
from innvc.model.intra import NEIGHBOURS
from innvc.model.quantisation import SCALE_LEVELS

LOGARITHMS = log_table().numpy().astype(np.uint8)  # of sizes in sixteenths


@compiled
def look(
    value: np.ndarray,
    residual: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    flat: np.ndarray,
    logarithms: np.ndarray,
    values: np.ndarray,
    near: np.ndarray,
    logs: np.ndarray,
    absent: np.ndarray,
    average: np.ndarray,
) -> None:
    """What the networks read of the neighbours of blocks.

    Args:
        value, residual: Of all blocks [C, rows + 1, columns + 2], see `ExactIntra.code`.
        i, j: Of the blocks [P].
        flat: Channels of averages [F].
        values: Takes the values of the neighbours [4, C, P].
        near: Takes them less the average of those on the left and above, if flat.
        logs: Takes log-magnitudes of the values, and of the residuals [8, C, P].
        absent: Takes whether a neighbour is outside of the frame [4, P].
        average: Takes the averages [F, P].
    """
    columns = value.shape[2] - 2
    for n, (y, x) in enumerate(NEIGHBOURS):
        for p in range(len(i)):
            outside = i[p] + y < 0 or j[p] + x < 0 or j[p] + x >= columns
            absent[n, p] = 1.0 if outside else 0.0
        for c in range(len(value)):
            for p in range(len(i)):
                row, column = i[p] + 1 + y, j[p] + 1 + x
                values[n, c, p] = near[n, c, p] = value[c, row, column]
                logs[n, c, p] = logarithms[np.int64(abs(value[c, row, column]))]
                logs[4 + n, c, p] = _log(residual[c, row, column], logarithms)
    for f, c in enumerate(flat):
        for p in range(len(i)):
            there = 2 - absent[0, p] - absent[1, p]
            average[f, p] = np.floor((values[0, c, p] + values[1, c, p]) / max(there, 1.0))
            for n in range(4):
                near[n, c, p] = 0.0 if absent[n, p] else near[n, c, p] - average[f, p]


@compiled
def _log(value: float, logarithms: np.ndarray) -> float:
    result: float = logarithms[np.int64(min(abs(value), VALUE_LIMIT))]
    return result


@compiled
def limit(x: np.ndarray, unit: float, limit: float) -> None:
    """Makes sums [n, P] whole units from 0 to a limit."""
    for n in range(x.shape[0]):
        for p in range(x.shape[1]):
            x[n, p] = min(np.floor(max(x[n, p], 0.0) / unit), limit)


@compiled
def find_logs(x: np.ndarray, unit: float, logarithms: np.ndarray) -> None:
    """Makes sizes [n, P] log-magnitudes of their whole units."""
    for n in range(x.shape[0]):
        for p in range(x.shape[1]):
            x[n, p] = _log(np.floor(x[n, p] / unit), logarithms)


@compiled
def round_means(sums: np.ndarray, flat: np.ndarray, average: np.ndarray) -> None:
    """Makes sums in 2^-16 [C, P] means, to which averages are added."""
    for c in range(sums.shape[0]):
        for p in range(sums.shape[1]):
            sums[c, p] = np.floor(sums[c, p] / 2.0**16 + 0.5)
    for f, c in enumerate(flat):
        for p in range(sums.shape[1]):
            sums[c, p] += average[f, p]
    for c in range(sums.shape[0]):
        for p in range(sums.shape[1]):
            sums[c, p] = min(max(sums[c, p], -VALUE_LIMIT), VALUE_LIMIT)


@compiled
def predict(
    within: np.ndarray,
    by_log: np.ndarray,
    start: int,
    first: np.ndarray,
    difference: np.ndarray,
    scale: np.ndarray,
    logs: np.ndarray,
    offset: np.ndarray,
    index: np.ndarray,
    mean: np.ndarray,
) -> None:
    """Scale indexes and means [channels, P] of a group from channel `start`.

    Args:
        within, by_log: Weights of the channels before [C, C].
        first, scale: As of `Blocks` [C, P].
        difference, logs: Of the channels before to `first`, and their log-magnitudes [C, P].
        offset: Step offsets [P].
    """
    blocks = index.shape[1]
    more, louder = np.empty(blocks), np.empty(blocks)
    for n in range(len(index)):
        c = start + n
        for p in range(blocks):
            more[p], louder[p] = 0.0, scale[c, p]
        for k in range(start):
            if within[c, k] != 0.0 or by_log[c, k] != 0.0:
                for p in range(blocks):
                    more[p] += within[c, k] * difference[k, p]
                    louder[p] += by_log[c, k] * logs[k, p]
        for p in range(blocks):
            own = min(max(np.floor(louder[p] / 2.0**16), 0.0), SCALE_LEVELS - 1.0)
            index[n, p] = min(max(np.int64(own) + offset[p], 0), SCALE_LEVELS - 1)
            found = first[c, p] + np.floor(more[p] / 2.0**16 + 0.5)
            mean[n, p] = min(max(found, -VALUE_LIMIT), VALUE_LIMIT)


@compiled
def settle(
    symbols: np.ndarray,
    start: int,
    step: np.ndarray,
    mean: np.ndarray,
    first: np.ndarray,
    logarithms: np.ndarray,
    here: np.ndarray,
    difference: np.ndarray,
    logs: np.ndarray,
) -> None:
    """Values of a group by its symbols [channels, P], and what later groups read of them."""
    for n in range(symbols.shape[0]):
        c = start + n
        for p in range(symbols.shape[1]):
            value = mean[n, p] + float(step[p] * np.int64(symbols[n, p]))
            here[c, p] = min(max(value, -VALUE_LIMIT), VALUE_LIMIT)
            difference[c, p] = here[c, p] - first[c, p]
            logs[c, p] = _log(difference[c, p], logarithms)
