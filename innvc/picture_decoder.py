"""Decoding a segment whose field is the picture (`field_role` "picture"): parameters to frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from innvc.bitstream import parameters
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.segment import ParameterRecord, SegmentRecord
from innvc.decoder import layout_of, reproducible_arithmetic
from innvc.model.picture import PictureModel, frame_window
from innvc.video.formats import Frame, pixel_format
from innvc.video.packing import unpack


class PictureDecoder:
    """Frames of one segment from its parameters alone; its packets hold nothing.

    Args:
        header: Of the file.
        segment: Record of the segment.
        record: Its coded parameters.
        device: Where to compute.
        exact: Synthesis in float64, the reference for samples.

    Raises:
        CorruptError, UnsupportedError: the parameters cannot be used.
    """

    def __init__(
        self,
        header: HeaderRecord,
        segment: SegmentRecord,
        record: ParameterRecord,
        device: torch.device,
        exact: bool = False,
    ) -> None:
        reproducible_arithmetic()
        self.header = header
        self.segment = segment
        self.format = pixel_format(header.pix_fmt)
        self.model = PictureModel(header.model, layout_of(header.pix_fmt))
        parameters.read_record(record, self.model)
        self.model.requires_grad_(False).to(device)
        if exact:
            self.model.double()
        self.device = device
        self.starts = segment.starts()
        stride = self.model.stride * header.model.packing
        self.size = (-(-header.height // stride), -(-header.width // stride))

    @torch.no_grad()
    def frames(self, number: int) -> list[Frame]:
        """Frames of a packet."""
        header, segment = self.header, self.segment
        stamps: Sequence[int | None] = segment.pts or [None] * segment.frames
        first = self.starts[number]
        found = []
        for index in range(first, first + segment.sizes[number]):
            packed = self.model(frame_window([index], segment.frames, self.size, self.device))
            planes = unpack(
                packed[0].cpu().numpy(),
                self.format,
                header.width,
                header.height,
                header.model.packing,
            )
            found.append(Frame(planes, stamps[index]))
        return found
