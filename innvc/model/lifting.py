"""Temporal lifting over a group of frames, in front of the backbone (design section 3).

A group of G = 2^k frames goes through k levels of `h = b - predict(a)`, `l = a + update(h)` on its
even frames a and odd frames b, then each subband frame is scaled so that quantisation noise of one
size in any of them does the same harm. Any `predict` and `update` keep it invertible. Without
motion it is the Haar transform; `model.motion` has the motion-compensated one.

Subband frames are ordered coarse to fine: the low-pass frame, then the details of the coarsest
lifting level, down to the finest. Levels: 0 is the low-pass, k the details over the longest time,
1 the details between neighbouring frames.
"""

from __future__ import annotations

from math import sqrt
from typing import Protocol

import torch
from torch import Tensor


class Lifting(Protocol):
    """The operators of one group."""

    def predict(self, a: Tensor, level: int) -> Tensor:
        """Prediction of the odd frames [P, ...] from the even frames [P, ...]."""

    def update(self, h: Tensor, level: int) -> Tensor:
        """What is added to the even frames [P, ...] for the details [P, ...]."""

    def gains(self, subbands: Tensor) -> Tensor:
        """Factors of the subband frames [G, ...], broadcastable to them."""


class Haar:
    """No motion: the orthonormal Haar transform."""

    def predict(self, a: Tensor, level: int) -> Tensor:
        return a

    def update(self, h: Tensor, level: int) -> Tensor:
        return h / 2

    def gains(self, subbands: Tensor) -> Tensor:
        group = len(subbands)
        factors = [sqrt(group)]
        factors += [sqrt(1 << level_of(j, group)) / 2 for j in range(1, group)]
        shape = (-1, *(1,) * (subbands.dim() - 1))
        return torch.tensor(factors, dtype=torch.float64).to(subbands).view(shape)


def forward(frames: Tensor, lifting: Lifting | None = None) -> Tensor:
    """Frames [G, ...] to subband frames [G, ...], coarse to fine."""
    lifting = lifting or Haar()
    details = []
    low, level = frames, 1
    while len(low) > 1:
        a, b = low[0::2], low[1::2]
        h = b - lifting.predict(a, level)
        low = a + lifting.update(h, level)
        details.append(h)
        level += 1
    subbands = torch.cat([low, *reversed(details)])
    return subbands * lifting.gains(subbands)


def inverse(subbands: Tensor, lifting: Lifting | None = None) -> Tensor:
    """Subband frames [G, ...] back to frames [G, ...]."""
    lifting = lifting or Haar()
    subbands = subbands / lifting.gains(subbands)
    low, level = subbands[:1], len(subbands).bit_length() - 1
    while len(low) < len(subbands):
        h = subbands[len(low) : 2 * len(low)]
        a = low - lifting.update(h, level)
        b = h + lifting.predict(a, level)
        low = torch.stack([a, b], 1).flatten(0, 1)
        level -= 1
    return low


def level_of(subband: int, group: int) -> int:
    """Lifting level of a subband frame in a group of `group` frames; 0 is the low-pass."""
    return 0 if subband == 0 else group.bit_length() - subband.bit_length()


def span_of(subband: int, group: int) -> tuple[int, int]:
    """Half-open range of the group's frames that a subband frame describes."""
    if subband == 0:
        return 0, group
    length = 1 << level_of(subband, group)
    position = subband - (1 << (subband.bit_length() - 1))
    return position * length, (position + 1) * length


def time_of(subband: int, group: int, start: int, frames: int) -> float:
    """Centre of a subband frame in its segment, 0..1, for a group that begins at frame `start`."""
    first, last = span_of(subband, group)
    return (start + (first + last) / 2) / frames


def parent_of(subband: int) -> int | None:
    """The subband frame one level coarser over the same time; None for the low-pass."""
    if subband == 0:
        return None
    return 0 if subband == 1 else subband >> 1


def sibling_of(subband: int) -> int | None:
    """The subband frame before it on the same level; None for the first."""
    return subband - 1 if subband & (subband - 1) and subband > 1 else None
