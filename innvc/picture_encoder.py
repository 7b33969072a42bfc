"""Encoding a segment whose field is the picture (`field_role` "picture"): NVRC's mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from innvc.bitstream import parameters
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
from innvc.decoder import layout_of, reproducible_arithmetic
from innvc.encoder import EncodeSettings
from innvc.fit.loop import Checkpoint, Progress, fit
from innvc.fit.picture import PictureData, PictureObjective
from innvc.model.picture import PictureModel
from innvc.model.subbands import low_counts
from innvc.video.formats import Frame, pixel_format
from innvc.video.packing import pack, pad

PACKET_FRAMES = 16  # frames that decode together; any size would do


class PictureEncoder:
    """Fits the field to a segment's frames and codes its parameters.

    Args:
        header: Of the file.
        frames: Of the segment.
        first_frame: Index of the first in the file.
        settings: How to fit.
        device: Where to fit.
        known, report: Are not used: there is only the fit.
    """

    def __init__(
        self,
        header: HeaderRecord,
        frames: Sequence[Frame],
        first_frame: int,
        settings: EncodeSettings,
        device: torch.device,
        known: object = None,
        report: Callable[[str, int, int], None] = lambda phase, done, total: None,
    ) -> None:
        reproducible_arithmetic()
        self.header = header
        self.settings = settings
        self.model = PictureModel(header.model, layout_of(header.pix_fmt)).to(device)
        form, packing = pixel_format(header.pix_fmt), header.model.packing
        stride = self.model.stride
        packed = [pad(pack(f.planes, form, packing), stride, stride) for f in frames]
        self.data = PictureData(torch.from_numpy(np.stack(packed)).to(device), stride)
        sizes = _sizes(len(frames))
        self.segment = SegmentRecord(
            first_frame=first_frame,
            frames=len(frames),
            sizes=sizes,
            keys=list(range(len(sizes))),
            pts=[f.pts for f in frames if f.pts is not None],
        )

    def fit(
        self,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
        checkpoint: Checkpoint | None = None,
    ) -> ParameterRecord:
        """Fits, and returns the coded parameters."""
        settings, header = self.settings, self.header
        planes = self.model.packed_planes
        weights = [*self.model.layout.weights, 0.0, 0.0, 0.0]  # none for channels of zeros
        shares = torch.tensor([weights[p] / planes.count(p) for p in planes])
        shares = shares.to(self.data.frames.device)
        quantiser = fit(
            self.model,
            self.data,
            PictureObjective(self.model, shares),
            settings.lambda_,
            settings.fit,
            seed=settings.seed,
            seconds=settings.seconds,
            samples=header.width * header.height * self.segment.frames,
            report=report,
            stop=stop,
            checkpoint=checkpoint,
        )
        return parameters.write_record(quantiser.coded(self.model), self.model)

    def packets(self, record: ParameterRecord) -> Iterator[PacketRecord]:
        """Packets without any layer: they only say where frames belong together."""
        for number, size in enumerate(self.segment.sizes):
            yield PacketRecord(number, [], [[]] * len(low_counts(size)), b"", frames=size)


def _sizes(frames: int) -> list[int]:
    """Frames of packets, the longest first."""
    starts = range(0, frames, PACKET_FRAMES)
    return [min(PACKET_FRAMES, frames - start) for start in starts]
