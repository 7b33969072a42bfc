"""Dependent quantisation (docs/format.md): two quantisers, and a path of states between them.

A symbol k stands for 2 k half steps in quantiser 0 and for 2 k - sgn(k) in quantiser 1: each is as
coarse as a step, both together are twice as fine. Which one a symbol has follows from the parities
of the symbols before it, so an encoder that looks ahead can choose a path of small errors. There
is one path for each plane at each position, through the channels in coding order.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from innvc.bitstream import tables
from innvc.bitstream.adaptive import AdaptiveTables
from innvc.bitstream.coder import Decoder, Encoder

# Next state by the state and the symbol's parity; odd states have quantiser 1.
NEXT = np.array([(0, 2), (5, 7), (1, 3), (6, 4), (2, 0), (4, 6), (3, 1), (7, 5)], dtype=np.uint8)


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
    """

    def __init__(self, planes: np.ndarray | None) -> None:
        self.planes = None if planes is None else np.unique(planes, return_inverse=True)[1]
        self._turns = cache(self._find_turns)

    def start(self, shape: tuple[int, ...]) -> np.ndarray:
        """States at the start of the paths through all channels, of each plane [P, *shape]."""
        count = 0 if self.planes is None else int(self.planes.max()) + 1
        return np.zeros((count, *shape), np.uint8)

    def code(
        self,
        coder: Encoder | Decoder,
        states: np.ndarray,
        rows: slice,
        scale: np.ndarray,
        symbols: np.ndarray | None,
        adaptive: AdaptiveTables,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes or decodes symbols.

        Args:
            states: At the positions [P, n], moved on.
            rows: The channels.
            scale: Scale indexes [channels, n].
            symbols: [channels, n] to code; None decodes.
            adaptive: Tables to code with.

        Returns:
            The symbols, and the half steps they stand for, [channels, n].
        """
        scale = scale.astype(np.uint8)
        if self.planes is None:
            wanted = None if symbols is None else symbols.ravel()
            found = coder.code(scale.ravel(), wanted, adaptive)
            found = found.reshape(scale.shape)
            return found, half_steps(found, 0)
        found = np.empty(scale.shape, np.int32)
        half = np.empty_like(found)
        for turn in self._turns(rows.start, rows.stop):
            planes = self.planes[rows][turn]
            before = states[planes]
            table = scale[turn] + tables.LEVELS * (1 + (before & 1))
            wanted = None if symbols is None else symbols[turn].ravel()
            found[turn] = coder.code(table.ravel(), wanted, adaptive).reshape(table.shape)
            half[turn] = half_steps(found[turn], (before & 1).astype(np.int32))
            states[planes] = NEXT[before, found[turn] & 1]
        return found, half

    def _find_turns(self, start: int, stop: int) -> list[np.ndarray]:
        """Channels, from `start`, that are coded together: one of each plane."""
        assert self.planes is not None
        planes = self.planes[start:stop]
        rank = np.array([np.count_nonzero(planes[:i] == p) for i, p in enumerate(planes)])
        return [np.flatnonzero(rank == turn) for turn in range(rank.max() + 1)]
