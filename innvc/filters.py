"""The filters of a segment's decoded frames: of each by itself, and then along time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream import gains
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.segment import PacketRecord
from innvc.device import ahead
from innvc.model import motion, starting_points
from innvc.model.model import STEP_UNIT, InnvcModel
from innvc.model.motion import Motion
from innvc.model.planes import planes_of
from innvc.model.post_filter import REGION, FrameFilter, PostFilter
from innvc.model.temporal_filter import TemporalFilter
from innvc.video.formats import pixel_format


@dataclass(frozen=True)
class Gains:
    """Gains of a packet's corrections [G, planes, rows and columns of regions, K], in 32nds.

    Attributes:
        alone: Of the post-filter; None leaves it out.
        in_time: Of the temporal filter, the same.
    """

    alone: np.ndarray | None = None
    in_time: np.ndarray | None = None


NO_GAINS = Gains()


class Filters:
    """What a model has of both.

    Args:
        header: Of the file.
        model: Of the segment.
        cells: Rows and columns of motion.
        device, dtype: Of the frames.

    Attributes:
        alone: The post-filter; None where the model has none.
        temporal: Whether the model has the temporal filter.
    """

    def __init__(
        self,
        header: HeaderRecord,
        model: InnvcModel,
        cells: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.temporal = header.model.temporal_filter
        self.alone: FrameFilter | None = None
        self.planes = planes_of(model.packed_planes) if header.model.packing == 2 else []
        self._cells = cells
        self._regions = -(-header.height // (2 * REGION)), -(-header.width // (2 * REGION))
        self._step = 2.0 ** (header.step_base / STEP_UNIT)
        if header.model.post_filter:
            network = model.filter
            if network is None:
                network = PostFilter(starting_points.post_filter(header.model.start))
            network = network.requires_grad_(False).to(device, dtype)
            family = pixel_format(header.pix_fmt).family
            self.alone = FrameFilter(network, family, self.planes, self._step)

    @property
    def any(self) -> bool:
        """Whether there is one at all."""
        return self.temporal or self.alone is not None

    def gains(self, packet: PacketRecord) -> Gains:
        """The gains of a packet.

        Raises:
            CorruptError: they are not a valid code.
        """
        shape = packet.subbands, len(self.planes), *self._regions
        alone = in_time = None
        if packet.gains and self.alone is not None:
            alone = gains.decode(packet.gains, (*shape, self.alone.network.corrections))
        if packet.temporal_gains:
            in_time = gains.decode(packet.temporal_gains, (*shape, 1))
        return Gains(alone, in_time)

    def in_time(self, found: Motion | None, frames: int) -> TemporalFilter:
        """The temporal filter of a packet, by its motion."""
        level = (found or motion.zero(frames, *self._cells))[0]
        return TemporalFilter(level, frames, self.planes, self._step)

    def apply(
        self, frames: Iterable[Tensor], chosen: Gains, found: Motion | None, count: int
    ) -> Iterator[Tensor]:
        """Filtered frames of the `count` ones [C, h, w] of a packet."""
        filtering, alone, in_time = self.alone, chosen.alone, chosen.in_time
        if filtering is not None and alone is not None:
            apply = filtering.apply
            frames = ahead(lambda pair: apply(*pair), zip(frames, alone, strict=True))
        if in_time is not None:
            frames = self.in_time(found, count).apply(frames, lambda n, *_: in_time[n])
        return iter(frames)
