"""Choice of symbols in dependent quantisation: the path of least rate and distortion.

The Viterbi algorithm over the states of `bitstream.dependent`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from innvc.compiled import compiled
from innvc.device import side_by_side
from innvc.fit.symbol_costs import dependent_costs

KINDS = 4  # of symbols: 2 x quantiser + parity
FINE, MOST = 256, 65535  # of kept costs: in a bit, and that 16 bits hold
LANES = 64  # positions whose paths are found together, by a thread


class Trellis:
    """Chooses symbols along the paths of each plane at each position, from state 0.

    What the symbols from some channel on cost at least, for each state there, is estimated with the
    scale indexes and means of a first pass. Then the symbols are chosen group by group, with the
    scale indexes and means that follow from those chosen before.

    Args:
        following: The next state, by state and parity.
        x: Values in steps, less their means, [C, n].
        scale: Scale indexes [C, n].
        weight: Bits that a squared error of one step is worth, [C, n].
        planes: Of the channels, from 0.
        starts: First channels of the groups.

    Attributes:
        costs: Bits and weighted errors of all symbols along the best paths, [n].
    """

    def __init__(
        self,
        following: np.ndarray,
        x: np.ndarray,
        scale: np.ndarray,
        weight: np.ndarray,
        planes: np.ndarray,
        starts: Sequence[int],
    ) -> None:
        self._planes, self._before = planes, before_states(following)
        self._states = np.zeros((planes.max() + 1, x.shape[1]), np.uint8)
        # The last channels of the planes in each group: behind these the costs to go are read.
        group = np.searchsorted(starts, np.arange(len(planes)), side="right")
        last = {(g, p): c for c, (g, p) in enumerate(zip(group, planes, strict=True))}
        self._place = np.full(len(planes), -1)
        self._place[list(last.values())] = np.arange(len(last))
        self._to_go = np.zeros((len(last), len(following), x.shape[1]), np.uint16)
        self.costs = np.zeros(x.shape[1], np.float32)

        def look_ahead(lanes: slice) -> None:
            cost = _choices(lanes, x, scale, weight)[1]
            places = self._place, lanes.start, self._to_go
            self.costs[lanes] = _look_ahead(cost, planes, following, *places)

        side_by_side(look_ahead, _lanes(x.shape[1]))

    def symbols(
        self,
        rows: slice,
        places: np.ndarray,
        x: np.ndarray,
        scale: np.ndarray,
        weight: np.ndarray,
    ) -> np.ndarray:
        """Symbols (int32) [channels, m] of the next channels at the positions `places` [n].

        Args:
            x, scale, weight: As above, [channels, m].
        """
        which = np.flatnonzero(places)
        result = np.zeros(x.shape, np.int32)
        channels = self._planes[rows], self._before, self._place[rows], self._to_go, self._states

        def follow(lanes: slice) -> None:
            found = _choices(lanes, x, scale, weight)
            result[:, lanes] = _follow(*found, *channels, which[lanes])

        side_by_side(follow, _lanes(len(which)))
        return np.where(x < 0, -result, result)


def _lanes(count: int) -> list[slice]:
    return [slice(first, first + LANES) for first in range(0, count, LANES)]


def _choices(
    lanes: slice, x: np.ndarray, scale: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`choices` for some of the positions of x, scale and weight [C, n]."""
    sizes = abs(x[:, lanes]).astype(np.float32)
    index = scale[:, lanes].astype(np.int64)
    return choices(sizes, index, weight[:, lanes].astype(np.float32), dependent_costs())


