"""Coding the packets of one segment with its decoded parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream import gains, step_offsets
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.latent import Packet, code_packet
from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
from innvc.decoded import Picture
from innvc.decoder import SegmentDecoder, layout_of
from innvc.filters import NO_GAINS, Gains
from innvc.fit import filter_gains
from innvc.fit.block_rounding import BlockRounding, Remembered
from innvc.fit.grouping import Group
from innvc.fit.importance import offsets_for
from innvc.fit.low_pass import LowPass
from innvc.fit.post_filter import Windows
from innvc.fit.refinement import Refinement
from innvc.fit.rounding import Choices, Rounding
from innvc.model.contexts import Context
from innvc.model.model import STEP_UNIT, finest_step_base
from innvc.model.motion import Motion, MotionLifting
from innvc.video.formats import pixel_format

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


@dataclass(frozen=True)
class _Source:
    """What a packet is coded from.

    Attributes:
        number: Of the packet.
        frames: Packed originals [G, C, h, w].
        latent: In steps [G, C, H, W].
        weight: Bits that a squared error of one step is worth, of the same shape.
        offsets: Step offsets of the low-pass frame [H, W].
        motion: Of the packet.
        prediction: Of the low-pass frame.
        previous: Low-pass context of the packet before; None at a key packet.
    """

    number: int
    frames: Tensor
    latent: Tensor
    weight: Tensor
    offsets: np.ndarray
    motion: Motion | None
    intra: bool
    prediction: Tensor | None
    previous: Context | None


@dataclass(frozen=True)
class _Coded:
    """A packet's symbols and what is decoded from them.

    Attributes:
        packet: The symbols.
        picture: Decoded but for the filters; None where nobody asks for it.
        gains: Of the filters.
        filtered: The picture behind them.
        error: What its errors are worth in bits: those of rounded samples, or of the latent.
    """

    packet: Packet
    picture: Picture | None
    gains: Gains
    filtered: Picture | None
    error: float

    @property
    def cost(self) -> float:
        """Bits and errors."""
        return 8 * sum(len(data) for layers in self.packet.coded for data in layers) + self.error


@dataclass(frozen=True)
class _First:
    """A packet before its details are chosen once more.

    Attributes:
        coded: The packet.
        choices: Of its symbols.
        blocks: Of those of its low-pass frame, where it has blocks.
        filtered: Whether the picture is filtered as it will be.
    """

    coded: _Coded
    choices: Choices
    blocks: Remembered | None
    filtered: bool = True


class PacketEncoder:
    """Codes a segment's packets.

    Args:
        header: Of the file.
        segment: Of the packets.
        plan: For them.
        lambda_: Weight of the distortion.
        device: Where to compute.
        paths: Tried for each block of details (see `Refinement`); 0 is none.

    Attributes:
        refines: Whether details are chosen once more.
    """

    def __init__(
        self,
        header: HeaderRecord,
        segment: SegmentRecord,
        plan: Plan,
        lambda_: float,
        device: torch.device,
        paths: int = 0,
    ) -> None:
        self.header = header
        self.segment = segment
        self.plan = plan
        self.lambda_ = lambda_
        self.device = device
        # Of more than 8 bits rounding takes little; samples of RGB are of several planes' latents.
        form = pixel_format(header.pix_fmt)
        self._paths = paths if form.depth == 8 and form.family != "rgb" else 0
        self.refines = self._paths > 0
        self._firsts: dict[tuple[int, ParameterRecord], _First] = {}  # of packets that stand alone

    def code(
        self,
        record: ParameterRecord,
        report: Callable[[int], None] = lambda done: None,
        final: bool = True,
        windows: Windows | None = None,
    ) -> Iterator[tuple[PacketRecord, float]]:
        """The packets, and what the error of each one is worth in bits.

        Args:
            record: The coded parameters, which are read as a decoder reads them.
            report: Is told how many frames are done.
            final: Details are chosen once more, where they are at all. A call that is not final
                keeps what one with the same parameters begins with.
            windows: Takes regions of the decoded frames.
        """
        decoder = SegmentDecoder(self.header, self.segment, record, self.device)
        low, references = None, None
        for number, start in enumerate(self.segment.starts()):
            motion, choice = self.plan.groups[number].motion, self.plan.low_pass[number]
            group, intra = self.segment.sizes[number], choice.intra
            frames = self.plan.packed[start : start + group]
            found = decoder.motion(motion, group)
            prediction = decoder.prediction(choice.prediction, references)
            source = _Source(
                number=number,
                frames=frames,
                latent=decoder.analyse(number, frames, found, intra, prediction).double(),
                weight=self._error_weight(decoder, number),
                offsets=self._step_offsets(number, decoder.size),
                motion=found,
                intra=intra,
                prediction=prediction,
                previous=None if number in self.segment.keys else low,
            )
            keep = not final and source.previous is None and (self.refines or windows is not None)
            coded = self._coded(decoder, source, start, report, record, final, keep)
            packet, low = coded.packet, coded.packet.low
            if windows is not None and coded.picture is not None:
                windows.add(start, coded.picture.frames, frames, coded.gains.alone)
            references = coded.filtered.references if coded.filtered is not None else None
            yield (
                PacketRecord(
                    number=number,
                    symbols_crc=packet.checksums,
                    lengths=[[len(layer) for layer in layers] for layers in packet.coded],
                    data=b"".join(itertools.chain.from_iterable(packet.coded)),
                    motion=motion,
                    intra=intra,
                    gains=_encoded(coded.gains.alone),
                    prediction=choice.prediction,
                    step_offsets=step_offsets.encode(source.offsets),
                    temporal_gains=_encoded(coded.gains.in_time),
                    frames=group,
                ),
                coded.error,
            )

    def keep(self, record: ParameterRecord, other: ParameterRecord | None = None) -> None:
        """Forgets what was kept for other parameters than these.

        Args:
            other: That take their place, and differ in the post-filter alone.
        """
        kept = {n: first for (n, r), first in self._firsts.items() if r == record}
        if other is not None:
            kept = {n: replace(first, filtered=False) for n, first in kept.items()}
        self._firsts = {(n, other or record): first for n, first in kept.items()}

    def _coded(
        self,
        decoder: SegmentDecoder,
        source: _Source,
        start: int,
        report: Callable[[int], None],
        record: ParameterRecord,
        final: bool,
        keep: bool,
    ) -> _Coded:
        """The packet that costs least of those that are tried.

        Args:
            keep: For a later call with the same parameters.
        """
        number, group = source.number, len(source.frames)
        lifter, symbols = decoder.lifting(source.motion), decoder.prior.symbols
        refined = self.refines and group > 1 and symbols.planes is not None
        refined = refined and isinstance(lifter, MotionLifting)
        counted = itertools.count(1)

        def coded(choose: Rounding, blocks: Remembered | None) -> _Coded:
            packet = code_packet(
                decoder.prior,
                group,
                decoder.size,
                source.previous,
                intra=decoder.intra if source.intra else None,
                predicted=source.prediction is not None,
                grid=decoder.grid_context(number),
                offsets=source.offsets,
                choose=choose,
                choose_block=blocks,
                found=lambda values: report(start + next(counted) // (1 + (refined and final))),
            )
            return self._decoded(decoder, source, packet, refined)

        parts = source.latent, source.weight, symbols, source.offsets
        first = self._firsts.pop((number, record), None)
        if first is None:
            choose, blocks = Rounding(*parts, keep=refined), None
            if source.intra and decoder.intra is not None:
                chooser = BlockRounding(
                    decoder.intra, source.latent[0], source.weight[0], source.offsets
                )
                blocks = Remembered(chooser)
            first = _First(coded(choose, blocks), choose.choices, blocks)
        if not first.filtered:
            again = self._decoded(decoder, source, first.coded.packet, refined)
            first = _First(again, first.choices, first.blocks)
        if keep:
            self._firsts[number, record] = first
        if not (final and refined):
            return first.coded
        if first.blocks is not None:
            first.blocks.again()
        assert isinstance(lifter, MotionLifting)
        refinement = self._refinement(decoder, source, first.coded, lifter)
        better = Rounding(*parts, refinement=refinement, before=first.choices)
        tried = first.coded, coded(better, first.blocks)
        return min(tried, key=lambda found: found.cost)

    def _decoded(
        self, decoder: SegmentDecoder, source: _Source, packet: Packet, measured: bool
    ) -> _Coded:
        number, values = source.number, packet.values
        if not measured:
            errors = (source.latent - values.to(source.latent) / 16).square()
            total = float((source.weight * errors).sum())
            if not (self._is_predicted(number + 1) or decoder.filters.any):
                return _Coded(packet, None, NO_GAINS, None, total)
        picture = decoder.synthesis(number, values, source.motion, source.intra, source.prediction)
        chosen, filtered = self._filtered(decoder, picture, source.motion, source.frames)
        if not measured:
            return _Coded(packet, picture, chosen, filtered, total)
        rows, columns = -(-self.header.height // 2), -(-self.header.width // 2)
        errors = (filtered.frames.round() - source.frames).square()[..., :rows, :columns]
        worth = self._worth(decoder)
        planes = zip(decoder.filters.planes, worth, strict=True)
        total = sum(w * float(errors[:, plane.channels].sum()) for plane, w in planes)
        return _Coded(packet, picture, chosen, filtered, total)

    def _refinement(
        self, decoder: SegmentDecoder, source: _Source, coded: _Coded, lifter: MotionLifting
    ) -> Refinement:
        picture, filtered = coded.picture, coded.filtered
        assert picture is not None and filtered is not None

        def change(moved: Tensor) -> Tensor:
            frames = picture.frames + moved
            found = decoder.filters.apply(frames, coded.gains, source.motion, len(frames))
            return torch.stack(list(found)) - filtered.frames

        return Refinement(
            decoder,
            source.number,
            lifter,
            coded.packet.values / 16,
            filtered.frames - source.frames,
            change,
            self._worth(decoder),
            self._paths,
        )

    def _worth(self, decoder: SegmentDecoder) -> list[float]:
        """Bits that a squared error of a sample is worth, of each plane."""
        model = decoder.model
        shares = dict(zip(model.planes.tolist(), model.error_shares().tolist(), strict=True))
        return [self.lambda_ * shares[plane] for plane in sorted(shares)]

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
        filters, weights = decoder.filters, self._worth(decoder)
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
