"""The chunks of an .innv file: :class:`Writer` and :class:`Reader` (docs/format.md).

Every chunk has a CRC-32. Every length is compared with the bytes that are left before it is used.
"""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

from innvc.bitstream.header import (
    HeaderRecord,
    IndexRecord,
    Limits,
    PacketRecord,
    ParameterRecord,
    R,
    SegmentEntry,
    SegmentRecord,
    decode_record,
    encode_record,
)
from innvc.errors import CorruptError, InputError, LimitError, UnsupportedError

SIGNATURE = b"\x89INNV\r\n\x1a"
VERSION = (0, 1)
PREAMBLE_BYTES = len(SIGNATURE) + 2
CHUNK_OVERHEAD = 12  # id, length, CRC-32
TAIL_BYTES = CHUNK_OVERHEAD + 8  # the TEND chunk
CRITICAL = (b"HEAD", b"SEGM", b"PARM", b"PACK", b"INDX", b"TEND")
PIECE_BYTES = 1 << 20


class Writer:
    """Writes an .innv file front to back; nothing is sought, so a pipe will do.

    The order is write_header, then for each segment begin_segment, write_parameters and its
    write_packet calls, then finish. Another order is a ValueError, and so is an invalid record.

    Attributes:
        counts: Bytes written so far by kind: header, container, side, grid, weights, latent.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.counts = dict.fromkeys(("header", "container", "side", "grid", "weights", "latent"), 0)
        self._file = file
        self._header: HeaderRecord | None = None
        self._segment: SegmentRecord | None = None
        self._entries: list[SegmentEntry] = []
        self._offsets: list[int] = []  # of the current segment's chunks
        self._frames = 0

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
        self._file.write(preamble)
        self.counts["container"] += len(preamble)
        self.write_chunk(b"HEAD", payload, crc=zlib.crc32(preamble), header=len(payload))
        self._header = header

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
        _check_packet(packet, number, self._segment, self._header)
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
        offset = self.write_chunk(b"INDX", encode_record(IndexRecord(self._entries)))
        self.write_chunk(b"TEND", struct.pack("<Q", offset))
        return self.total_bytes

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
        if not _is_name(name):
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


class _Chunk(NamedTuple):
    name: bytes
    start: int  # of the payload
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length + 4


class Reader:
    """Reads an .innv file from any point; opening it reads the header and the index only.

    A chunk is checked when it is read, and with it any unknown chunks that follow it. Not for use
    by several threads at once: give each its own.

    Args:
        path: The file.
        limits: What the file may declare.

    Attributes:
        header: The header record.
        header_bytes: The size of its payload.
        segments: Where the segments are: first frame, frames, offsets.
        version: (major, minor) of the format.
        notes: Sentences for the user that are no errors.
        size_bytes: The size of the file.

    Raises:
        InputError: the file cannot be opened or is not an .innv file.
        CorruptError: the file is damaged or cut short. Every method that reads raises it too.
        UnsupportedError: it needs a newer version.
        LimitError: it declares more than the limits allow.
    """

    def __init__(self, path: str | os.PathLike[str], limits: Limits | None = None) -> None:
        self.path = Path(path)
        self.limits = limits or Limits()
        self.notes: list[str] = []
        self._records: dict[int, SegmentRecord] = {}
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise InputError(f"Cannot open '{self.path}': {error.strerror}.") from error
        try:
            self.size_bytes = self._file.seek(0, os.SEEK_END)
            self._open()
        except OSError as error:
            self._file.close()
            raise InputError(f"Cannot read '{self.path}': {error.strerror}.") from error
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def segment(self, segment: int) -> SegmentRecord:
        """The record of a segment; kept after the first call."""
        if segment not in self._records:
            entry = self.segments[segment]
            record = self._record(entry.segment_offset, SegmentRecord, b"SEGM")
            try:
                record.validate_in(self.header)
            except ValueError as error:
                raise CorruptError(f"The SEGM chunk is invalid: {error}.") from error
            expected = (entry.first_frame, entry.frames, len(entry.packet_offsets))
            if (record.first_frame, record.frames, len(record.sizes)) != expected:
                raise CorruptError(f"Segment {segment} differs from its entry in the index.")
            self._records[segment] = record
        return self._records[segment]

    def parameters(self, segment: int) -> ParameterRecord:
        """The coded parameters of a segment."""
        return self._record(self.segments[segment].parameters_offset, ParameterRecord, b"PARM")

    def packet(self, segment: int, number: int) -> PacketRecord:
        """A packet of a segment."""
        record = self.segment(segment)
        offset = self.segments[segment].packet_offsets[number]
        packet = self._record(offset, PacketRecord, b"PACK")
        try:
            _check_packet(packet, number, record, self.header)
        except ValueError as error:
            raise CorruptError(f"The PACK chunk at byte {offset} is invalid: {error}.") from error
        return packet

    def find(self, frame: int) -> tuple[int, int]:
        """The (segment, packet) that holds a frame of the video.

        Raises:
            IndexError: the file has no such frame.
        """
        if not 0 <= frame < self.header.frames:
            raise IndexError(f"no frame {frame} in {self.header.frames}")
        segment = bisect_right(self.segments, frame, key=lambda entry: entry.first_frame) - 1
        record = self.segment(segment)
        return segment, bisect_right(record.starts(), frame - record.first_frame) - 1

    def packets(self) -> Iterator[tuple[int, int, PacketRecord]]:
        """All packets in order, as (segment, number, packet)."""
        for segment, entry in enumerate(self.segments):
            for number in range(len(entry.packet_offsets)):
                yield segment, number, self.packet(segment, number)

    def check_all(self) -> None:
        """Reads the whole file and checks each byte of it: every chunk, CRC and record."""
        for segment in range(len(self.segments)):
            self._records.pop(segment, None)
            self.segment(segment)
            self.parameters(segment)
        for _ in self.packets():
            pass

    def _open(self) -> None:
        preamble = self._read(0, min(PREAMBLE_BYTES, self.size_bytes))
        if not preamble.startswith(SIGNATURE):
            raise InputError(f"'{self.path}' is not an .innv file.", "innvc encode makes one.")
        if len(preamble) < PREAMBLE_BYTES:
            raise CorruptError(f"'{self.path}' is cut short.")
        self.version = (preamble[-2], preamble[-1])
        name = "{}.{}".format(*self.version)
        if self.version[0] != VERSION[0]:
            raise UnsupportedError(
                f"The file has format version {name}, this program reads {VERSION[0]}.x.",
                "Another version of innvc may read it.",
            )
        if self.version[1] > VERSION[1]:
            self.notes.append(f"Format version {name} is newer than this program's.")
        self._stop = self.size_bytes  # the bytes that chunks may use, the end of the last chunk
        # The CRC of the header covers what is before it.
        chunk, payload = self._chunk(
            PREAMBLE_BYTES, b"HEAD", self.limits.header_bytes, zlib.crc32(preamble)
        )
        self.header = decode_record(payload, HeaderRecord, "HEAD")
        self.header_bytes = chunk.length
        self.header.check_limits(self.limits)
        self._open_index(chunk.end)
        self._check_gap(PREAMBLE_BYTES)

    def _open_index(self, head_end: int) -> None:
        tail = self.size_bytes - TAIL_BYTES
        if tail < head_end or self._read(tail, 4) != b"TEND":
            raise CorruptError(f"'{self.path}' is cut short or has bytes after its end.")
        chunk, payload = self._chunk(tail, b"TEND", 8)
        if chunk.length != 8:
            raise CorruptError("The TEND chunk does not have 8 bytes.")
        (offset,) = struct.unpack("<Q", payload)
        if not head_end <= offset <= tail - CHUNK_OVERHEAD:
            raise CorruptError("The TEND chunk points outside of the file.")
        self._stop = tail
        chunk, payload = self._chunk(offset, b"INDX", self.limits.record_bytes)
        if chunk.end != tail:
            raise CorruptError("The index does not end where the TEND chunk begins.")
        index = decode_record(payload, IndexRecord, "INDX")
        self._stop = offset
        self._offsets = [PREAMBLE_BYTES, *index.offsets(), offset]
        if self._offsets[1] < head_end or self._offsets[-2] > offset - CHUNK_OVERHEAD:
            raise CorruptError("The index points outside of the file.")
        self.segments = index.segments
        if sum(entry.frames for entry in self.segments) != self.header.frames:
            raise CorruptError("The segments do not add up to the frames of the header.")

    def _record(self, offset: int, kind: type[R], name: bytes) -> R:
        large = name in (b"PARM", b"PACK")
        limit = self.limits.chunk_bytes if large else self.limits.record_bytes
        _, payload = self._chunk(offset, name, limit)
        self._check_gap(offset)
        return decode_record(payload, kind, name.decode())

    def _check_gap(self, offset: int) -> None:
        """Checks the chunks between an indexed one, at this offset, and the next indexed one."""
        position = self._head(offset).end
        following = self._offsets[bisect_right(self._offsets, offset)]
        while position < following:
            chunk = self._head(position)
            name = chunk.name.decode()
            self._check_crc(chunk)
            if chunk.name in CRITICAL:
                raise CorruptError(f"The {name} chunk at byte {position} is not in the index.")
            if name[0].isupper():
                raise UnsupportedError(
                    f"The file needs the chunk '{name}', which this version does not know.",
                    "A newer version of innvc may read it.",
                )
            position = chunk.end
        if position != following:
            raise CorruptError(f"The chunk before byte {following} overlaps it.")

    def _head(self, offset: int) -> _Chunk:
        if offset + CHUNK_OVERHEAD > self._stop:
            raise CorruptError(f"The file is cut short at byte {offset}.")
        name, length = struct.unpack("<4sI", self._read(offset, 8))
        if not _is_name(name):
            raise CorruptError(f"There is no chunk at byte {offset}.")
        if length > self._stop - offset - CHUNK_OVERHEAD:
            raise CorruptError(f"The {name.decode()} chunk at byte {offset} is cut short.")
        return _Chunk(name, offset + 8, length)

    def _chunk(self, offset: int, name: bytes, limit: int, crc: int = 0) -> tuple[_Chunk, bytes]:
        chunk = self._head(offset)
        if chunk.name != name:
            found = f"{chunk.name.decode()} instead of {name.decode()}"
            raise CorruptError(f"There is a chunk {found} at byte {offset}.")
        if chunk.length > limit:
            raise LimitError(
                f"The {name.decode()} chunk has {chunk.length} bytes, above the limit of {limit}."
            )
        return chunk, self._check_crc(chunk, crc, keep=True)

    def _check_crc(self, chunk: _Chunk, crc: int = 0, keep: bool = False) -> bytes:
        """Checks the CRC of a chunk; returns its payload where asked to keep it."""
        pieces = []
        crc = zlib.crc32(chunk.name + struct.pack("<I", chunk.length), crc)
        step = chunk.length if keep else PIECE_BYTES
        for start in range(0, chunk.length, max(step, 1)):
            piece = self._read(chunk.start + start, min(step, chunk.length - start))
            crc = zlib.crc32(piece, crc)
            if keep:
                pieces.append(piece)
        if self._read(chunk.end - 4, 4) != struct.pack("<I", crc):
            raise CorruptError(
                f"The {chunk.name.decode()} chunk at byte {chunk.start - 8} is damaged."
            )
        return b"".join(pieces)

    def _read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes, which the caller knows the file to have."""
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) != size:
            raise CorruptError(f"The file ends within {size} bytes from byte {offset}.")
        return data