@compiled
def choices(
    x: np.ndarray, scale: np.ndarray, weight: np.ndarray, bits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes of each kind that cost least, and bits + weight * squared error, [C, KINDS, n].

    Args:
        x: Magnitudes in steps [C, n].
        scale, weight: As of `Trellis`.
        bits: Of magnitudes, by quantiser and scale index.
    """
    channels, count = x.shape
    magnitude = np.empty((channels, KINDS, count), np.int32)
    cost = np.empty((channels, KINDS, count), np.float32)
    last = bits.shape[2] - 1
    for c in range(channels):
        for kind in range(KINDS):
            quantiser, parity = kind // 2, kind % 2
            shift = 0.5 * quantiser
            for n in range(count):
                around = np.int64(np.floor(x[c, n] + np.float32(shift)))
                below = around - ((around ^ parity) & 1)
                best = np.inf
                for candidate in (below, below + 2, parity):
                    symbol = max(candidate, parity)
                    error = x[c, n] - (symbol - shift if symbol > 0 else 0.0)
                    rate = bits[quantiser, scale[c, n], min(symbol, last)]
                    found = rate + weight[c, n] * error * error
                    if found < best:
                        best = found
                        magnitude[c, kind, n], cost[c, kind, n] = symbol, found
    return magnitude, cost


@compiled
def _look_ahead(
    cost: np.ndarray,
    planes: np.ndarray,
    following: np.ndarray,
    place: np.ndarray,
    first: int,
    to_go: np.ndarray,
) -> np.ndarray:
    """What all channels cost at least from state 0 [n].

    Args:
        cost: [C, KINDS, n].
        planes: Of the channels.
        following: The next state, by state and parity.
        place: Of each channel in `to_go`, negative where it has none.
        first: Of the positions in `to_go`.
        to_go: Takes what the channels after each one cost at least, by state [places, states,
            positions], in 1 / `FINE` bits above the least state's.
    """
    states, count = len(following), cost.shape[2]
    total = np.zeros(count, np.float32)
    now = np.empty((states, count), np.float32)
    for plane in range(planes.max() + 1):
        after = np.zeros((states, count), np.float32)
        for c in range(len(cost) - 1, -1, -1):
            if planes[c] != plane:
                continue
            if place[c] >= 0:
                for n in range(count):
                    least = after[:, n].min()
                    for state in range(states):
                        more = min(FINE * (after[state, n] - least), MOST)
                        to_go[place[c], state, first + n] = np.uint16(more)
            for state in range(states):
                kind, best = 2 * (state & 1), now[state]
                by_even, by_odd = after[following[state, 0]], after[following[state, 1]]
                even, odd = cost[c, kind], cost[c, kind + 1]
                for n in range(count):
                    one, other = even[n] + by_even[n], odd[n] + by_odd[n]
                    best[n] = one if one < other else other
            now, after = after, now
        total += after[0]
    return total


def before_states(following: np.ndarray) -> np.ndarray:
    """The two states that lead to each state, and the kinds of their symbols, [states, 2, 2]."""
    order = np.argsort(following.ravel(), kind="stable").reshape(-1, 2)
    state, parity = order // 2, order % 2
    return np.stack([state, 2 * (state & 1) + parity], 2)


@compiled
def _follow(
    magnitude: np.ndarray,
    cost: np.ndarray,
    planes: np.ndarray,
    before: np.ndarray,
    place: np.ndarray,
    to_go: np.ndarray,
    states: np.ndarray,
    positions: np.ndarray,
) -> np.ndarray:
    """Magnitudes [channels, m] along the best paths through some channels.

    Args:
        magnitude, cost: From `choices` [channels, KINDS, m].
        planes: Of the channels.
        before: From `before_states`.
        place: Of each channel in `to_go`.
        to_go: What comes after some channels [places, states, positions].
        states: Of the paths [planes, positions]; moved on.
        positions: [m] among all.
    """
    count, lanes = len(before), len(positions)
    result = np.empty((len(planes), lanes), np.int32)
    total = np.empty((count, lanes), np.float32)
    reached = np.empty((count, lanes), np.float32)
    for plane in np.unique(planes):
        channels = np.flatnonzero(planes == plane)
        second = np.empty((len(channels), count, lanes), np.bool_)  # of the two before, that one
        total[:] = np.inf
        for n in range(lanes):
            total[states[plane, positions[n]], n] = 0
        for i, c in enumerate(channels):
            for state in range(count):
                ways, best, taken = before[state], reached[state], second[i, state]
                from_one, from_other = total[ways[0, 0]], total[ways[1, 0]]
                one, other = cost[c, ways[0, 1]], cost[c, ways[1, 1]]
                for n in range(lanes):
                    by_one, by_other = from_one[n] + one[n], from_other[n] + other[n]
                    taken[n] = by_other < by_one
                    best[n] = by_other if by_other < by_one else by_one
            total, reached = reached, total
        after = to_go[place[channels[-1]]]
        for n in range(lanes):
            last = 0
            for state in range(count):
                total[state, n] += after[state, positions[n]] / FINE
                if total[state, n] < total[last, n]:
                    last = state
            states[plane, positions[n]] = last
            for i in range(len(channels) - 1, -1, -1):
                last, kind = before[last, int(second[i, last, n])]
                result[channels[i], n] = magnitude[channels[i], kind, n]
    return result
