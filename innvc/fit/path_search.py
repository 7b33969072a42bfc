"""Paths beside the trellis' own that leave smaller errors once samples are rounded.

The trellis counts the errors of coefficients. What counts in the end are those of samples, which
are rounded to whole numbers: a sample that is within half a code value is exact, whatever its
fraction. So paths that cost much the same as the best one leave different errors. For each block
many such paths are tried, each of which leaves the current one once and comes back to it, and the
best one is taken until none is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from innvc.compiled import compiled, finite
from innvc.device import side_by_side
from innvc.fit.branches import best_ways, cheapest_branches, detour
from innvc.fit.symbol_costs import dependent_costs
from innvc.fit.trellis import KINDS, before_states, choices

LEAST = np.float32(0.05)  # bits that a path must save
LOST = 10  # bits: a path that loses more is not tried again
TASKS = 64  # of the blocks of a plane
SOFT = np.float32(0.12)  # code values on each side of a half, where rounding is not sure


@dataclass(frozen=True)
class BlockErrors:
    """What a plane's blocks err in a subband frame's own frame, and in others.

    Attributes:
        basis: Samples of a step of each channel of a block, and of what it moves the means of later
            channels [C, S].
        errors: Of the frame's samples, and of those of other frames that change with them, before
            they are rounded [n, frames, S].
        shares: Of a change of the frame's samples that each of these takes, of that shape.
        gain: Of coefficients in the frame [C, n].
        others: Gradients of the squared errors of still other frames [n, S].
        spread: Energy of coefficients in these [C, n].
        worth: Bits that a squared error of a sample is worth.
        energy: Of the samples of a step.
    """

    basis: np.ndarray
    errors: np.ndarray
    shares: np.ndarray
    gain: np.ndarray
    others: np.ndarray
    spread: np.ndarray
    worth: float
    energy: float


def better_paths(
    errors: BlockErrors,
    following: np.ndarray,
    x: np.ndarray,
    symbols: np.ndarray,
    scale: np.ndarray,
    most: int,
) -> np.ndarray:
    """Symbols [C, n] along better paths.

    Args:
        errors: Of the blocks, with the current symbols.
        following: The next state, by state and parity.
        x: What is to be coded, in steps, less means [C, n].
        symbols: The current ones [C, n].
        scale: Scale indexes [C, n].
        most: Paths to try for each block.
    """
    weight = np.full(x.shape, errors.worth * errors.energy, np.float32)
    found, index = np.zeros(x.shape, np.int32), scale.astype(np.int64)
    arguments = (
        _single(x),
        symbols.astype(np.int64),
        index,
        *choices(abs(x).astype(np.float32), index, weight, dependent_costs()),
        dependent_costs(),
        following.astype(np.int64),
        before_states(following).astype(np.int64),
        _single(errors.basis),
        _single(errors.errors),
        _single(errors.shares),
        _single(errors.gain),
        _single(errors.others),
        _single(errors.spread),
        np.float32(errors.worth),
        np.float32(errors.energy),
        most,
        found,
    )
    tasks = np.array_split(np.arange(x.shape[1]), TASKS)
    side_by_side(lambda blocks: _search(blocks, *arguments), tasks)
    return found


def _single(part: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(part, np.float32)


@finite
def _rounded(error: float) -> float:
    """Squared error of a rounded sample, from that before; between both where it is not sure."""
    size = np.float32(abs(error) + 0.5)
    whole = np.floor(size)
    place = size - whole
    up = max(np.float32(0), place - (1 - SOFT)) * (2 * whole + 1)
    down = max(np.float32(0), SOFT - place) * max(np.float32(0), 2 * whole - 1)
    found: float = whole * whole + (up - down) / (2 * SOFT)
    return found


@finite
def _change(error: np.ndarray, now: np.ndarray, share: np.ndarray, moved: np.ndarray) -> float:
    """Of the squared errors `now` of rounded samples, where those of the block change by `moved`.

    Args:
        error, now, share: Of samples [frames, S]; see `BlockErrors`.
        moved: [S].
    """
    total = np.float32(0)
    for f in range(len(error)):
        for i in range(len(moved)):
            total += _rounded(error[f, i] + share[f, i] * moved[i]) - now[f, i]
    return float(total)


@compiled
def _round(error: np.ndarray, now: np.ndarray) -> None:
    for f in range(len(error)):
        for i in range(error.shape[1]):
            now[f, i] = _rounded(error[f, i])


@finite
def _product(one: np.ndarray, other: np.ndarray) -> float:
    total = np.float32(0)
    for i in range(len(one)):
        total += one[i] * other[i]
    return float(total)


@finite
def _combine(factors: np.ndarray, rows: np.ndarray, which: np.ndarray, total: np.ndarray) -> None:
    """The sum of some rows, each times its factor; four at a time."""
    total[:] = 0
    whole = len(factors) // 4 * 4
    for n in range(0, whole, 4):
        a, b, c, d = rows[which[n]], rows[which[n + 1]], rows[which[n + 2]], rows[which[n + 3]]
        e, f, g, h = factors[n], factors[n + 1], factors[n + 2], factors[n + 3]
        for i in range(len(total)):
            total[i] += e * a[i] + f * b[i] + g * c[i] + h * d[i]
    for n in range(whole, len(factors)):
        for i in range(len(total)):
            total[i] += factors[n] * rows[which[n], i]


@compiled
def _search(
    blocks: np.ndarray,
    x: np.ndarray,
    symbols: np.ndarray,
    scale: np.ndarray,
    magnitude: np.ndarray,
    cost: np.ndarray,
    bits: np.ndarray,
    following: np.ndarray,
    before: np.ndarray,
    basis: np.ndarray,
    errors: np.ndarray,
    shares: np.ndarray,
    gain: np.ndarray,
    others: np.ndarray,
    spread: np.ndarray,
    worth: np.float32,
    energy: np.float32,
    most: int,
    found: np.ndarray,
) -> None:
    """Takes better paths for some blocks, until none is found.

    Args:
        blocks: Their numbers.
        x, symbols, scale, most: As of `better_paths`.
        magnitude, cost: From `trellis.choices`.
        bits: Of magnitudes, by quantiser and scale index.
        following, before: As of `best_ways`.
        basis, errors, shares, gain, others, spread, worth, energy: As of `BlockErrors`.
        found: Takes the symbols of the paths [C, n].
    """
    channels, states, samples = len(x), len(following), basis.shape[1]
    last = bits.shape[2] - 1
    state, kind = np.zeros(channels + 1, np.int64), np.zeros(channels, np.int64)
    value, rate = np.zeros((channels, KINDS), np.float32), np.zeros((channels, KINDS), np.float32)
    price = np.zeros((channels, KINDS), np.float32)
    slope = np.zeros(channels, np.float32)
    own_gain, in_others = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    reach = np.zeros((channels + 1, states), np.float32)
    beside, to_go = np.zeros_like(reach), np.zeros_like(reach)
    second, odd = np.zeros((2, *reach.shape), np.uint8)
    dear, where = np.zeros(reach.size, np.float32), np.zeros((reach.size, 3), np.int32)
    saved = np.zeros(most, np.float32)
    # What is tried, and the best of it.
    path, kinds = np.zeros((2, channels + 1), np.int64), np.zeros((2, channels), np.int64)
    moved, now = np.zeros((2, samples), np.float32), np.zeros_like(errors[0])
    changed, factor = np.zeros(channels, np.int64), np.zeros(channels, np.float32)
    for n in blocks:
        error, share = errors[n].copy(), shares[n]
        _round(error, now)
        for c in range(channels):
            own_gain[c], in_others[c] = gain[c, n], energy * spread[c, n]
            slope[c] = _product(others[n], basis[c])
            for k in range(KINDS):
                m = magnitude[c, k, n]
                value[c, k] = m - 0.5 * (k // 2) if m > 0 else 0
                if x[c, n] < 0:
                    value[c, k] = -value[c, k]
                rate[c, k] = bits[k // 2, scale[c, n], min(m, last)]
                price[c, k] = cost[c, k, n]
            m = abs(symbols[c, n])
            k = 2 * (state[c] & 1) + (m & 1)
            kind[c], state[c + 1] = k, following[state[c], m & 1]
            value[c, k] = np.sign(symbols[c, n]) * (m - 0.5 * (k // 2) if m > 0 else 0)
            rate[c, k] = bits[k // 2, scale[c, n], min(m, last)]
            price[c, k] = rate[c, k] + worth * energy * (x[c, n] - value[c, k]) ** 2
        best_ways(price, following, before, reach, beside, second, to_go, odd)
        count = cheapest_branches(reach, beside, second, to_go, most, dear, where)
        saved[:] = 0
        for _ in range(channels):
            most_saved, start, end, one, best = LEAST, 0, 0, 0, 1
            for f in range(count):
                if saved[f] < -LOST:
                    continue
                first, stop = detour(
                    where[f], following, before, second, odd, state, path[one], kinds[one]
                )
                more, many = np.float32(0), 0
                for c in range(first, stop):
                    k = kinds[one, c]
                    more += rate[c, k] - rate[c, kind[c]]
                    change = value[c, k] - value[c, kind[c]]
                    if change != 0:
                        more += worth * change * (slope[c] + in_others[c] * change)
                        changed[many], factor[many] = c, own_gain[c] * change
                        many += 1
                _combine(factor[:many], basis, changed, moved[one])
                saved[f] = -more - worth * _change(error, now, share, moved[one])
                if saved[f] > most_saved:
                    most_saved, start, end, one, best = saved[f], first, stop, best, one
            for c in range(start, end):
                k = kinds[best, c]
                slope[c] += 2 * in_others[c] * (value[c, k] - value[c, kind[c]])
                kind[c], state[c + 1] = k, path[best, c + 1]
            if end == 0:
                break
            error += share * moved[best]
            _round(error, now)
        for c in range(channels):
            size = abs(value[c, kind[c]])
            if size > 0:
                size += 0.5 * (kind[c] // 2)
            found[c, n] = np.sign(value[c, kind[c]]) * size
