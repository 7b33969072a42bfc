"""Temporal lifting over a group of frames, in front of the backbone (design section 3).

A group of G frames goes through levels of `h = b - predict(a)`, `l = a + update(h)` on its even
frames a and odd frames b, until one frame is left; then each subband frame is scaled so that
quantisation noise of one size in any of them does the same harm. Any `predict` and `update` keep it
invertible. Without motion and for G = 2^k it is the orthonormal Haar transform; `model.motion` has
the motion-compensated one. `model.subbands` has the order of the subband frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from innvc.model.subbands import details, low_counts


class Lifting(Protocol):
    """The operators of one group."""

    def predict(self, a: Tensor, level: int, count: int) -> Tensor:
        """Prediction of the `count` odd frames from the even frames, as many or one more."""

    def update(self, h: Tensor, level: int, count: int) -> Tensor:
        """What is added to the `count` even frames for the details of the odd frames."""

    def returned(self, b: Tensor, level: int, count: int) -> Tensor:
        """The transpose of `predict`: from odd frames to the `count` even ones."""

    def gains(self, subbands: Tensor) -> Tensor:
        """Factors of the subband frames [G, C, H, W], broadcastable to them."""


class Haar:
    """No motion: every odd frame is predicted by the even frame before it."""

    def predict(self, a: Tensor, level: int, count: int) -> Tensor:
        return a[:count]

    def update(self, h: Tensor, level: int, count: int) -> Tensor:
        return self.returned(h / 2, level, count)

    def returned(self, b: Tensor, level: int, count: int) -> Tensor:
        return torch.cat([b, torch.zeros_like(b[: count - len(b)])])

    def gains(self, subbands: Tensor) -> Tensor:
        group = len(subbands)
        levels = len(low_counts(group)) - 1
        one = [torch.ones(len(details(group, level)), 1) for level in range(1, levels + 1)]
        energy = synthesis_energy([(before, 0 * before) for before in one])
        return energy.sqrt().to(subbands).view(-1, *(1,) * (subbands.dim() - 1))


def forward(frames: Tensor, lifting: Lifting | None = None) -> Tensor:
    """Frames [G, ...] to subband frames [G, ...], coarse to fine."""
    lifting = lifting or Haar()
    found = []
    low, level = frames, 1
    while len(low) > 1:
        a, b = low[0::2], low[1::2]
        h = b - lifting.predict(a, level, len(b))
        low = a + lifting.update(h, level, len(a))
        found.append(h)
        level += 1
    subbands = torch.cat([low, *reversed(found)])
    return subbands * lifting.gains(subbands)


def inverse(subbands: Tensor, lifting: Lifting | None = None) -> Tensor:
    """Subband frames [G, ...] back to frames [G, ...]."""
    lifting = lifting or Haar()
    subbands = subbands / lifting.gains(subbands)
    low, group = subbands[:1], len(subbands)
    for level in range(len(low_counts(group)) - 1, 0, -1):
        places = details(group, level)
        h = subbands[places.start : places.stop]
        a = low - lifting.update(h, level, len(low))
        low = interleaved(a, h + lifting.predict(a, level, len(h)))
    return low


def low_pass_transpose(frames: Tensor, lifting: Lifting) -> Tensor:
    """The transpose of the low-pass frame's way to the frames: [G, ...] to [1, ...].

    Without its gain: of `inverse` of a low-pass frame, as bright as a frame, and no details.
    """
    level = 1
    while len(frames) > 1:
        even, odd = frames[0::2], frames[1::2]
        frames = even + lifting.returned(odd, level, len(even))
        level += 1
    return frames


def interleaved(a: Tensor, b: Tensor) -> Tensor:
    """a_0, b_0, a_1, b_1 ... along the first axis; a may have one more."""
    result = a.new_empty(len(a) + len(b), *a.shape[1:])
    result[0::2], result[1::2] = a, b
    return result


def synthesis_energy(weights: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Energy that unit noise in each subband frame brings into all frames, where nothing moves.

    Args:
        weights: For level 1, 2 ... the weights [P, ...] of the even frame before and the one after
            in the prediction of the P odd frames.

    Returns:
        [G, ...] in float64.
    """
    group = 1 + sum(len(before) for before, _ in weights)
    shape = weights[0][0].shape[1:] if weights else (1,)
    noise = torch.eye(group, dtype=torch.float64).view(group, group, *(1,) * len(shape))
    noise = noise.expand(group, group, *shape).transpose(0, 1)  # [place, noisy subband, ...]
    low = noise[:1]
    for level in range(len(weights), 0, -1):
        before, after = (w.double()[:, None] for w in weights[level - 1])
        places = details(group, level)
        h, count = noise[places.start : places.stop], len(places)
        # A detail reaches the even frames that predict it.
        total, weight = torch.zeros_like(low), torch.zeros_like(low[:, :1])
        total[:count] += before * h
        weight[:count] += before
        reached = min(count, len(low) - 1)
        total[1 : 1 + reached] += (after * h)[:reached]
        weight[1 : 1 + reached] += after[:reached]
        a = low - total / (1 + weight)
        b = h + before * a[:count]
        b[:reached] += after[:reached] * a[1 : 1 + reached]
        low = interleaved(a, b)
    return low.square().sum(0)
