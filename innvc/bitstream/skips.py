"""Flags of the positions of a subband frame whose symbols are all zero (docs/format.md)."""

from __future__ import annotations

import numpy as np

from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.wavefront import wavefront
from innvc.model.parameter_layout import step_sizes

ODDS = len(step_sizes())
CLASSES = 12  # 3 by the flags to the left and above, 2 by the parent's, 2 by the sibling's


class SkipCoder:
    """Codes the flags of one packet; their odds follow from those before."""

    def __init__(self) -> None:
        self._counts = [[1, 1] for _ in range(CLASSES)]  # of 0 and 1

    def code(
        self,
        coder: Encoder | Decoder,
        parent: np.ndarray,
        sibling: np.ndarray,
        skipped: np.ndarray | None,
    ) -> np.ndarray:
        """Codes (`skipped`) or decodes the flags [H, W] of a subband frame.

        Args:
            parent, sibling: Flags of the frames that are its contexts; false where there is none.
        """
        flags = np.zeros(parent.shape, bool)
        outside = 3 * parent + 6 * sibling
        for i, j in wavefront(*parent.shape):
            left, above = (j > 0) & flags[i, j - 1], (i > 0) & flags[i - 1, j]
            classes = outside[i, j] + left + above
            odds = np.array([odds_index(*self._counts[c]) for c in classes])
            flags[i, j] = coder.flags(odds, None if skipped is None else skipped[i, j])
            for number, flag in zip(classes, flags[i, j], strict=True):
                self._counts[number][int(flag)] += 1
        return flags


def odds_index(zeros: int, ones: int) -> int:
    """The k of 0..63 whose odds 2^((2 k - 63) / 4) are about ones : zeros, by integers alone."""
    ratio = (ones**2 << ODDS // 2) // zeros**2
    return min(max(ratio.bit_length() - 1, 0), ODDS - 1)
