"""Encoding one segment: frames in, coded parameters and packets out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from innvc.bitstream import motion, parameters
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
from innvc.config import FitConfig
from innvc.decoder import layout_of, lifting_of, reproducible_arithmetic
from innvc.fit.data import SegmentData
from innvc.fit.grouping import Group, Lifter, Still, choose_groups, key_packets
from innvc.fit.importance import importance
from innvc.fit.loop import Checkpoint, Data, Progress, fit
from innvc.fit.low_pass import Lifted, LowPass
from innvc.fit.low_pass import choose as choose_low_pass
from innvc.fit.motion_search import GroupSearch, LevelMatcher
from innvc.fit.objective import FitObjective, Objective
from innvc.fit.parameters import ParameterQuantiser
from innvc.fit.post_filter import Windows, fit_filter
from innvc.fit.tables import TableData, TableObjective, fits_tables_alone
from innvc.model import lifting
from innvc.model.model import InnvcModel
from innvc.model.motion import CELL
from innvc.model.planes import planes_of
from innvc.packet_encoder import PacketEncoder, Plan
from innvc.video.formats import Frame, pixel_format
from innvc.video.packing import pack, pad


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


@dataclass(frozen=True)
class Decisions:
    """What an encode of a segment decided, for another one with a lambda near to it.

    Attributes:
        parameters: Coded.
        motion: Coded, with the frames, of each packet; None has them chosen anew.
    """

    parameters: ParameterRecord
    motion: Sequence[tuple[int, bytes]] | None


class SegmentEncoder:
    """Fits the model to a segment's frames and codes them.

    Args:
        header: Of the file.
        frames: Of the segment.
        first_frame: Index of the first in the file.
        settings: How to fit.
        device: Where to fit.
        known: Decides what would be chosen here; `fit` is for where there is nothing known.
        report: Is told of "motion", "filter" and "code", and how much of how much is done.
    """

    def __init__(
        self,
        header: HeaderRecord,
        frames: Sequence[Frame],
        first_frame: int,
        settings: EncodeSettings,
        device: torch.device,
        known: Decisions | None = None,
        report: Callable[[str, int, int], None] = lambda phase, done, total: None,
    ) -> None:
        reproducible_arithmetic()
        self._report = report
        self.header = header
        self.settings = settings
        self.device = device
        # What is fitted and decided here sees independent quantisation, which does the same harm.
        config = replace(header.model, dependent=False)
        self.model = InnvcModel(config, layout_of(header.pix_fmt), header.step_base)
        self.model.to(device)
        with torch.no_grad():
            self._matrices = self.model.backbone.matrices()  # before the fit
        self.packed = self._pack(frames)
        self.fixed = self._transform_is_fixed()
        if known is None or known.motion is None:
            self.groups = self._choose_groups()
        else:
            self.groups = self._known_groups(known.motion)
        sizes = [len(group.subbands) for group in self.groups]
        self.segment = SegmentRecord(
            first_frame=first_frame,
            frames=len(frames),
            sizes=sizes,
            keys=key_packets(sizes, header.keyint),
            pts=[f.pts for f in frames if f.pts is not None],
        )
        lifted = self._lifted()
        low_pass = self._choose_low_pass(lifted)
        matters = None
        if header.model.step_offsets:
            matters = importance(
                lifted,
                low_pass,
                lambda found: lifting_of(found, self.model.packed_planes),
                self.model.stride,
                settings.seed,
            )
        plan = Plan(self.packed, self.groups, low_pass, matters)
        self._coder = PacketEncoder(
            header,
            self.segment,
            plan,
            settings.lambda_,
            device,
            settings.fit.paths if self.fixed else 0,
        )
        packets = [
            torch.cat([low.coded, group.subbands[1:].to(self.device)])
            for low, group in zip(low_pass, self.groups, strict=True)
        ]
        intra = [low.intra for low in low_pass]
        # A transform that is not fitted is applied once.
        if self.fixed:
            packets = [self._latent(s, i) for s, i in zip(packets, intra, strict=True)]
        self._kept: tuple[ParameterRecord, list[PacketRecord]] | None = None
        self._tensors: dict[ParameterRecord, parameters.Coded] = {}
        stride = 1 if self.fixed else self.model.stride
        predicted = [low.prediction is not None for low in low_pass]
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
            frames,
            longest,
            header.keyint,
            lifter,
            latent,
            split=settings.gop is None,
            report=lambda done: self._report("motion", done, len(frames)),
        )
        if header.model.motion:
            return groups
        ends = np.cumsum([len(group.subbands) for group in groups])[:-1].tolist()
        return [Group(lifting.forward(part), b"") for part in self.packed.tensor_split(ends)]

    @torch.no_grad()
    def _known_groups(self, known: Sequence[tuple[int, bytes]]) -> list[Group]:
        parts = self.packed.cpu().split([size for size, _ in known])
        return [
            Group(lifting.forward(part, self._lifting(coded, len(part))), coded)
            for part, (_, coded) in zip(parts, known, strict=True)
        ]

    def _lifting(self, coded: bytes, frames: int) -> lifting.Lifting:
        """The lifting of a packet by its coded motion."""
        rows, columns = (n // (CELL // 2) for n in self.packed.shape[2:])
        found = motion.decode(coded, frames, rows, columns) if coded else None
        return lifting_of(found, self.model.packed_planes)

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
        starts, sizes, keys = self.segment.starts(), self.segment.sizes, self.segment.keys
        packets = []
        for number, (start, size) in enumerate(zip(starts, sizes, strict=True)):
            group = self.groups[number]
            lifter = self._lifting(group.motion, size)
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
        return choose_low_pass(packets, lambda x: self._latent(x) / steps, matcher, intra)

    @torch.no_grad()
    def _latent(self, frames: Tensor, intra: bool = False) -> Tensor:
        """Latent [N, C, H, W] of the starting transform, without field.

        Args:
            intra: The first is in half-size blocks.
        """
        half = torch.ones(1, dtype=torch.bool, device=self.device)
        return torch.cat(
            [
                self.model.backbone(
                    f[None], self._matrices, half=half if intra and i == 0 else None
                )
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
        model = self.model
        planes = [int(p) for p in (model.planes if self.fixed else model.packed_planes)]
        return torch.tensor(model.layout.shares(planes), device=self.device)

    def fit(
        self,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
        checkpoint: Checkpoint | None = None,
    ) -> ParameterRecord:
        """Fits, and returns the coded parameters."""
        settings, began = self.settings, time.monotonic()
        start: ParameterRecord | None = None
        if self.fixed:
            start = self._record(ParameterQuantiser(self.model, ()))
        quantiser = fit(
            self.model,
            *self._problem(),
            settings.lambda_,
            settings.fit,
            seed=settings.seed,
            seconds=settings.seconds,
            samples=self.header.width * self.header.height * self.segment.frames,
            report=report,
            stop=stop,
            checkpoint=checkpoint,
        )
        fitted = self._record(quantiser)
        left = None if settings.seconds is None else settings.seconds + began - time.monotonic()
        filters = self._windows() is not None and not stop() and (left is None or left > 0)
        records = [fitted] if start in (None, fitted) else [start, fitted]
        if len(records) == 1 and not filters:
            return fitted
        if len(records) == 1 and self._is_small(fitted):
            return fitted
        best, size, windows = self._cheapest(records, filters)
        if windows is None or not windows.found or size < settings.fit.filter_least_bytes:
            return best
        return self._with_filter(best, windows, stop, left)

    def _is_small(self, record: ParameterRecord) -> bool:
        """Whether the segment is too small for a fit of the post-filter, by its first packet."""
        packet, _ = next(self._code(record, final=False, windows=self._windows()))
        bytes_ = len(packet.data) * self.segment.frames / self.segment.sizes[0]
        return bytes_ < self.settings.fit.filter_least_bytes

    def _problem(self) -> tuple[Data[Any], FitObjective[Any]]:
        """What batches are drawn from, and what is minimised."""
        weights, settings = self.plane_weights(), self.settings
        objective = Objective(self.model, weights, settings.lambda_, self.fixed)
        names = (name for name, _ in self.model.named_parameters())
        if not (self.fixed and fits_tables_alone(settings.fit, names)):
            return self.data, objective
        tables = TableObjective(self.model, weights, settings.lambda_)
        return TableData(self.data, objective, settings.seed), tables

    def _record(self, quantiser: ParameterQuantiser) -> ParameterRecord:
        coded = quantiser.coded(self.model)
        record = parameters.write_record(coded, self.model)
        self._tensors[record] = coded
        return record

    def _windows(self) -> Windows | None:
        """Where decoded frames are kept for a fit of the post-filter; None where there is none."""
        if not (self.settings.fit.filter_steps and self.header.model.own_filter):
            return None
        size = -(-self.header.height // 2), -(-self.header.width // 2)
        return Windows(self.segment.frames, size, self.settings.seed)

    def _cheapest(
        self, records: Sequence[ParameterRecord], filters: bool
    ) -> tuple[ParameterRecord, int, Windows | None]:
        """The parameters with which bits and distortion cost least; what can be is kept.

        Args:
            filters: Whether decoded frames are wanted.

        Returns:
            These, the bytes of their packets, and the frames.
        """
        tried = []
        for record in records:
            windows = self._windows() if filters else None
            coded = list(self._code(record, final=False, windows=windows))
            size = sum(len(packet.data) for packet, _ in coded)
            cost = 8 * (size + _length(record)) + sum(error for _, error in coded)
            tried.append((cost, record, size, windows, coded))
        _, best, size, found, coded = min(tried, key=lambda of: of[0])
        if self._coder.refines:
            self._coder.keep(best)
        else:
            self._kept = best, [packet for packet, _ in coded]
        return best, size, found

    def _with_filter(
        self,
        record: ParameterRecord,
        windows: Windows,
        stop: Callable[[], bool],
        seconds: float | None,
    ) -> ParameterRecord:
        """The parameters with a post-filter that is fitted to decoded frames, if that pays."""
        settings, header, model = self.settings, self.header, self.model
        tensors, worth = fit_filter(
            model,
            windows,
            settings.lambda_,
            settings.fit.filter_steps,
            depth=pixel_format(header.pix_fmt).depth,
            seed=settings.seed,
            seconds=seconds,
            samples=header.width * header.height * self.segment.frames,
            report=lambda at: self._report("filter", at.step, settings.fit.filter_steps),
            stop=stop,
        )
        fitted = parameters.write_record({**self._tensors[record], **tensors}, model)
        if worth <= 8 * (_length(fitted) - _length(record)):
            return record
        self._coder.keep(record, fitted)
        return fitted

    def packets(self, record: ParameterRecord) -> Iterator[PacketRecord]:
        """Codes the packets with the decoded parameters, as the decoder will read them."""
        if self._kept is not None and self._kept[0] is record:
            yield from self._kept[1]
            return
        for packet, _ in self._code(record):
            yield packet

    def _code(
        self, record: ParameterRecord, final: bool = True, windows: Windows | None = None
    ) -> Iterator[tuple[PacketRecord, float]]:
        total = self.segment.frames

        def report(done: int) -> None:
            self._report("code", done, total)

        return self._coder.code(record, report, final, windows)


def _length(record: ParameterRecord) -> int:
    return sum(map(len, (record.side, record.grid, record.weights)))
