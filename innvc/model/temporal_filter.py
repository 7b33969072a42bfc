"""The temporal filter: decoded frames nearer to what was coded, by the frames beside them.

Frames err differently, so the mean of a frame and its neighbours, moved along the motion, errs
less. The motion is that of the lifting's first level, from odd frames to the even ones beside them,
and the other way round its reverse. A neighbour counts where it is much like the frame. The encoder
finds how much of the correction a region of a plane gets, as in `post_filter`, which comes before.
The frame before is one that is filtered already, so that what stands still becomes the mean of many
frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from innvc.model.lifting import split
from innvc.model.motion import LevelMotion, in_quarters, used
from innvc.model.planes import Plane, alike
from innvc.model.post_filter import in_regions
from innvc.model.warp import Warp

# Of a quantisation step: a difference of this size between two frames counts half.
LIKENESS = 0.2


class TemporalFilter:
    """The filter of one packet.

    Args:
        motion: Of the lifting's first level.
        frames: Of the packet.
        planes: Of the packed channels.
        step: Quantisation step of plane 0, in 8-bit code values.
    """

    def __init__(
        self, motion: LevelMotion, frames: int, planes: Sequence[Plane], step: float
    ) -> None:
        self.planes = planes
        self._limit = (LIKENESS * step) ** 2
        # Of each frame the vectors to its neighbours, by their numbers.
        self._vectors: list[dict[int, Tensor]] = [{} for _ in range(frames)]
        uses = in_quarters(used(motion.mode))[:, :, None]
        # Where a reference is not used, its motion is taken to be that to the other one, reversed.
        vectors = torch.from_numpy(np.where(uses, motion.quarters, -motion.quarters[:, ::-1]))
        for odd, both in zip(split(torch.arange(frames))[1].tolist(), vectors, strict=True):
            for even, vector in zip((odd - 1, odd + 1), both, strict=True):
                if 0 <= even < frames:
                    self._vectors[odd][even] = vector
                    self._vectors[even][odd] = -vector

    def correction(self, number: int, frame: Tensor, beside: dict[int, Tensor]) -> Tensor:
        """Correction [C, h, w] of a frame, all that its neighbours say.

        Args:
            number: Of the frame in the packet.
            frame: Packed [C, h, w].
            beside: The frames before and after it, by their numbers.
        """
        result = torch.zeros_like(frame)
        for planes in alike(self.planes):
            own = _samples(frame, planes)
            total = torch.zeros_like(own)
            for neighbour, vector in self._vectors[number].items():
                other = _samples(beside[neighbour], planes)
                difference = Warp(vector, None, planes[0], other)(other) - own
                energy = F.avg_pool2d(difference.square(), 3, 1, 1, count_include_pad=False)
                total += difference / (1 + energy / self._limit)
            for plane, samples in zip(planes, total, strict=True):
                result[plane.channels] = plane.pack(samples[None])[0]
        return result

    def apply(
        self, frames: Iterable[Tensor], gains_of: Callable[[int, Tensor, Tensor], np.ndarray]
    ) -> Iterator[Tensor]:
        """The filtered frames, each as soon as the one after it is there.

        Args:
            frames: Packed [C, h, w].
            gains_of: Gives the gains [planes, rows and columns of regions, 1], in 32nds, for a
                frame's number, the frame, and its correction.
        """
        last: list[Tensor] = []  # the filtered frame before, and the frame
        for number, after in enumerate(chain(frames, [None]), -1):
            if last:
                frame = last[-1]
                beside = {number - 1: last[0]} if number else {}
                if after is not None:
                    beside[number + 1] = after
                correction = self.correction(number, frame, beside)
                frame = self._corrected(frame, correction, gains_of(number, frame, correction))
                yield frame
                last = [frame]
            if after is not None:
                last.append(after)

    def _corrected(self, frame: Tensor, correction: Tensor, gains: np.ndarray) -> Tensor:
        """A frame with its correction, for gains [planes, rows and columns of regions, 1]."""
        result = frame.clone()
        for plane, weight in zip(self.planes, in_regions(gains, frame), strict=True):
            result[plane.channels] += weight[0] * correction[plane.channels]
        return result


def _samples(frame: Tensor, planes: Sequence[Plane]) -> Tensor:
    return torch.cat([plane.unpack(frame[None]) for plane in planes])