def cut_file(source: Reader, target: BinaryIO, layers: int) -> int:
    """Copies a file with the first ``layers`` layers of each packet, without coding anything again.

    Unknown ancillary chunks are not copied.

    Returns:
        The size of the new file in bytes.

    Raises:
        CorruptError: the source is damaged.
        ValueError: ``layers`` is negative.
    """
    if layers < 0:
        raise ValueError(f"cannot keep {layers} layers")
    writer = Writer(target)
    writer.write_header(source.header)
    for segment, entry in enumerate(source.segments):
        writer.begin_segment(source.segment(segment))
        writer.write_parameters(source.parameters(segment))
        for number in range(len(entry.packet_offsets)):
            writer.write_packet(source.packet(segment, number).cut(layers))
    return writer.finish()


def subband_level(subband: int, subbands: int) -> int:
    """The temporal level of a subband frame of a packet.

    Args:
        subband: Position in the packet, coarse to fine.
        subbands: Frames of the packet, a power of two.

    Returns:
        0 for the low-pass frame, else the lifting level that made the frame: 1 is the finest detail
        (the last half of the packet), log2(subbands) the coarsest.
    """
    return subbands.bit_length() - subband.bit_length() if subband else 0


@dataclass
class Statistics:
    """Bytes of a file by kind. The fields without ``latent`` and ``latent_bytes`` add up to it.

    ``latent[layer][level]`` has a row for each layer of the model and a column for each temporal
    level that the model's gop allows (:func:`subband_level`).
    """

    total_bytes: int
    header_bytes: int = 0
    container_bytes: int = 0  # signature, chunk framing, segment records, layer lengths, index
    side_bytes: int = 0
    grid_bytes: int = 0
    weights_bytes: int = 0
    latent: list[list[int]] = field(default_factory=list)

    @property
    def latent_bytes(self) -> int:
        return sum(self.latent_by_layer)

    @property
    def latent_by_layer(self) -> list[int]:
        return [sum(row) for row in self.latent]

    @property
    def latent_by_level(self) -> list[int]:
        return [sum(column) for column in zip(*self.latent, strict=True)]


