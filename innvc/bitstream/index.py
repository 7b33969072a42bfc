"""The index of an .innv file: the INDX chunk, which says where all other chunks are."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from innvc.bitstream.record import U31, U32, Frames, Record

Offset = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class SegmentEntry(Record, frozen=True):
    """Where a segment lies: one entry of the INDX chunk. Offsets count bytes of the file."""

    segment_offset: Offset
    parameters_offset: Offset
    first_frame: U31
    frames: Frames
    packet_offsets: Annotated[list[Offset], Meta(min_length=1, max_length=1 << 24)]
    samples_crc: U32 | None = None
    """CRC-32 of the decoded samples, by synthesis in float64."""


class IndexRecord(Record, frozen=True):
    """The INDX chunk: all segments in order."""

    segments: Annotated[list[SegmentEntry], Meta(min_length=1, max_length=1 << 24)]

    def offsets(self) -> list[int]:
        """The offsets of all chunks that the index lists, in the order of the file."""
        found = []
        for entry in self.segments:
            found += [entry.segment_offset, entry.parameters_offset, *entry.packet_offsets]
        return found

    def validate(self) -> None:
        offsets = self.offsets()
        if any(a >= b for a, b in zip(offsets, offsets[1:], strict=False)):
            raise ValueError("offsets do not ascend")
        position = 0
        for entry in self.segments:
            if entry.first_frame != position or len(entry.packet_offsets) > entry.frames:
                raise ValueError(f"the segment at frame {entry.first_frame} does not fit")
            position += entry.frames
