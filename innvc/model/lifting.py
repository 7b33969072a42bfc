"""Temporal lifting over a group of frames, in front of the backbone (design section 3).

A group of G frames goes through levels of `h = b - predict(a)`, `l = a + update(h)` on its even
frames a and odd frames b, until one frame is left (of three, a is the middle one, and b are the two
beside it); then each subband frame is scaled so that
quantisation noise of one size in any of them does the same harm. Any `predict` and `update` keep it
invertible. Without motion and for G = 2^k it is the orthonormal Haar transform; `model.motion` has
the motion-compensated one. `model.subbands` has the order of the subband frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from innvc.device import side_by_side
from innvc.model.subbands import details, is_centred, low_counts

Frames = Sequence[Tensor] | Tensor  # [C, h, w] each


class Lifting(ABC):
    """The operators of one group."""

    @abstractmethod
    def predict_frame(self, a: Frames, level: int, count: int, number: int) -> Tensor:
        """Prediction [C, h, w] of an odd frame from those of `count` even ones that it reads."""

    @abstractmethod
    def update_frame(self, h: Frames, level: int, count: int, number: int) -> Tensor:
        """What is added to one of `count` even frames for the details that reach it."""

    @abstractmethod
    def return_frame(self, b: Frames, level: int, count: int, number: int) -> Tensor:
        """The transpose of `predict_frame`: from odd frames to one of `count` even ones."""

    @abstractmethod
    def gains(self, subbands: Tensor) -> Tensor:
        """Factors of the subband frames [G, C, H, W], broadcastable to them."""

    def predict(self, a: Tensor, level: int, count: int) -> Tensor:
        """Prediction of the `count` odd frames from the even ones, as many or one more or less."""
        return _stacked(lambda n: self.predict_frame(a, level, len(a), n), count)

    def update(self, h: Tensor, level: int, count: int) -> Tensor:
        """What is added to the `count` even frames for the details of the odd frames."""
        return _stacked(lambda n: self.update_frame(h, level, count, n), count)

    def returned(self, b: Tensor, level: int, count: int) -> Tensor:
        """The transpose of `predict`: from odd frames to the `count` even ones."""
        return _stacked(lambda n: self.return_frame(b, level, count, n), count)


def _stacked(frame: Callable[[int], Tensor], count: int) -> Tensor:
    return torch.stack(side_by_side(frame, range(count)))


class Haar(Lifting):
    """No motion: every odd frame is predicted by the even frame before it."""

    def predict_frame(self, a: Frames, level: int, count: int, number: int) -> Tensor:
        return a[min(number, count - 1)]  # two from one, or each from its own

    def update_frame(self, h: Frames, level: int, count: int, number: int) -> Tensor:
        return self.return_frame(h, level, count, number) / (2 if len(h) <= count else 3)

    def return_frame(self, b: Frames, level: int, count: int, number: int) -> Tensor:
        if len(b) > count:
            return b[0] + b[1]
        return b[number] if number < len(b) else torch.zeros_like(b[0])

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
    return torch.stack(list(inverse_frames(subbands, len(subbands), lifting)))


def inverse_frames(subbands: Iterable[Tensor], group: int, lifting: Lifting) -> Iterator[Tensor]:
    """The frames of a group, each as soon as the details are there that it needs.

    Args:
        subbands: The subband frames [C, h, w], coarse to fine, divided by their gains.
    """
    subbands = iter(subbands)
    frames: Iterator[Tensor] = islice(subbands, 1)
    counts = low_counts(group)
    for level in range(len(counts) - 1, 0, -1):
        frames = _finer(list(frames), subbands, counts[level - 1], level, lifting)
    return frames


def _finer(
    low: list[Tensor], details: Iterator[Tensor], count: int, level: int, lifting: Lifting
) -> Iterator[Tensor]:
    """The `count` frames that one level made `low` and details of."""
    centred = is_centred(count)
    h: list[Tensor] = []
    a: list[Tensor] = []
    for number in range(count):
        place, odd = number // 2, (number % 2 == 1) != centred
        while len(a) < min(place + 1 + (odd and not centred), len(low)):
            # An even frame is in the details before and after it, the middle of three in both.
            reached = count - len(low) if centred else min(len(a) + 1, count - len(low))
            h.extend(islice(details, reached - len(h)))
            a.append(low[len(a)] - lifting.update_frame(h, level, len(low), len(a)))
        yield h[place] + lifting.predict_frame(a, level, len(low), place) if odd else a[place]


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
