"""The records of a segment: the SEGM, PARM and PACK chunks."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, chain, pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from innvc.bitstream.header import MAX_LAYERS, HeaderRecord
from innvc.bitstream.record import U31, U32, Frames, Record
from innvc.model.subbands import level_of, low_counts

Length = Annotated[int, Meta(ge=0, le=1 << 30)]
Coded = Annotated[bytes, Meta(max_length=1 << 30)]
Row = Annotated[list[Length], Meta(max_length=MAX_LAYERS)]

MAX_SUBBANDS = 32


class SegmentRecord(Record, frozen=True):
    """The SEGM chunk: a run of frames with its own parameters."""

    first_frame: U31
    frames: Frames
    sizes: Annotated[
        list[Annotated[int, Meta(ge=1, le=MAX_SUBBANDS)]], Meta(min_length=1, max_length=1 << 24)
    ]
    """Frames of each packet."""
    keys: Annotated[list[U31], Meta(min_length=1, max_length=1 << 24)]
    """Numbers of the packets that do not read the packet before them; the first is 0."""
    pts: Annotated[
        list[Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]], Meta(max_length=1 << 24)
    ] = []
    """Time of each frame in units of the header's time_base; empty for a constant rate."""

    def validate(self) -> None:
        if sum(self.sizes) != self.frames:
            raise ValueError(f"packets do not add up to the segment's {self.frames} frames")
        ordered = all(a < b for a, b in zip(self.keys, self.keys[1:], strict=False))
        if self.keys[0] != 0 or not ordered or self.keys[-1] >= len(self.sizes):
            raise ValueError("keys are not ascending packet numbers from 0")
        if self.pts and len(self.pts) != self.frames:
            raise ValueError(f"{len(self.pts)} time stamps for {self.frames} frames")

    def validate_in(self, header: HeaderRecord) -> None:
        """Checks the record against the header.

        Raises:
            ValueError: the two contradict each other.
        """
        if max(self.sizes) > header.model.gop:
            raise ValueError(f"a packet is longer than the gop of {header.model.gop}")
        if self.pts and not header.time_base[1]:
            raise ValueError("there are time stamps but no time base")

    def starts(self) -> list[int]:
        """First frame of each packet, counted from the start of the segment."""
        starts, position = [], 0
        for size in self.sizes:
            starts.append(position)
            position += size
        return starts

    def key_before(self, packet: int) -> int:
        """The packet at which decoding must begin to reach this one."""
        return self.keys[bisect_right(self.keys, packet) - 1]


class ParameterRecord(Record, frozen=True):
    """The PARM chunk: the coded parameters of a segment, by kind."""

    side: Coded = b""
    grid: Coded = b""
    weights: Coded = b""


class PacketRecord(Record, frozen=True):
    """The PACK chunk: the latent of one group of frames.

    ``data`` is the concatenation of all layers of the first row of ``lengths``, then of the
    second, and so on, coarse to fine.
    """

    number: U31  # in the segment
    symbols_crc: Annotated[list[U32], Meta(max_length=MAX_LAYERS)]
    """CRC-32 of the decoded symbols of each layer, over all subband frames."""
    lengths: Annotated[list[Row], Meta(min_length=1, max_length=MAX_SUBBANDS)]
    """Bytes of each layer, a row for each level, the low-pass first; see ``frames``."""
    data: Coded
    motion: Coded = b""
    """Motion of the lifting; empty is none."""
    intra: bool = False
    """The low-pass frame is in half-size blocks, coded by the intra prior, all in layer 0."""
    gains: Coded = b""
    """Gains of the post-filter; empty is none."""
    prediction: Coded | None = None
    """Motion from the packet before to the low-pass frame, of which only the difference is coded;
    None where it is not predicted, empty where nothing moves."""
    step_offsets: Coded = b""
    """Step offsets of the low-pass frame; empty is none."""
    temporal_gains: Coded = b""
    """Gains of the temporal filter; empty is none."""
    frames: Annotated[int, Meta(ge=0, le=MAX_SUBBANDS)] = 0
    """0 where ``lengths`` has a row for each of them, as before version 0.18."""

    @property
    def subbands(self) -> int:
        return self.frames or len(self.lengths)

    def levels(self) -> list[int]:
        """The temporal level of each row of ``lengths``: 0 is the low-pass, 1 the finest."""
        if self.frames:
            return [0, *range(len(self.lengths) - 1, 0, -1)]
        return [level_of(j, self.subbands) for j in range(self.subbands)]

    @property
    def layers(self) -> int:
        """Layers that are present; fewer than the model has after a cut."""
        return len(self.symbols_crc)

    def validate(self) -> None:
        if self.frames and len(self.lengths) != len(low_counts(self.frames)):
            raise ValueError(f"{self.frames} frames do not have {len(self.lengths)} levels")
        if any(len(row) != self.layers for row in self.lengths):
            raise ValueError("levels differ in their number of layers")
        if sum(map(sum, self.lengths)) != len(self.data):
            raise ValueError("layer lengths do not add up to the data")

    def validate_in(self, number: int, segment: SegmentRecord, header: HeaderRecord) -> None:
        """Checks the record against its place, the segment and the header.

        Raises:
            ValueError: they contradict each other.
        """
        if self.number != number:
            raise ValueError(f"packet {self.number} is where packet {number} should be")
        if number >= len(segment.sizes) or self.subbands != segment.sizes[number]:
            raise ValueError(f"packet {number} does not have the frames that its segment gives it")
        if self.motion and (not header.model.motion or self.subbands == 1):
            raise ValueError(f"packet {number} has motion that its model does not have")
        if self.intra and not any(header.model.prior.intra):
            raise ValueError(f"packet {number} needs an intra prior that its model does not have")
        if self.gains and not header.model.post_filter:
            raise ValueError(f"packet {number} has gains of a filter that its model does not have")
        if self.prediction is not None:
            if not header.model.prediction:
                raise ValueError(f"packet {number} has a prediction that its model does not have")
            if self.intra or number in segment.keys:
                raise ValueError(f"packet {number} is predicted and stands alone")
        if self.step_offsets and not header.model.step_offsets:
            raise ValueError(f"packet {number} has step offsets that its model does not have")
        if self.temporal_gains and (not header.model.temporal_filter or self.subbands == 1):
            raise ValueError(f"packet {number} has gains of a filter that its model does not have")
        if self.layers > len(header.model.layers):
            raise ValueError(f"packet {number} has more layers than the model")

    def strings(self, layers: int) -> list[list[memoryview]]:
        """The coded bytes of the first layers, a row for each of ``lengths``; not copied."""
        data, rows = memoryview(self.data), []
        for row in self.lengths:
            ends = [0, *accumulate(row)]
            rows.append([data[start:end] for start, end in pairwise(ends[: layers + 1])])
            data = data[ends[-1] :]
        return rows

    def cut(self, layers: int) -> PacketRecord:
        """The packet with its first ``layers`` layers only; the packet itself if it has no more."""
        if layers >= self.layers:
            return self
        data = b"".join(chain.from_iterable(self.strings(layers)))
        lengths = [row[:layers] for row in self.lengths]
        crc = self.symbols_crc[:layers]
        return msgspec.structs.replace(self, symbols_crc=crc, lengths=lengths, data=data)
