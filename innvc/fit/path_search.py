"""Paths beside the trellis' own that leave smaller errors once samples are rounded.

The trellis counts the errors of coefficients. What counts in the end are those of samples, which
are rounded to whole numbers: a sample that is within half a code value is exact, whatever its
fraction. So paths that cost much the same as the best one leave different errors. For each block
many such paths are tried, each of which leaves the current one once and comes back to it, and the
best are taken until none is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from innvc.compiled import compiled, reassociated
from innvc.device import side_by_side
from innvc.fit.branches import best_ways, cheapest_branches, trace
from innvc.fit.symbol_costs import dependent_costs
from innvc.fit.trellis import KINDS, before_states, choices

LEAST = 0.05  # bits that a path must save
BRANCHES = 8  # looked at for each path that is tried: most are on the same ones
SAME = 1e-3  # bits between two sums of the same costs
ROUNDS = 12
TASKS = 16  # of the blocks of a plane
SOFT = np.float32(0.12)  # code values on each side of a half, where rounding is not sure


@dataclass(frozen=True)
class BlockErrors:
    """What a plane's blocks err in a subband frame's own frame, and in others.

    Attributes:
        basis: Samples of each channel of a block, for a step [C, S].
        own: Errors of the frame's samples, before they are rounded [n, S].
        gain: Of coefficients in the frame [C, n].
        others: Gradients of the squared errors of other frames [n, S].
        spread: Energy of coefficients in other frames [C, n].
        worth: Bits that a squared error of a sample is worth.
    """

    basis: np.ndarray
    own: np.ndarray
    gain: np.ndarray
    others: np.ndarray
    spread: np.ndarray
    worth: float


def better_paths(
    errors: BlockErrors,
    following: np.ndarray,
    x: np.ndarray,
    symbols: np.ndarray,
    scale: np.ndarray,
    most: int,
) -> np.ndarray:
    """Values [C, n] in steps, less their means, along better paths.

    Args:
        errors: Of the blocks, with the current symbols.
        following: The next state, by state and parity.
        x: What is to be coded, in steps, less means [C, n].
        symbols: The current ones [C, n].
        scale: Scale indexes [C, n].
        most: Paths to try at a time for each block.
    """
    weight = np.full(x.shape, errors.worth * np.square(errors.basis[0]).sum(), np.float32)
    values, index = np.zeros(x.shape, np.float32), scale.astype(np.int64)
    arguments = (
        _single(x),
        symbols.astype(np.int64),
        index,
        *choices(abs(x).astype(np.float32), index, weight, dependent_costs()),
        dependent_costs(),
        following.astype(np.int64),
        before_states(following).astype(np.int64),
        _single(errors.basis),
        _single(errors.own),
        _single(errors.gain),
        _single(errors.others),
        _single(errors.spread),
        np.float32(errors.worth),
        most,
        values,
    )
    tasks = np.array_split(np.arange(x.shape[1]), TASKS)
    side_by_side(lambda blocks: _search(blocks, *arguments), tasks)
    return values


def _single(part: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(part, np.float32)


@compiled
def _rounded(error: float) -> float:
    """Squared error of a rounded sample, from that before; between both where it is not sure."""
    size = np.float32(abs(error) + 0.5)
    whole = np.floor(size)
    place = size - whole
    up = max(np.float32(0), place - (1 - SOFT)) * (2 * whole + 1)
    down = max(np.float32(0), SOFT - place) * max(np.float32(0), 2 * whole - 1)
    found: float = whole * whole + (up - down) / (2 * SOFT)
    return found


@reassociated
def _change(
    own: np.ndarray, now: np.ndarray, others: np.ndarray, step: np.ndarray, moved: np.ndarray
) -> float:
    """Of the squared errors `now`, where a block's samples change by `step`, in the frame `moved`.

    What other frames lose by the size of the step is not counted.
    """
    total = np.float32(0)
    for i in range(len(own)):
        total += _rounded(own[i] + moved[i]) - now[i] + others[i] * step[i]
    return float(total)


@reassociated
def _add(total: np.ndarray, factor: float, row: np.ndarray) -> None:
    for i in range(len(total)):
        total[i] += factor * row[i]


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
    own: np.ndarray,
    gain: np.ndarray,
    others: np.ndarray,
    spread: np.ndarray,
    worth: np.float32,
    most: int,
    values: np.ndarray,
) -> None:
    """Takes better paths for some blocks, until none is found.

    Args:
        blocks: Their numbers.
        x, symbols, scale, most: As of `better_paths`.
        magnitude, cost: From `trellis.choices`.
        bits: Of magnitudes, by quantiser and scale index.
        following, before: As of `best_ways`.
        basis, own, gain, others, spread, worth: As of `BlockErrors`.
        values: Takes what the paths stand for [C, n].
    """
    channels, states, samples = len(x), len(following), basis.shape[1]
    last = bits.shape[2] - 1
    energy = (basis[0] * basis[0]).sum()
    state, kind = np.zeros(channels + 1, np.int64), np.zeros(channels, np.int64)
    value, rate = np.zeros((channels, KINDS), np.float32), np.zeros((channels, KINDS), np.float32)
    price = np.zeros((channels, KINDS), np.float32)
    second = np.zeros((channels + 1, states), np.bool_)
    reach = np.zeros((channels + 1, states), np.float32)
    to_go = np.zeros_like(reach)
    left = np.zeros((channels + 1, states), np.int32)
    met = np.zeros_like(left)
    dear = np.zeros(BRANCHES * most, np.float32)
    where = np.zeros((len(dear), 3), np.int32)
    begins, ends = np.zeros(most, np.int64), np.zeros(most, np.int64)
    kinds, path = np.zeros((most, channels), np.int64), np.zeros((most, channels + 1), np.int64)
    steps, moves = np.zeros((most, samples), np.float32), np.zeros((most, samples), np.float32)
    fixed, saved = np.zeros(most, np.float32), np.zeros(most, np.float32)
    now = np.zeros(samples, np.float32)
    taken = np.zeros(channels, np.bool_)
    for n in blocks:
        error, slope = own[n].copy(), others[n].copy()
        for i in range(samples):
            now[i] = _rounded(error[i])
        for c in range(channels):
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
        for _ in range(ROUNDS):
            best_ways(price, following, before, state, second, reach, to_go, left, met)
            count = cheapest_branches(price, following, state, kind, reach, to_go, dear, where)
            found = 0
            for place in np.argsort(dear[:count]):
                if found == most:
                    break
                c, s, k = where[place]
                after = following[s, k & 1]
                start = c if s == state[c] else left[c, s]
                end = c + 1 if after == state[c + 1] else met[c + 1, after]
                # The branches of one path come one after the other: they cost the same.
                known = False
                for f in range(found - 1, -1, -1):
                    if dear[place] - fixed[f] > SAME or known:
                        break
                    known = begins[f] == start and ends[f] == end
                if known:
                    continue
                begins[found], ends[found], fixed[found] = start, end, dear[place]
                ways = price, following, before, second, to_go
                trace(c, s, k, start, end, *ways, path[found], kinds[found])
                found += 1
            for f in range(found):
                more, apart = np.float32(0), np.float32(0)
                steps[f] = 0
                moves[f] = 0
                for c in range(begins[f], ends[f]):
                    more += rate[c, kinds[f, c]] - rate[c, kind[c]]
                    change = value[c, kinds[f, c]] - value[c, kind[c]]
                    if change != 0:
                        apart += spread[c, n] * change * change
                        _add(steps[f], change, basis[c])
                        _add(moves[f], gain[c, n] * change, basis[c])
                fixed[f] = more + apart * worth * energy
                saved[f] = -fixed[f] - worth * _change(error, now, slope, steps[f], moves[f])
            taken[:] = False
            for f in np.argsort(-saved[:found]):
                if saved[f] < LEAST:
                    break
                if taken[begins[f] : ends[f]].any():
                    continue
                # Those that were taken before it have changed the errors.
                if fixed[f] + worth * _change(error, now, slope, steps[f], moves[f]) > -LEAST:
                    continue
                for c in range(begins[f], ends[f]):
                    change = value[c, kinds[f, c]] - value[c, kind[c]]
                    _add(slope, 2 * spread[c, n] * change, basis[c])
                    kind[c], state[c + 1] = kinds[f, c], path[f, c + 1]
                taken[begins[f] : ends[f]] = True
                _add(error, 1, moves[f])
                for i in range(samples):
                    now[i] = _rounded(error[i])
            if not taken.any():
                break
        for c in range(channels):
            values[c, n] = value[c, kind[c]]
