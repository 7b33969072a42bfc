"""Writing an .innv file, front to back."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from innvc.bitstream import header_code
from innvc.bitstream.chunks import CHUNK_OVERHEAD, SIGNATURE, VERSION, is_name
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.index import IndexRecord, SegmentEntry
from innvc.bitstream.record import encode_record
from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
from innvc.bitstream.streams import NAME as STREAMS
from innvc.bitstream.streams import StreamsRecord


class Writer:
    """Writes an .innv file front to back; nothing is sought up to `finish`, so a pipe will do.

    The order is write_header, then for each segment begin_segment, write_parameters and its
    write_packet calls, then finish. Another order is a ValueError, and so is an invalid record.

    Attributes:
        counts: Bytes written so far by kind: header, container, streams, side, grid, weights,
            latent.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.counts = dict.fromkeys(
            ("header", "container", "streams", "side", "grid", "weights", "latent"), 0
        )
        self._file = file
        self._header: HeaderRecord | None = None
        self._segment: SegmentRecord | None = None
        self._entries: list[SegmentEntry] = []
        self._offsets: list[int] = []  # of the current segment's chunks
        self._frames = 0
        self._finished: dict[str, int] = {}  # counts before the index

    @property
    def total_bytes(self) -> int:
        """Bytes written so far; the size of the file after finish."""
        return sum(self.counts.values())

    def write_header(self, header: HeaderRecord, minor: int = VERSION[1]) -> None:
        """Writes the signature, the version and the HEAD chunk."""
        if self._header is not None:
            raise ValueError("the header is already written")
        preamble = SIGNATURE + bytes((VERSION[0], minor))
        payload = encode_record(header)
        if minor >= header_code.FIRST_MINOR:
            payload = header_code.deflated(payload)
        self._file.write(preamble)
        self.counts["container"] += len(preamble)
        self.write_chunk(b"HEAD", payload, crc=zlib.crc32(preamble), header=len(payload))
        self._header = header

    def write_streams(self, streams: StreamsRecord) -> None:
        """Writes the strm chunk, which follows the header."""
        if self._header is None or self._segment is not None or self._entries:
            raise ValueError("audio and subtitles must follow the header")
        payload = encode_record(streams)
        self.write_chunk(STREAMS, payload, streams=len(payload))

    def begin_segment(self, segment: SegmentRecord) -> None:
        """Writes the SEGM chunk of the next run of frames."""
        self._end_segment()
        if self._header is None or segment.first_frame != self._frames:
            raise ValueError(f"a segment must begin at frame {self._frames}, after the header")
        segment.validate_in(self._header)
        payload = encode_record(segment)
        self._offsets = [self.write_chunk(b"SEGM", payload)]
        self._segment = segment

    def write_parameters(self, parameters: ParameterRecord) -> None:
        """Writes the PARM chunk of the segment."""
        if len(self._offsets) != 1:
            raise ValueError("parameters must follow the beginning of a segment")
        kinds = {kind: len(getattr(parameters, kind)) for kind in ("side", "grid", "weights")}
        self._offsets.append(self.write_chunk(b"PARM", encode_record(parameters), **kinds))

    def write_packet(self, packet: PacketRecord) -> None:
        """Writes the next PACK chunk of the segment."""
        number = len(self._offsets) - 2
        if self._segment is None or self._header is None or number < 0:
            raise ValueError("packets must follow the parameters of a segment")
        packet.validate_in(number, self._segment, self._header)
        payload = encode_record(packet)
        self._offsets.append(self.write_chunk(b"PACK", payload, latent=len(packet.data)))

    def finish(self) -> int:
        """Writes the index and the end.

        Returns:
            The size of the file in bytes.
        """
        self._end_segment()
        if self._header is None or self._frames != self._header.frames:
            raise ValueError(f"{self._frames} frames are written, not those of the header")
        self._finished = dict(self.counts)
        self._write_index()
        return self.total_bytes

    def _write_index(self) -> None:
        offset = self.write_chunk(b"INDX", encode_record(IndexRecord(self._entries)))
        self.write_chunk(b"TEND", struct.pack("<Q", offset))

    def write_samples_crc(self, values: Sequence[int | None], file: BinaryIO | None = None) -> None:
        """Writes index and end once more, with the CRC-32 of each segment's decoded samples.

        They are known when the finished file was decoded; the file must be one that can seek.

        Args:
            file: The finished file, where it was closed meanwhile.
        """
        self._file = file or self._file
        if not self._finished or len(values) != len(self._entries):
            raise ValueError("a finished file takes one CRC for each segment")
        for name, size in self._finished.items():
            self.counts[name] = size
        self._file.seek(self.total_bytes)
        self._file.truncate()
        self._entries = [
            msgspec.structs.replace(entry, samples_crc=value)
            for entry, value in zip(self._entries, values, strict=True)
        ]
        self._write_index()

    def write_chunk(self, name: bytes, payload: bytes, crc: int = 0, **kinds: int) -> int:
        """Writes any chunk; for ancillary chunks of one's own.

        Args:
            name: Four ASCII letters, the first one lower-case if readers may skip the chunk.
            payload: The content.
            crc: CRC-32 of bytes before the chunk that its own CRC shall cover.
            **kinds: Bytes of the payload by kind; what is left counts as container.

        Returns:
            The offset of the chunk.
        """
        if not is_name(name):
            raise ValueError(f"a chunk id is four ASCII letters, not {name!r}")
        offset = self.total_bytes
        head = name + struct.pack("<I", len(payload))
        self._file.write(head)
        self._file.write(payload)
        self._file.write(struct.pack("<I", zlib.crc32(payload, zlib.crc32(head, crc))))
        for kind, size in kinds.items():
            self.counts[kind] += size
        self.counts["container"] += len(payload) - sum(kinds.values()) + CHUNK_OVERHEAD
        return offset

    def _end_segment(self) -> None:
        segment = self._segment
        if segment is None:
            return
        if len(self._offsets) != 2 + len(segment.sizes):
            raise ValueError(f"segment {len(self._entries)} lacks parameters or packets")
        start, parameters, *packets = self._offsets
        entry = SegmentEntry(start, parameters, segment.first_frame, segment.frames, packets)
        self._entries.append(entry)
        self._frames += segment.frames
        self._segment = None
        self._offsets = []
