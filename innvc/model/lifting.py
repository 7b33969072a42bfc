"""Temporal lifting over a group of frames, in front of the backbone (design section 3).

A group of G = 2^k frames goes through k levels of `h = b - m warp(a)`, `l = a + u warp(h)`, scaled
to be orthonormal. With no motion and full gates (m = 1, u = 1/2) this is the Haar transform. Any
`predict` and `update` keep it invertible, so motion and gates fit in without a change here.

Subband frames are ordered coarse to fine: the low-pass frame, then the details of the coarsest
lifting level, down to the finest. Levels: 0 is the low-pass, k the details over the longest time,
1 the details between neighbouring frames.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

# (frames [P, ...], lifting level) -> prediction or update of the same shape
Operator = Callable[[Tensor, int], Tensor]


def _predict(a: Tensor, level: int) -> Tensor:
    return a


def _update(h: Tensor, level: int) -> Tensor:
    return h / 2


def forward(frames: Tensor, predict: Operator = _predict, update: Operator = _update) -> Tensor:
    """Frames [G, ...] to subband frames [G, ...], coarse to fine."""
    details = []
    low, level = frames, 1
    while len(low) > 1:
        a, b = low[0::2], low[1::2]
        h = b - predict(a, level)
        low = (a + update(h, level)) * sqrt(2)
        details.append(h / sqrt(2))
        level += 1
    return torch.cat([low, *reversed(details)])


def inverse(subbands: Tensor, predict: Operator = _predict, update: Operator = _update) -> Tensor:
    """Subband frames [G, ...] back to frames [G, ...]."""
    low, level = subbands[:1], len(subbands).bit_length() - 1
    while len(low) < len(subbands):
        h = subbands[len(low) : 2 * len(low)] * sqrt(2)
        a = low / sqrt(2) - update(h, level)
        b = h + predict(a, level)
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
