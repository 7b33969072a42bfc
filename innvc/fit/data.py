"""A segment's frames as subband frames, and random crops of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from innvc.model import subbands
from innvc.model.field import Window


@dataclass(frozen=True)
class Batch:
    """Subband frames of consecutive packets, cropped.

    Attributes:
        subbands: [N, C, H, W] packed samples.
        level: Lifting level of each, [N].
        parent, sibling, low: Index of each frame's contexts in the batch, -1 for none, [N].
        counted: False for a frame that is only a context, [N].
        half: True for a low-pass frame in half-size blocks, [N].
        statistics: Lifting level whose statistics the prior takes for each, [N].
        window: Where they lie.
    """

    subbands: Tensor
    level: Tensor
    parent: Tensor
    sibling: Tensor
    low: Tensor
    counted: Tensor
    half: Tensor
    statistics: Tensor
    window: Window

    @property
    def positions(self) -> int:
        """Of the latent, in each frame."""
        return self.window.rows * self.window.columns


class SegmentData:
    """Subband frames of a segment, computed once: lifting has no learned part.

    Args:
        packets: Subband frames [G, C, H, W] of each packet, or their latents.
        keys: Packets that do not read the packet before.
        stride: Samples of a subband frame that a latent position covers.
        intra: Of each packet, whether its low-pass frame is in half-size blocks; None is no packet.
        predicted: Of each packet, whether its low-pass frame is a difference; None is no packet.
        slices: Of the field's finest grid level, in time.
    """

    def __init__(
        self,
        packets: Sequence[Tensor],
        keys: Sequence[int],
        stride: int,
        intra: Sequence[bool] | None = None,
        predicted: Sequence[bool] | None = None,
        slices: int = 1,
    ) -> None:
        self.packets = list(packets)
        self.sizes = [len(packet) for packet in packets]
        self.keys = set(keys)
        self.stride = stride
        self.intra = list(intra) if intra is not None else [False] * len(packets)
        self.predicted = list(predicted) if predicted is not None else [False] * len(packets)
        self.slices = slices
        self.frames = sum(self.sizes)
        self.starts = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        self.height, self.width = (n // stride for n in packets[0].shape[-2:])

    def times(self, packet: int) -> list[float]:
        """Centre of each subband frame of a packet in the segment, 0..1."""
        size, start = self.sizes[packet], self.starts[packet]
        return [subbands.time_of(j, size, start, self.frames) for j in range(size)]

    def window(self, packets: Sequence[int], part: tuple[int, int, int, int]) -> Window:
        """The window of whole packets; `part` is top, left, rows, columns in latent positions."""
        device = self.packets[0].device
        time = [t for p in packets for t in self.times(p)]
        level, place = [], []
        for p in packets:
            size = self.sizes[p]
            level += [subbands.parameter_level(j, size) for j in range(size)]
            where = size, self.starts[p], self.frames, self.slices
            place += [subbands.slice_of(j, *where) for j in range(size)]
        return Window(
            torch.tensor(time, device=device),
            torch.tensor(level, device=device),
            self.height,
            self.width,
            *part,
            torch.tensor(place, device=device),
        )

    def batch(self, batch_frames: int, crop: int, generator: torch.Generator) -> Batch:
        """A random run of packets of about `batch_frames` subband frames, at a random crop.

        Args:
            crop: Side in latent positions.
        """
        first = self._draw(len(self.packets), generator)
        chosen = [first]
        total = self.sizes[first]
        while chosen[-1] + 1 < len(self.packets) and total < batch_frames:
            total += self.sizes[chosen[-1] + 1]
            chosen.append(chosen[-1] + 1)
        while chosen[0] > 0 and total < batch_frames:
            total += self.sizes[chosen[0] - 1]
            chosen.insert(0, chosen[0] - 1)
        # Few frames: the crop grows instead, so that a step sees as many samples.
        side = int(crop * max(1.0, batch_frames / total) ** 0.5)
        rows, columns = min(side, self.height), min(side, self.width)
        columns = min(self.width, max(columns, side * side // rows))
        rows = min(self.height, max(rows, side * side // columns))
        top = self._draw(self.height - rows + 1, generator)
        left = self._draw(self.width - columns + 1, generator)
        return self.assemble(chosen, (top, left, rows, columns))

    def assemble(self, chosen: Sequence[int], part: tuple[int, int, int, int]) -> Batch:
        """The batch of given packets and crop."""
        top, left, rows, columns = (n * self.stride for n in part)
        frames, parent, sibling, low, counted, half, statistics = [], [], [], [], [], [], []
        before = -1  # batch index of the low-pass before
        window = self.window(chosen, part)
        if chosen[0] not in self.keys and chosen[0] > 0:
            earlier = self.window([chosen[0] - 1], part)
            assert earlier.slices is not None and window.slices is not None
            window = Window(
                torch.cat([earlier.time[:1], window.time]),
                torch.cat([earlier.level[:1], window.level]),
                *(self.height, self.width, *part),
                torch.cat([earlier.slices[:1], window.slices]),
            )
            frames.append(self.packets[chosen[0] - 1][:1])
            parent, sibling, low, counted, before = [-1], [-1], [-1], [False], 0
            half.append(self.intra[chosen[0] - 1])
            statistics.append(subbands.statistics_level(0, 1, self.predicted[chosen[0] - 1]))
        for p in chosen:
            offset = len(parent)
            size = self.sizes[p]
            for j in range(size):
                up, side = subbands.parent_of(j, size), subbands.sibling_of(j, size)
                parent.append(-1 if up is None else offset + up)
                low.append(offset if j else -1)
                if j == 0:
                    sibling.append(-1 if p in self.keys or self.predicted[p] else before)
                else:
                    sibling.append(-1 if side is None else offset + side)
                counted.append(True)
                half.append(self.intra[p] and j == 0)
                statistics.append(subbands.statistics_level(j, size, self.predicted[p]))
            before = offset
            frames.append(self.packets[p])
        cropped = [f[:, :, top : top + rows, left : left + columns] for f in frames]
        device = self.packets[0].device
        return Batch(
            torch.cat(cropped),
            window.level,
            torch.tensor(parent, device=device),
            torch.tensor(sibling, device=device),
            torch.tensor(low, device=device),
            torch.tensor(counted, device=device),
            torch.tensor(half, device=device),
            torch.tensor(statistics, device=device),
            window,
        )

    @staticmethod
    def _draw(count: int, generator: torch.Generator) -> int:
        return int(torch.randint(count, (), generator=generator, device=generator.device))
