"""Dependent quantisation (docs/format.md): two quantisers, and a path of states between them.

A symbol k stands for 2 k half steps in quantiser 0 and for 2 k - sgn(k) in quantiser 1: each is as
coarse as a step, both together are twice as fine. Which one a symbol has follows from the parities
of the symbols before it, so an encoder that looks ahead can choose a path of small errors. There
is one path for each plane at each position, through the channels in coding order.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from innvc.bitstream.adaptive import AdaptiveTables
from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.table_coder import code_paths

# Parity checks of Ungerboeck's codes for one dimension ("Channel coding with multilevel/phase
# signals", IEEE Trans. Inf. Theory 28, 1982, table I), by the number of states: of the quantiser,
# and of the subset in it.
CHECKS = {
    16: (0o23, 0o4),
    32: (0o45, 0o10),
    64: (0o103, 0o24),
    128: (0o235, 0o126),
    256: (0o515, 0o362),
}


@cache
def following(states: int) -> np.ndarray:
    """Next state by the state and the symbol's parity, uint8 [states, 2]; odd ones: quantiser 1.

    Args:
        states: 8, or one of `CHECKS`.
    """
    if states == 8:
        rows = [(0, 2), (5, 7), (1, 3), (6, 4), (2, 0), (4, 6), (3, 1), (7, 5)]
        return np.array(rows, np.uint8)
    state = np.arange(states)[:, None]
    quantiser = state & 1
    subset = quantiser ^ np.arange(2)
    check, own = CHECKS[states]
    result: np.ndarray = (state >> 1) ^ (quantiser * (check >> 1)) ^ (subset * (own >> 1))
    return result.astype(np.uint8)


def half_steps(symbols: np.ndarray, quantiser: np.ndarray | int) -> np.ndarray:
    """What symbols stand for, in half steps."""
    result: np.ndarray = 2 * symbols - np.sign(symbols) * quantiser
    return result


def in_steps(half_steps: np.ndarray, step: np.ndarray | int) -> np.ndarray:
    """Half steps times a step, both integers, in the step's unit; rounded towards zero."""
    result: np.ndarray = np.sign(half_steps) * (np.abs(half_steps) * step // 2)
    return result


class SymbolCoder:
    """Codes symbols of channels at positions, in independent or in dependent quantisation.

    Args:
        planes: Plane of each channel, in coding order; None is independent quantisation.
        states: Of the paths, see `following`.
    """

    def __init__(self, planes: np.ndarray | None, states: int = 8) -> None:
        self.following = following(states)
        self.planes = None if planes is None else np.unique(planes, return_inverse=True)[1]

    def start(self, positions: int) -> np.ndarray:
        """States at the start of the paths through all channels, of each plane [P, positions]."""
        count = 0 if self.planes is None else int(self.planes.max()) + 1
        return np.zeros((count, positions), np.uint8)

    def follow(
        self, states: np.ndarray, rows: slice, places: np.ndarray, symbols: np.ndarray
    ) -> np.ndarray:
        """Half steps of dependent symbols that are not coded; arguments are those of `code`."""
        assert self.planes is not None
        half = np.empty_like(symbols)
        for own, found, plane in zip(symbols, half, self.planes[rows], strict=True):
            state = states[plane, places]
            found[:] = half_steps(own, state & 1)
            states[plane, places] = self.following[state, own & 1]
        return half

    def code(
        self,
        coder: Encoder | Decoder,
        states: np.ndarray,
        rows: slice,
        places: np.ndarray,
        scale: np.ndarray,
        symbols: np.ndarray | None,
        adaptive: AdaptiveTables,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes or decodes symbols.

        Args:
            states: Of the paths [P, positions], moved on.
            rows: The channels.
            places: Positions with a symbol [n].
            scale: Scale indexes of the channels (int64) [channels, positions].
            symbols: [channels, n] to code; None decodes.
            adaptive: Tables to code with.

        Returns:
            The symbols, and the half steps they stand for, [channels, n] (int32).

        Raises:
            CorruptError: the string is invalid.
        """
        shape = scale.shape[0], len(places)
        given = None if symbols is None else symbols.ravel()
        found = coder.room(shape[0] * shape[1], given, np.int32).reshape(shape)
        half = np.empty_like(found)
        planes = np.full(shape[0], -1) if self.planes is None else self.planes[rows]
        paths = planes, self.following, states
        tables = adaptive.tables
        coder.check(code_paths(coder.stream, tables, *paths, places, scale, found, half))
        return found, half
