"""Encoding one segment: frames in, coded parameters and packets out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from innvc.bitstream import gains, motion, parameters, step_offsets
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.latent import code_packet
from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
from innvc.config import FitConfig
from innvc.decoded import Picture
from innvc.decoder import SegmentDecoder, layout_of, lifting_of, reproducible_arithmetic
from innvc.fit import filter_gains, low_pass
from innvc.fit.block_rounding import BlockRounding
from innvc.fit.data import SegmentData
from innvc.fit.grouping import Group, Lifter, Still, choose_groups, key_packets
from innvc.fit.importance import importance, offsets_for
from innvc.fit.loop import Progress, fit
from innvc.fit.low_pass import Lifted, LowPass
from innvc.fit.motion_search import GroupSearch, LevelMatcher
from innvc.fit.parameters import ParameterQuantiser
from innvc.fit.rounding import Rounding
from innvc.model import lifting
from innvc.model.model import STEP_UNIT, InnvcModel, finest_step_base
from innvc.model.motion import CELL, planes_of
from innvc.video.formats import Frame, pixel_format
from innvc.video.packing import pack, pad

# What an error of a low-pass frame matters, for it is read to predict and to code others.
CONTEXT_WORTH = 1.5


@dataclass(frozen=True)
class EncodeSettings:
    """What the user chose, beside the model.

    Attributes:
        gop: Frames of every group; None lets the encoder choose, up to the model's longest.
        seconds: Time for the fit of the segment, or None.
    """

    fit: FitConfig
    lambda_: float
    gop: int | None = None
    seconds: float | None = None
    seed: int = 0


class SegmentEncoder:
    """Fits the model to a segment's frames and codes them.

    Args:
        header: Of the file.
        frames: Of the segment.
        first_frame: Index of the first in the file.
        settings: How to fit.
        device: Where to fit.
    """

    def __init__(
        self,
        header: HeaderRecord,
        frames: Sequence[Frame],
        first_frame: int,
        settings: EncodeSettings,
        device: torch.device,
    ) -> None:
        reproducible_arithmetic()
        self.header = header
        self.settings = settings
        self.device = device
        # What is fitted and decided here sees independent quantisation, which does the same harm.
        config = replace(header.model, dependent=False)
        self.model = InnvcModel(config, layout_of(header.pix_fmt), header.step_base)
        self.model.to(device)
        self.packed = self._pack(frames)
        self.fixed = self._transform_is_fixed()
        self.groups = self._choose_groups()
        sizes = [len(group.subbands) for group in self.groups]
        self.segment = SegmentRecord(
            first_frame=first_frame,
            frames=len(frames),
            sizes=sizes,
            keys=key_packets(sizes, header.keyint),
            pts=[f.pts for f in frames if f.pts is not None],
        )
        lifted = self._lifted()
        self.low_pass = self._choose_low_pass(lifted)
        self.importance: list[Tensor] | None = None
        if header.model.step_offsets:
            self.importance = importance(
                lifted,
                self.low_pass,
                lambda found: lifting_of(found, self.model.packed_planes),
                self.model.stride,
                settings.seed,
            )
        packets = [
            torch.cat([low.coded, group.subbands[1:].to(self.device)])
            for low, group in zip(self.low_pass, self.groups, strict=True)
        ]
        intra = [low.intra for low in self.low_pass]
        # A transform that is not fitted is applied once.
        if self.fixed:
            packets = [self._latent(s, i) for s, i in zip(packets, intra, strict=True)]
        self._kept: tuple[ParameterRecord, list[PacketRecord]] | None = None
        stride = 1 if self.fixed else self.model.stride
        predicted = [low.prediction is not None for low in self.low_pass]
        slices = header.model.field.grid_size[0] if header.model.field else 1
        self.data = SegmentData(packets, self.segment.keys, stride, intra, predicted, slices)

    @torch.no_grad()
    def _choose_groups(self) -> list[Group]:
        """Packets and their motion, by the starting transform and steps."""
        settings, header = self.settings, self.header
        zero = torch.zeros(1, dtype=torch.long, device=self.device)
        steps = self.model.steps(zero)
        frames, lifter = self.packed, self._lifter
        if not header.model.motion:  # the linear transform and lifting commute
            frames, lifter = self._latent(self.packed) / steps, Still

        def latent(subbands: Tensor) -> Tensor:
            if not header.model.motion:
                return subbands
            return self._latent(subbands.to(self.device)) / steps

        longest = settings.gop or header.model.gop
        groups = choose_groups(
            frames, longest, header.keyint, lifter, latent, split=settings.gop is None
        )
        if header.model.motion:
            return groups
        ends = np.cumsum([len(group.subbands) for group in groups])[:-1].tolist()
        return [Group(lifting.forward(part), b"") for part in self.packed.tensor_split(ends)]

    def _lifter(self, frames: Tensor) -> Lifter:
        return GroupSearch(frames.cpu(), self._matcher())

    def _matcher(self) -> LevelMatcher:
        planes = planes_of(self.model.packed_planes)
        octaves = dict(zip(self.model.planes, self.model.step_offset.tolist(), strict=True))
        steps = [2.0 ** octaves[plane] for plane in dict.fromkeys(self.model.packed_planes)]
        return LevelMatcher(planes, steps)

    def _pack(self, frames: Sequence[Frame]) -> Tensor:
        form = pixel_format(self.header.pix_fmt)
        packing, stride = self.header.model.packing, self.model.stride
        packed = [pad(pack(f.planes, form, packing), stride, stride) for f in frames]
        return torch.from_numpy(np.stack(packed)).to(self.device)

    def _lifted(self) -> list[Lifted]:
        model = self.model
        starts, sizes, keys = self.segment.starts(), self.segment.sizes, self.segment.keys
        rows, columns = (n // (CELL // 2) for n in self.packed.shape[2:])
        packets = []
        for number, (start, size) in enumerate(zip(starts, sizes, strict=True)):
            group = self.groups[number]
            found = motion.decode(group.motion, size, rows, columns) if group.motion else None
            lifter = lifting_of(found, model.packed_planes)
            gain = float(lifter.gains(group.subbands)[0].flatten()[0])
            last = self.packed[start + size - 1 : start + size]
            low = group.subbands[:1].to(self.device)
            packets.append(Lifted(low, gain, last, number in keys, size, lifter))
        return packets

    def _choose_low_pass(self, packets: list[Lifted]) -> list[LowPass]:
        model, header = self.model, self.header
        steps = model.steps(torch.zeros(1, dtype=torch.long, device=self.device))
        matcher = self._matcher() if header.model.prediction else None
        intra = model.intra is not None
        return low_pass.choose(packets, lambda x: self._latent(x) / steps, matcher, intra)

    @torch.no_grad()
    def _latent(self, frames: Tensor, intra: bool = False) -> Tensor:
        """Latent [N, C, H, W] of the starting transform, without field.

        Args:
            intra: The first is in half-size blocks.
        """
        matrices = self.model.backbone.matrices()
        half = torch.ones(1, dtype=torch.bool, device=self.device)
        return torch.cat(
            [
                self.model.backbone(f[None], matrices, half=half if intra and i == 0 else None)
                for i, f in enumerate(frames)
            ]
        )

    def _transform_is_fixed(self) -> bool:
        """Whether the fit leaves an orthonormal transform that keeps the planes apart."""
        learn = self.settings.fit.learn
        names = [name for name, _ in self.model.named_parameters()]
        moved = [n for n in names if n.startswith(learn) and n.startswith(("backbone", "field"))]
        orthonormal = not self.header.model.coupling and self.header.model.field is None
        return orthonormal and not moved

    def plane_weights(self) -> Tensor:
        """Share in the distortion of each channel the fit compares, sum 1."""
        weights = self.model.layout.weights
        planes = [int(p) for p in (self.model.planes if self.fixed else self.model.packed_planes)]
        counts = {p: planes.count(p) for p in planes}
        shares = [weights[p] / counts[p] if p < len(weights) else 0.0 for p in planes]
        return torch.tensor(shares, device=self.device)

    def fit(
        self, report: Callable[[Progress], None], stop: Callable[[], bool]
    ) -> tuple[ParameterRecord, int]:
        """Fits, and returns the coded parameters and the steps that were taken."""
        taken = 0

        def count(progress: Progress) -> None:
            nonlocal taken
            taken = progress.step
            report(progress)

        settings = self.settings
        start = self._record(ParameterQuantiser(self.model, ())) if self.fixed else None
        quantiser = fit(
            self.model,
            self.data,
            self.plane_weights(),
            settings.lambda_,
            settings.fit,
            fixed=self.fixed,
            seed=settings.seed,
            seconds=settings.seconds,
            samples=self.header.width * self.header.height * self.segment.frames,
            report=count,
            stop=stop,
        )
        fitted = self._record(quantiser)
        if start is None or fitted == start:
            return fitted, taken
        return self._cheaper(start, fitted), taken

    def _record(self, quantiser: ParameterQuantiser) -> ParameterRecord:
        return parameters.write_record(quantiser.coded(self.model), self.model)

    def _cheaper(self, *records: ParameterRecord) -> ParameterRecord:
        """The parameters with which bits and distortion cost least; keeps their packets."""
        costs = []
        for record in records:
            coded = list(self._coded(record))
            size = sum(map(len, (record.side, record.grid, record.weights)))
            size += sum(len(packet.data) for packet, _ in coded)
            costs.append((8 * size + sum(error for _, error in coded), record, coded))
        _, best, coded = min(costs, key=lambda cost: cost[0])
        self._kept = best, [packet for packet, _ in coded]
        return best

    def packets(self, record: ParameterRecord) -> Iterator[PacketRecord]:
        """Codes the packets with the decoded parameters, as the decoder will read them."""
        if self._kept is not None and self._kept[0] is record:
            yield from self._kept[1]
            return
        for packet, _ in self._coded(record):
            yield packet

    def _coded(self, record: ParameterRecord) -> Iterator[tuple[PacketRecord, float]]:
        """The packets, and what the error of each one's latent is worth in bits."""
        decoder = SegmentDecoder(self.header, self.segment, record, self.device)
        low, references = None, None
        for number, start in enumerate(self.segment.starts()):
            coded, choice = self.groups[number].motion, self.low_pass[number]
            group, intra = self.segment.sizes[number], choice.intra
            frames = self.packed[start : start + group]
            found = decoder.motion(coded, group)
            predicted = decoder.prediction(choice.prediction, references)
            latent = decoder.analyse(number, frames, found, intra, predicted).double()
            weight = self._error_weight(decoder, number)
            offsets = self._step_offsets(number)
            planes = decoder.prior.symbols.planes
            rounding = Rounding(latent, weight, planes, offsets)
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
            )
            low = packet.low
            error = float((weight * (latent - packet.values / 16).square()).sum())
            picture, leads = None, self._is_predicted(number + 1)
            if leads or decoder.filter is not None:
                picture = decoder.synthesis(number, packet.values, found, intra, predicted)
            coded_packet = PacketRecord(
                number=number,
                symbols_crc=packet.checksums,
                lengths=[[len(layer) for layer in layers] for layers in packet.coded],
                data=b"".join(layer for layers in packet.coded for layer in layers),
                motion=coded,
                intra=intra,
                gains=self._gains(decoder, picture, frames),
                prediction=choice.prediction,
                step_offsets=step_offsets.encode(offsets),
            )
            if leads and picture is not None:
                last, own = Picture(picture.frames[-1:], picture.low), decoder.gains(coded_packet)
                references = decoder.filtered(last, None if own is None else own[-1:]).references
            yield coded_packet, error

    def _step_offsets(self, number: int) -> np.ndarray:
        if self.importance is None:
            size = [n // self.model.stride for n in self.packed.shape[2:]]
            return np.zeros(size, np.int32)
        # Finer steps make larger symbols.
        header = self.header
        reserve = header.step_base - finest_step_base(header.model, layout_of(header.pix_fmt))
        return offsets_for(self.importance[number], 4 * reserve // STEP_UNIT)

    def _is_predicted(self, number: int) -> bool:
        choices = self.low_pass[number : number + 1]
        return any(choice.prediction is not None for choice in choices)

    @torch.no_grad()
    def _gains(self, decoder: SegmentDecoder, picture: Picture | None, frames: Tensor) -> bytes:
        """Coded gains of the post-filter for a decoded packet of `frames`."""
        if decoder.filter is None or picture is None:
            return b""
        size = -(-self.header.height // 2), -(-self.header.width // 2)
        model = decoder.model
        shares = dict(zip(model.planes.tolist(), model.error_shares().tolist(), strict=True))
        weights = [self.settings.lambda_ * shares[plane] for plane in sorted(shares)]
        found = filter_gains.choose(decoder.filter, picture.frames, frames, size, weights)
        return gains.encode(found)

    @torch.no_grad()
    def _error_weight(self, decoder: SegmentDecoder, number: int) -> Tensor:
        """Bits that a squared error of one step is worth, [G, C, H, W]."""
        group = self.segment.sizes[number]
        levels = torch.cat([decoder.window(number, j).level for j in range(group)])
        half = torch.zeros_like(levels, dtype=torch.bool)
        half[0] = self.low_pass[number].intra
        shares = decoder.model.error_shares()[:, None, None]
        weight = self.settings.lambda_ * shares * decoder.model.steps(levels, half).square()
        weight = weight.expand(-1, -1, *decoder.size).clone()
        if self.importance is not None:
            weight[0] *= CONTEXT_WORTH * self.importance[number].to(weight)
        return weight
