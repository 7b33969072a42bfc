"""Flags of the positions of a subband frame whose symbols are all zero (docs/format.md)."""

from __future__ import annotations

import numpy as np

from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.wavefront import wavefront

CLASSES = 12  # 3 by the flags to the left and above, 2 by the parent's, 2 by the sibling's


class SkipCoder:
    """Codes the flags of one packet; their odds follow from those before."""

    def __init__(self) -> None:
        self._counts = np.ones((CLASSES, 2), np.int64)  # of 0 and 1

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
            wanted = None if skipped is None else skipped[i, j]
            flags[i, j] = coder.flags(self._counts, classes, wanted)
        return flags
