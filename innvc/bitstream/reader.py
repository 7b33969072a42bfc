"""Reading an .innv file from any point."""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from innvc.bitstream import header_code
from innvc.bitstream.chunks import (
    CHUNK_OVERHEAD,
    CRITICAL,
    PREAMBLE_BYTES,
    SIGNATURE,
    TAIL_BYTES,
    VERSION,
    ChunkReader,
)
from innvc.bitstream.header import HeaderRecord, Limits
from innvc.bitstream.index import IndexRecord
from innvc.bitstream.record import R, decode_record
from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
from innvc.bitstream.streams import NAME as STREAMS
from innvc.bitstream.streams import StreamsRecord
from innvc.bitstream.walk import rebuild_index
from innvc.errors import CorruptError, DamageError, InputError, UnsupportedError


class Reader:
    """Reads an .innv file from any point; opening it reads the header and the index only.

    A chunk is checked when it is read, and with it any unknown chunks that follow it. Not for use
    by several threads at once: give each its own.

    Args:
        path: The file.
        limits: What the file may declare.
        partial: Read what there is of a file that was cut short: without its index, the packets
            that follow each other from the start.

    Attributes:
        header: The header record.
        header_bytes: The size of its payload.
        segments: Where the segments are: first frame, frames, offsets.
        frames: The frames that are there: the header's, fewer of a file that was cut short.
        version: (major, minor) of the format.
        notes: Sentences for the user that are no errors.
        size_bytes: The size of the file.

    Raises:
        InputError: the file cannot be opened or is not an .innv file.
        CorruptError: the file is damaged or cut short. Methods that read a segment, its parameters
            or a packet raise a DamageError, which names the frames that are lost.
        UnsupportedError: it needs a newer version.
        LimitError: it declares more than the limits allow.
    """

    def __init__(
        self, path: str | os.PathLike[str], limits: Limits | None = None, partial: bool = False
    ) -> None:
        self.path = Path(path)
        self.limits = limits or Limits()
        self.notes: list[str] = []
        self._records: dict[int, SegmentRecord] = {}
        self._streams: int | None = None  # where they are
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise InputError(
                f"Cannot open '{self.path}': {error.strerror}.", "Check the name of the .innv file."
            ) from error
        try:
            self._chunks = ChunkReader(self._file)
            self.size_bytes = self._chunks.size_bytes
            self._open(partial)
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
            with self.losing(segment):
                self._records[segment] = self._segment(segment)
        return self._records[segment]

    def _segment(self, segment: int) -> SegmentRecord:
        entry = self.segments[segment]
        record = self._record(entry.segment_offset, SegmentRecord, b"SEGM")
        try:
            record.validate_in(self.header)
        except ValueError as error:
            raise CorruptError(f"The SEGM chunk is invalid: {error}.") from error
        there = len(entry.packet_offsets)  # all, or the first ones where the file was cut short
        cut = self.frames < self.header.frames and segment == len(self.segments) - 1
        whole = there == len(record.sizes) or cut
        if (record.first_frame, sum(record.sizes[:there]), whole) != (
            entry.first_frame,
            entry.frames,
            True,
        ):
            raise CorruptError(f"Segment {segment} differs from its entry in the index.")
        return record

    def parameters(self, segment: int) -> ParameterRecord:
        """The coded parameters of a segment."""
        with self.losing(segment):
            return self._record(self.segments[segment].parameters_offset, ParameterRecord, b"PARM")

    def packet(self, segment: int, number: int) -> PacketRecord:
        """A packet of a segment."""
        self.segment(segment)
        with self.losing(segment, number):
            return self._packet(segment, number)

    def _packet(self, segment: int, number: int) -> PacketRecord:
        offset = self.segments[segment].packet_offsets[number]
        packet = self._record(offset, PacketRecord, b"PACK")
        try:
            packet.validate_in(number, self.segment(segment), self.header)
        except ValueError as error:
            raise CorruptError(f"The PACK chunk at byte {offset} is invalid: {error}.") from error
        return packet

    @contextmanager
    def losing(self, segment: int, packet: int | None = None) -> Iterator[None]:
        """Says of a CorruptError from within which frames are lost by it.

        Args:
            segment: What cannot be read: all of this segment,
            packet: or this packet of it, and with it those up to the next that decodes alone.

        Raises:
            DamageError: in place of another CorruptError.
        """
        try:
            yield
        except DamageError:
            raise
        except CorruptError as error:
            raise DamageError(error.message, [self._lost(segment, packet)]) from error

    def _lost(self, segment: int, packet: int | None) -> tuple[int, int]:
        entry = self.segments[segment]
        if packet is None:
            return entry.first_frame, entry.first_frame + entry.frames
        record = self.segment(segment)
        last = packet + 1
        while last < len(entry.packet_offsets) and self._reads_before(segment, last):
            last += 1
        first, sizes = entry.first_frame, record.sizes
        return first + sum(sizes[:packet]), first + sum(sizes[:last])

    def _reads_before(self, segment: int, packet: int) -> bool:
        """Whether a packet needs the one before it, or cannot be read to tell."""
        if packet in self.segment(segment).keys:
            return False
        try:
            return not self._packet(segment, packet).intra
        except CorruptError:
            return True

    @property
    def streams_bytes(self) -> int:
        """The size of the payload with audio and subtitles."""
        return 0 if self._streams is None else self._chunks.head(self._streams).length

    def streams(self) -> StreamsRecord | None:
        """Audio and subtitles, None where there are none.

        Raises:
            CorruptError: they are damaged.
        """
        if self._streams is None:
            return None
        try:
            _, payload = self._chunks.chunk(self._streams, STREAMS, self.limits.chunk_bytes)
            return decode_record(payload, StreamsRecord, STREAMS.decode())
        except CorruptError as error:
            error.hint = "`innvc decode --no-audio` leaves audio and subtitles out."
            raise

    def find(self, frame: int) -> tuple[int, int]:
        """The (segment, packet) that holds a frame of the video.

        Raises:
            IndexError: the file has no such frame.
        """
        if not 0 <= frame < self.frames:
            raise IndexError(f"no frame {frame} in {self.frames}")
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
        self.streams()

    def _open(self, partial: bool) -> None:
        preamble = self._chunks.read(0, min(PREAMBLE_BYTES, self.size_bytes))
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
        # The CRC of the header covers what is before it.
        chunk, payload = self._chunks.chunk(
            PREAMBLE_BYTES, b"HEAD", self.limits.header_bytes, zlib.crc32(preamble)
        )
        try:
            if self.version[1] >= header_code.FIRST_MINOR:
                payload = header_code.inflated(payload, self.limits.header_bytes)
            self.header = decode_record(payload, HeaderRecord, "HEAD")
        except CorruptError as error:
            if self.version[1] > VERSION[1]:
                raise UnsupportedError(
                    f"The file has format version {name}, and a header this program cannot read.",
                    "A later version of innvc may read it.",
                ) from error
            raise
        self.header_bytes = chunk.length
        self.header.check_limits(self.limits)
        try:
            index, end = self._read_index(chunk.end)
            if sum(entry.frames for entry in index.segments) != self.header.frames:
                raise CorruptError("The segments do not add up to the frames of the header.")
        except CorruptError as error:
            if not partial:
                error.hint = "Copy it again; `innvc decode --partial` gives the frames it has."
                raise
            self._chunks.stop = self.size_bytes
            index, end = rebuild_index(self._chunks, chunk.end, self.limits.record_bytes)
        self._chunks.stop = end
        self._offsets = [PREAMBLE_BYTES, *index.offsets(), end]
        self.segments = index.segments
        self.frames = sum(entry.frames for entry in self.segments)
        if self.frames > self.header.frames:
            raise CorruptError("The file has more frames than its header says.")
        if self.frames < self.header.frames:
            self.notes.append(
                f"The file is cut short: {self.frames} of {self.header.frames} frames are there."
            )
        self._check_gap(PREAMBLE_BYTES)

    def _read_index(self, head_end: int) -> tuple[IndexRecord, int]:
        """The index, and its offset, where the chunks that it lists end."""
        tail = self.size_bytes - TAIL_BYTES
        if tail < head_end or self._chunks.read(tail, 4) != b"TEND":
            raise CorruptError(f"'{self.path}' is cut short or has bytes after its end.")
        chunk, payload = self._chunks.chunk(tail, b"TEND", 8)
        if chunk.length != 8:
            raise CorruptError("The TEND chunk does not have 8 bytes.")
        (offset,) = struct.unpack("<Q", payload)
        if not head_end <= offset <= tail - CHUNK_OVERHEAD:
            raise CorruptError("The TEND chunk points outside of the file.")
        self._chunks.stop = tail
        chunk, payload = self._chunks.chunk(offset, b"INDX", self.limits.record_bytes)
        if chunk.end != tail:
            raise CorruptError("The index does not end where the TEND chunk begins.")
        index = decode_record(payload, IndexRecord, "INDX")
        offsets = index.offsets()
        if offsets[0] < head_end or offsets[-1] > offset - CHUNK_OVERHEAD:
            raise CorruptError("The index points outside of the file.")
        return index, offset

    def _record(self, offset: int, kind: type[R], name: bytes) -> R:
        large = name in (b"PARM", b"PACK")
        limit = self.limits.chunk_bytes if large else self.limits.record_bytes
        _, payload = self._chunks.chunk(offset, name, limit)
        self._check_gap(offset)
        return decode_record(payload, kind, name.decode())

    def _check_gap(self, offset: int) -> None:
        """Checks the chunks between an indexed one, at this offset, and the next indexed one."""
        position = self._chunks.head(offset).end
        following = self._offsets[bisect_right(self._offsets, offset)]
        while position < following:
            chunk = self._chunks.head(position)
            if (chunk.name, offset, self._streams) == (STREAMS, PREAMBLE_BYTES, None):
                self._streams = position  # checked when it is read
            if position == self._streams:
                position = chunk.end
                continue
            name = chunk.name.decode()
            self._chunks.check_crc(chunk)
            if chunk.name in CRITICAL:
                raise CorruptError(f"The {name} chunk at byte {position} is not in the index.")
            if name[0].isupper():
                raise UnsupportedError(
                    f"The file needs the chunk '{name}', which this version does not know.",
                    "A newer version of innvc may read it.",
                )
            note = f"The chunk '{name}' is unknown to this program, which leaves it out."
            if note not in self.notes:
                self.notes.append(note)
            position = chunk.end
        if position != following:
            raise CorruptError(f"The chunk before byte {following} overlaps it.")
