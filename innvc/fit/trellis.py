"""Choice of symbols in dependent quantisation: the path of least rate and distortion.

The Viterbi algorithm over the states of `bitstream.dependent`.
"""

from __future__ import annotations

import numpy as np

from innvc.bitstream.dependent import NEXT
from innvc.fit.symbol_costs import symbol_costs

STATES = len(NEXT)
# The two states that lead to each, and the parities of their symbols.
_EDGES = [
    [(s, p) for s in range(STATES) for p in range(2) if NEXT[s, p] == t] for t in range(STATES)
]
BEFORE = np.array([[s for s, _ in edges] for edges in _EDGES]).T
# Kinds of symbols, 2 x quantiser + parity: by state and parity, and of each of these edges.
KINDS = np.array([[2 * (s & 1) + p for p in range(2)] for s in range(STATES)])
KIND = np.array([[2 * (s & 1) + p for s, p in edges] for edges in _EDGES]).T


def nearest(
    x: np.ndarray,
    scale: np.ndarray,
    weight: np.ndarray,
    quantiser: int,
    parity: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes of a parity that cost least, and bits + weight * squared error.

    Args:
        x: Magnitudes in steps.
        scale: Scale indexes (int), of x's shape.
        weight: Bits that a squared error of one step is worth.
        quantiser, parity: Of the symbols, 0 or 1.
    """
    shift = 0.5 * quantiser
    around = np.floor(x + shift).astype(np.int32)
    below = around - ((around ^ parity) & 1)
    symbols, found = [], []
    for candidate in (below, below + 2, np.full_like(below, parity)):
        symbol = np.maximum(candidate, parity)
        error = x - np.where(symbol > 0, symbol - shift, 0)
        bits = symbol_costs(symbol, scale, 1 + quantiser)
        symbols.append(symbol)
        found.append(bits + weight * error * error)
    best = np.argmin(found, 0)[None]
    return tuple(np.take_along_axis(np.stack(part), best, 0)[0] for part in (symbols, found))


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
        self._states = np.zeros((planes.max() + 1, x.shape[1]), np.intp)
        cost = _choices(x, scale, weight)[1]
        self._to_go = np.zeros((len(planes), STATES, x.shape[1]), np.float32)  # after a channel
        self.costs = np.zeros(x.shape[1], np.float32)
        for plane in range(len(self._states)):
            after = np.zeros_like(self._to_go[0])
            for channel in np.flatnonzero(planes == plane)[::-1]:
                self._to_go[channel] = after
                both = [cost[channel][KINDS[:, p]] + after[NEXT[:, p]] for p in range(2)]
                after = np.minimum(*both)
            self.costs += after[0]

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
        magnitude, cost = _choices(x, scale, weight)
        result = np.empty(x.shape, np.int32)
        everywhere = np.arange(x.shape[1])
        for plane in np.unique(self._planes[rows]):
            channels = np.flatnonzero(self._planes[rows] == plane)
            total = np.full((STATES, x.shape[1]), np.float32(np.inf))
            total[self._states[plane, places], everywhere] = 0
            second = np.empty((len(channels), *total.shape), bool)
            for place, channel in enumerate(channels):
                first, other = (total[BEFORE[i]] + cost[channel][KIND[i]] for i in range(2))
                second[place] = other < first
                total = np.minimum(first, other)
            total += self._to_go[rows.start + channels[-1]][:, places]
            state = total.argmin(0)
            self._states[plane, places] = state
            for place in range(len(channels) - 1, -1, -1):
                which = second[place, state, everywhere].astype(np.intp)
                kind, state = KIND[which, state], BEFORE[which, state]
                result[channels[place]] = magnitude[channels[place], kind, everywhere]
        return np.where(x < 0, -result, result)


def _choices(x: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best magnitudes and their costs by kind, [C, 4, n]."""
    x, weight, scale = abs(x).astype(np.float32), weight.astype(np.float32), scale.astype(np.int32)
    found = [nearest(x, scale, weight, quantiser, parity) for quantiser, parity in np.ndindex(2, 2)]
    magnitude, cost = (np.stack(parts, 1) for parts in zip(*found, strict=True))
    return magnitude, cost
