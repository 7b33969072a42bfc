"""Coded directions of the blocks of a low-pass frame (docs/format.md, section 15)."""

from __future__ import annotations

import numpy as np

from innvc.bitstream.coder import Decoder, Encoder
from innvc.model.directions import DIRECTIONS

NONE = -1
# Classes of flags: whether a block has a direction, by how many neighbours have; whether it is that
# on the left; that above; one beside the expected; which of the two; the nodes of a tree.
_ANY, _LEFT, _ABOVE, _BESIDE, _WHICH, _TREE = 0, 3, 4, 5, 6, 7
_DEPTH = DIRECTIONS.bit_length() - 1


class DirectionCoder:
    """Codes the directions of one frame, wavefront by wavefront; odds follow from those before.

    Args:
        rows, columns: Of blocks.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self._counts = np.ones((_TREE + DIRECTIONS, 2), np.int64)
        self._found = np.full((rows, columns), NONE)

    def code(
        self,
        coder: Encoder | Decoder,
        i: np.ndarray,
        j: np.ndarray,
        wanted: np.ndarray | None,
    ) -> np.ndarray:
        """Codes (`wanted`) or decodes the directions [P] of blocks; NONE at the frame's edges."""
        found = np.full(len(i), NONE)
        inside = np.flatnonzero((i > 0) & (j > 0))
        left, above = self._found[i[inside], j[inside] - 1], self._found[i[inside] - 1, j[inside]]
        given = None if wanted is None else wanted[inside]
        here = self._flags(
            coder, _ANY + (left != NONE) + (above != NONE), None if given is None else given != NONE
        )
        inside, left, above = inside[here], left[here], above[here]
        given = None if given is None else given[here]
        direction = np.full(len(inside), NONE)
        for number, other in ((_LEFT, left), (_ABOVE, np.where(above != left, above, NONE))):
            ask = np.flatnonzero((direction == NONE) & (other != NONE))
            same = self._flags(
                coder,
                np.full(len(ask), number),
                None if given is None else given[ask] == other[ask],
            )
            direction[ask[same]] = other[ask[same]]
        expected = np.where(left != NONE, left, above)
        ask = np.flatnonzero((direction == NONE) & (expected != NONE))
        apart = None if given is None else given[ask] - expected[ask]
        beside = self._flags(
            coder, np.full(len(ask), _BESIDE), None if apart is None else abs(apart) == 1
        )
        up = self._flags(
            coder, np.full(beside.sum(), _WHICH), None if apart is None else apart[beside] > 0
        )
        direction[ask[beside]] = (expected[ask[beside]] + 2 * up - 1) % DIRECTIONS
        ask = np.flatnonzero(direction == NONE)
        node = np.ones(len(ask), np.int64)
        for bit in range(_DEPTH - 1, -1, -1):
            ones = None if given is None else (given[ask] >> bit & 1).astype(bool)
            node = 2 * node + self._flags(coder, _TREE + node, ones)
        direction[ask] = node - DIRECTIONS
        found[inside] = direction
        self._found[i, j] = found
        return found

    def _flags(
        self, coder: Encoder | Decoder, classes: np.ndarray, values: np.ndarray | None
    ) -> np.ndarray:
        return coder.flags(self._counts, classes, values)

    def bits(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """About the bits of no direction and of each, [1 + DIRECTIONS, P]; infinite at the edges.

        As if the blocks were coded one by one.
        """
        total = self._counts.sum(1, keepdims=True)
        cost = -np.log2(self._counts / total)
        left = np.where(j > 0, self._found[i, j - 1], NONE)
        above = np.where(i > 0, self._found[i - 1, j], NONE)
        each = np.arange(DIRECTIONS)[:, None]
        any_class = _ANY + (left != NONE) + (above != NONE)
        tree = np.zeros((DIRECTIONS, 1))
        for bit in range(_DEPTH):
            node = (each[:, 0] + DIRECTIONS) >> (bit + 1)
            tree[:, 0] += cost[_TREE + node, each[:, 0] >> bit & 1]
        expected = np.where(left != NONE, left, above)
        beside = (abs(each - expected) == 1) & (expected != NONE)
        rest = np.where(beside, cost[_BESIDE, 1] + 1, tree + cost[_BESIDE, 0] * (expected != NONE))
        second = (above != NONE) & (above != left)
        rest = np.where(second, np.where(each == above, 0, rest), rest)
        rest = rest + np.where(second, cost[_ABOVE][(each == above).astype(int)], 0)
        rest = np.where(each == left, 0, rest)
        rest = rest + np.where(left != NONE, cost[_LEFT][(each == left).astype(int)], 0)
        bits = np.concatenate([cost[any_class, 0][None], cost[any_class, 1] + rest])
        bits[1:, (i == 0) | (j == 0)] = np.inf
        return bits
