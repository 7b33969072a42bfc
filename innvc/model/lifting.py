"""Temporal lifting over a group of frames, in front of the backbone (design section 3).

A group of G frames goes through levels of `h = b - predict(a)`, `l = a + update(h)` on its even
frames a and odd frames b, until one frame is left (of three, a is the middle one, and b are the two
beside it); then each subband frame is scaled so that
quantisation noise of one size in any of them does the same harm. Any `predict` and `update` keep it
invertible. Without motion and for G = 2^k it is the orthonormal Haar transform; `model.motion` has
the motion-compensated one. `model.subbands` has the order of the subband frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from innvc.model.subbands import details, is_centred, low_counts


class Lifting(Protocol):
    """The operators of one group."""

    def predict(self, a: Tensor, level: int, count: int) -> Tensor:
        """Prediction of the `count` odd frames from the even ones, as many or one more or less."""

    def update(self, h: Tensor, level: int, count: int) -> Tensor:
        """What is added to the `count` even frames for the details of the odd frames."""

    def returned(self, b: Tensor, level: int, count: int) -> Tensor:
        """The transpose of `predict`: from odd frames to the `count` even ones."""

    def gains(self, subbands: Tensor) -> Tensor:
        """Factors of the subband frames [G, C, H, W], broadcastable to them."""


class Haar:
    """No motion: every odd frame is predicted by the even frame before it."""

    def predict(self, a: Tensor, level: int, count: int) -> Tensor:
        return torch.cat([a, a])[:count]  # two from one, or each from its own

    def update(self, h: Tensor, level: int, count: int) -> Tensor:
        return self.returned(h / (2 if len(h) <= count else 3), level, count)

    def returned(self, b: Tensor, level: int, count: int) -> Tensor:
        if len(b) > count:
            return b.sum(0, keepdim=True)
        return torch.cat([b, torch.zeros_like(b[: count - len(b)])])

    def gains(self, subbands: Tensor) -> Tensor:
        group = len(subbands)
        levels = len(low_counts(group)) - 1
        weights = []
        for level in range(1, levels + 1):
            before = torch.ones(len(details(group, level)), 1)
            if is_centred(low_counts(group)[level - 1]):
                before[0] = 0
            weights.append((before, 1 - before))
        energy = synthesis_energy(weights)
        return energy.sqrt().to(subbands).view(-1, *(1,) * (subbands.dim() - 1))


def forward(frames: Tensor, lifting: Lifting | None = None) -> Tensor:
    """Frames [G, ...] to subband frames [G, ...], coarse to fine."""
    lifting = lifting or Haar()
    found = []
    low, level = frames, 1
    while len(low) > 1:
        a, b = split(low)
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
        even, odd = split(frames)
        frames = even + lifting.returned(odd, level, len(even))
        level += 1
    return frames


def split(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd frames along the first axis; of three the middle one, and the others."""
    first = int(is_centred(len(frames)))
    return frames[first::2], frames[1 - first :: 2]


def interleaved(a: Tensor, b: Tensor) -> Tensor:
    """The inverse of `split`."""
    result = a.new_empty(len(a) + len(b), *a.shape[1:])
    even, odd = split(result)
    even[:], odd[:] = a, b
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
        centred = int(count > len(low))
        pairs = [
            (p, p + side - centred, (before, after)[side][p])
            for p in range(count)
            for side in range(2)
            if 0 <= p + side - centred < len(low)
        ]
        for p, even, w in pairs:
            total[even] += w * h[p]
            weight[even] += w
        a = low - total / (1 + weight)
        b = h.clone()
        for p, even, w in pairs:
            b[p] += w * a[even]
        low = interleaved(a, b)
    return low.square().sum(0)
