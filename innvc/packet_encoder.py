"""Coding the packets of one segment with its decoded parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream import gains, step_offsets
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.latent import code_packet
from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
from innvc.decoded import Picture
from innvc.decoder import SegmentDecoder, layout_of
from innvc.filters import NO_GAINS, Gains
from innvc.fit import filter_gains
from innvc.fit.block_rounding import BlockRounding
from innvc.fit.grouping import Group
from innvc.fit.importance import offsets_for
from innvc.fit.low_pass import LowPass
from innvc.fit.rounding import Rounding
from innvc.model.model import STEP_UNIT, finest_step_base
from innvc.model.motion import Motion

# What an error of a low-pass frame matters, for it is read to predict and to code others.
CONTEXT_WORTH = 1.5


@dataclass(frozen=True)
class Plan:
    """What is decided of a segment's packets before any fit.

    Attributes:
        packed: All frames [T, C, H, W].
        groups: Subband frames and motion of each packet.
        low_pass: How each low-pass frame is coded.
        importance: Of the low-pass frames' positions; None is no step offsets.
    """

    packed: Tensor
    groups: Sequence[Group]
    low_pass: Sequence[LowPass]
    importance: Sequence[Tensor] | None


class PacketEncoder:
    """Codes a segment's packets.

    Args:
        header: Of the file.
        segment: Of the packets.
        plan: For them.
        lambda_: Weight of the distortion.
        device: Where to compute.
    """

    def __init__(
        self,
        header: HeaderRecord,
        segment: SegmentRecord,
        plan: Plan,
        lambda_: float,
        device: torch.device,
    ) -> None:
        self.header = header
        self.segment = segment
        self.plan = plan
        self.lambda_ = lambda_
        self.device = device

    def code(
        self, record: ParameterRecord, report: Callable[[int], None] = lambda done: None
    ) -> Iterator[tuple[PacketRecord, float]]:
        """The packets, and what the error of each one's latent is worth in bits.

        Args:
            record: The coded parameters, which are read as a decoder reads them.
            report: Is told how many frames are done.
        """
        frames_done = itertools.count(1)
        decoder = SegmentDecoder(self.header, self.segment, record, self.device)
        low, references = None, None
        for number, start in enumerate(self.segment.starts()):
            coded, choice = self.plan.groups[number].motion, self.plan.low_pass[number]
            group, intra = self.segment.sizes[number], choice.intra
            frames = self.plan.packed[start : start + group]
            found = decoder.motion(coded, group)
            predicted = decoder.prediction(choice.prediction, references)
            latent = decoder.analyse(number, frames, found, intra, predicted).double()
            weight = self._error_weight(decoder, number)
            offsets = self._step_offsets(number, decoder.size)
            rounding = Rounding(latent, weight, decoder.prior.symbols, offsets)
            of_blocks = None
            if intra and decoder.intra is not None:
                of_blocks = BlockRounding(decoder.intra, latent[0], weight[0], offsets)
            packet = code_packet(
                decoder.prior,
                group,
                decoder.size,
                None if number in self.segment.keys else low,
                intra=decoder.intra if intra else None,
                predicted=predicted is not None,
                grid=decoder.grid_context(number),
                offsets=offsets,
                choose=rounding,
                choose_block=of_blocks,
                found=lambda values: report(next(frames_done)),
            )
            low = packet.low
            error = float((weight * (latent - packet.values.to(latent) / 16).square()).sum())
            chosen, references, leads = NO_GAINS, None, self._is_predicted(number + 1)
            if leads or decoder.filters.any:
                picture = decoder.synthesis(number, packet.values, found, intra, predicted)
                chosen, picture = self._filtered(decoder, picture, found, frames)
                references = picture.references if leads else None
            yield (
                PacketRecord(
                    number=number,
                    symbols_crc=packet.checksums,
                    lengths=[[len(layer) for layer in layers] for layers in packet.coded],
                    data=b"".join(layer for layers in packet.coded for layer in layers),
                    motion=coded,
                    intra=intra,
                    gains=_encoded(chosen.alone),
                    prediction=choice.prediction,
                    step_offsets=step_offsets.encode(offsets),
                    temporal_gains=_encoded(chosen.in_time),
                ),
                error,
            )

    def _step_offsets(self, number: int, size: tuple[int, int]) -> np.ndarray:
        if self.plan.importance is None:
            return np.zeros(size, np.int32)
        # Finer steps make larger symbols.
        header = self.header
        reserve = header.step_base - finest_step_base(header.model, layout_of(header.pix_fmt))
        return offsets_for(self.plan.importance[number], 4 * reserve // STEP_UNIT)

    def _is_predicted(self, number: int) -> bool:
        choices = self.plan.low_pass[number : number + 1]
        return any(choice.prediction is not None for choice in choices)

    @torch.no_grad()
    def _filtered(
        self, decoder: SegmentDecoder, picture: Picture, found: Motion | None, originals: Tensor
    ) -> tuple[Gains, Picture]:
        """Gains of the filters for a decoded packet, and what they make of it."""
        size = -(-self.header.height // 2), -(-self.header.width // 2)
        model, filters = decoder.model, decoder.filters
        shares = dict(zip(model.planes.tolist(), model.error_shares().tolist(), strict=True))
        weights = [self.lambda_ * shares[plane] for plane in sorted(shares)]
        frames, alone, in_time = picture.frames, None, None
        if filters.alone is not None:
            alone = filter_gains.choose(filters.alone, frames, originals, size, weights)
            frames = torch.stack(list(filters.apply(frames, Gains(alone), found, len(frames))))
        if filters.temporal and len(frames) > 1:
            temporal = filters.in_time(found, len(frames))
            chosen = filter_gains.choose_in_time(temporal, frames, originals, size, weights)
            in_time, frames = chosen
        return Gains(alone, in_time), Picture(frames, picture.low)

    @torch.no_grad()
    def _error_weight(self, decoder: SegmentDecoder, number: int) -> Tensor:
        """Bits that a squared error of one step is worth, [G, C, H, W]."""
        group = self.segment.sizes[number]
        levels = torch.cat([decoder.window(number, j).level for j in range(group)])
        half = torch.zeros_like(levels, dtype=torch.bool)
        half[0] = self.plan.low_pass[number].intra
        shares = decoder.model.error_shares()[:, None, None]
        weight = self.lambda_ * shares * decoder.model.steps(levels, half).square()
        weight = weight.expand(-1, -1, *decoder.size).clone()
        if self.plan.importance is not None:
            weight[0] *= CONTEXT_WORTH * self.plan.importance[number].to(weight)
        return weight


def _encoded(chosen: np.ndarray | None) -> bytes:
    return b"" if chosen is None else gains.encode(chosen)
