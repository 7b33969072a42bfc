"""Choice of symbols in dependent quantisation: the path of least rate and distortion.

The Viterbi algorithm over the states of `bitstream.dependent`.
"""

from __future__ import annotations

import numpy as np

from innvc.bitstream.dependent import NEXT
from innvc.compiled import compiled
from innvc.fit.symbol_costs import dependent_costs

STATES, KINDS = len(NEXT), 4  # kinds of symbols: 2 x quantiser + parity


class Trellis:
    """Chooses symbols along the paths of each plane at each position, from state 0.

    What the symbols from some channel on cost at least, for each state there, is estimated with the
    scale indexes and means of a first pass. Then the symbols are chosen group by group, with the
    scale indexes and means that follow from those chosen before.

    Args:
        x: Values in steps, less their means, [C, n].
        scale: Scale indexes [C, n].
        weight: Bits that a squared error of one step is worth, [C, n].
        planes: Of the channels, from 0.

    Attributes:
        costs: Bits and weighted errors of all symbols along the best paths, [n].
    """

    def __init__(
        self, x: np.ndarray, scale: np.ndarray, weight: np.ndarray, planes: np.ndarray
    ) -> None:
        self._planes = planes
        self._states = np.zeros((planes.max() + 1, x.shape[1]), np.int64)
        self._to_go = np.zeros((len(planes), STATES, x.shape[1]), np.float32)  # after a channel
        self.costs = np.zeros(x.shape[1], np.float32)
        cost = _choices(*_sizes(x, scale, weight), dependent_costs())[1]
        _look_ahead(cost, planes, NEXT, self._to_go, self.costs)

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
        magnitude, cost = _choices(*_sizes(x, scale, weight), dependent_costs())
        result = np.zeros(x.shape, np.int32)
        to_go = self._to_go[rows]
        _follow(magnitude, cost, self._planes[rows], NEXT, which, to_go, self._states, result)
        return np.where(x < 0, -result, result)


def _sizes(
    x: np.ndarray, scale: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return abs(x).astype(np.float32), scale.astype(np.int64), weight.astype(np.float32)


@compiled
def _choices(
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
    cost = np.empty((channels, KINDS, count))
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
    cost: np.ndarray, planes: np.ndarray, following: np.ndarray, to_go: np.ndarray, all: np.ndarray
) -> None:
    """What the channels after each one cost at least, by state.

    Args:
        cost: [C, KINDS, n].
        planes: Of the channels.
        following: The next state, by state and parity.
        to_go: Takes the costs [C, STATES, n].
        all: Those of all channels from state 0 are added to it [n].
    """
    for plane in range(planes.max() + 1):
        for n in range(cost.shape[2]):
            after, now = np.zeros(STATES), np.zeros(STATES)
            for c in range(len(cost) - 1, -1, -1):
                if planes[c] != plane:
                    continue
                for state in range(STATES):
                    to_go[c, state, n] = after[state]
                    kind = 2 * (state & 1)
                    even = cost[c, kind, n] + after[following[state, 0]]
                    odd = cost[c, kind + 1, n] + after[following[state, 1]]
                    now[state] = min(even, odd)
                after[:] = now
            all[n] += after[0]


@compiled
def _follow(
    magnitude: np.ndarray,
    cost: np.ndarray,
    planes: np.ndarray,
    following: np.ndarray,
    places: np.ndarray,
    to_go: np.ndarray,
    states: np.ndarray,
    result: np.ndarray,
) -> None:
    """Takes the best paths through some channels.

    Args:
        magnitude, cost: From `_choices` [channels, KINDS, m].
        planes: Of the channels.
        following: The next state, by state and parity.
        places: Positions [m] among all.
        to_go: What comes after each channel [channels, STATES, positions].
        states: Of the paths [planes, positions]; moved on.
        result: Takes magnitudes [channels, m].
    """
    for plane in np.unique(planes):
        channels = np.flatnonzero(planes == plane)
        before = np.empty((len(channels), STATES), np.int64)
        kinds = np.empty((len(channels), STATES), np.int64)
        for n, position in enumerate(places):
            total = np.full(STATES, np.inf)
            total[states[plane, position]] = 0
            for i, c in enumerate(channels):
                reached = np.full(STATES, np.inf)
                for state in range(STATES):
                    for parity in range(2):
                        kind, target = 2 * (state & 1) + parity, following[state, parity]
                        found = total[state] + cost[c, kind, n]
                        if found < reached[target]:
                            reached[target] = found
                            before[i, target], kinds[i, target] = state, kind
                total = reached
            last: int | np.int64 = np.int64(0)
            for state in range(STATES):
                total[state] += to_go[channels[-1], state, position]
                if total[state] < total[last]:
                    last = state
            states[plane, position] = last
            for i in range(len(channels) - 1, -1, -1):
                result[channels[i], n] = magnitude[channels[i], kinds[i, last], n]
                last = before[i, last]