def statistics(path: str | os.PathLike[str], limits: Limits | None = None) -> Statistics:
    """Counts the bytes of a file by kind; checks every chunk on the way.

    Raises:
        InputError, CorruptError, UnsupportedError, LimitError: as :class:`Reader`.
    """
    with Reader(path, limits) as reader:
        model = reader.header.model
        result = Statistics(reader.size_bytes)
        result.header_bytes = reader.header_bytes
        result.latent = [[0] * model.gop.bit_length() for _ in model.layers]
        for segment in range(len(reader.segments)):
            parameters = reader.parameters(segment)
            result.side_bytes += len(parameters.side)
            result.grid_bytes += len(parameters.grid)
            result.weights_bytes += len(parameters.weights)
        for _, _, packet in reader.packets():
            for subband, row in enumerate(packet.lengths):
                level = subband_level(subband, packet.subbands)
                for layer, size in enumerate(row):
                    result.latent[layer][level] += size
    known = result.header_bytes + result.side_bytes + result.grid_bytes + result.weights_bytes
    result.container_bytes = result.total_bytes - known - result.latent_bytes
    return result


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and name.isascii() and name.isalpha()


def _check_packet(
    packet: PacketRecord, number: int, segment: SegmentRecord, header: HeaderRecord
) -> None:
    """Raises ValueError where a packet does not fit its segment."""
    if packet.number != number:
        raise ValueError(f"packet {packet.number} is where packet {number} should be")
    if number >= len(segment.sizes) or packet.subbands != 1 << segment.sizes[number]:
        raise ValueError(f"packet {number} does not have the frames that its segment gives it")
    if packet.layers > len(header.model.layers):
        raise ValueError(f"packet {number} has more layers than the model")
