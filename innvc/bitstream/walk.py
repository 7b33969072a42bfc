"""The index of a file whose own index is cut off or damaged: a walk over its chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate

from innvc.bitstream.chunks import Chunk, ChunkReader
from innvc.bitstream.index import IndexRecord, SegmentEntry
from innvc.bitstream.record import decode_record
from innvc.bitstream.segment import SegmentRecord
from innvc.errors import CorruptError


def rebuild_index(chunks: ChunkReader, start: int, limit: int) -> tuple[IndexRecord, int]:
    """The index of the packets that are whole, as far as chunks follow each other.

    The last segment may have fewer packets than its record says, and entries count only frames
    of packets that are there.

    Args:
        chunks: Of the file.
        start: Offset of the first chunk after the header.
        limit: Bytes that a segment's record may have.

    Returns:
        The index, and the offset after the last packet.

    Raises:
        CorruptError: there is no whole packet, or segments do not follow each other.
        LimitError: a segment's record is longer than the limit.
    """
    entries: list[SegmentEntry] = []
    end = start
    for record, segment, parameters, packets in _segments(chunks, start, limit):
        # A download cut short may have its full size, the rest being zeros.
        while packets and not _is_whole(chunks, packets[-1]):
            packets.pop()
        frames = list(accumulate(record.sizes))[: len(packets)]
        if not frames or len(packets) > len(frames):
            break
        offsets = [packet.start - 8 for packet in packets]
        entry = (segment.start - 8, parameters.start - 8, record.first_frame, frames[-1], offsets)
        entries.append(SegmentEntry(*entry))
        end = packets[-1].end
        if len(packets) < len(record.sizes):
            break
    if not entries:
        raise CorruptError("The file is cut short before the end of its first frames.")
    index = IndexRecord(entries)
    try:
        index.validate()
    except ValueError as error:
        raise CorruptError(f"The chunks are not in order: {error}.") from error
    return index, end


def _segments(
    chunks: ChunkReader, start: int, limit: int
) -> Iterator[tuple[SegmentRecord, Chunk, Chunk, list[Chunk]]]:
    """The record and the chunks SEGM, PARM and PACK of each segment that has a PARM."""
    found: list[Chunk] = []
    with suppress(CorruptError):
        for chunk in _heads(chunks, start):
            if chunk.name in (b"SEGM", b"INDX", b"TEND"):
                yield from _segment(chunks, found, limit)
                found = []
            if chunk.name in (b"SEGM", b"PARM", b"PACK"):
                found.append(chunk)
        yield from _segment(chunks, found, limit)


def _segment(
    chunks: ChunkReader, found: list[Chunk], limit: int
) -> Iterator[tuple[SegmentRecord, Chunk, Chunk, list[Chunk]]]:
    names = [chunk.name for chunk in found]
    if names[:2] == [b"SEGM", b"PARM"] and set(names[2:]) <= {b"PACK"}:
        _, payload = chunks.chunk(found[0].start - 8, b"SEGM", limit)
        record = decode_record(payload, SegmentRecord, "SEGM")
        yield record, found[0], found[1], found[2:]


def _heads(chunks: ChunkReader, offset: int) -> Iterator[Chunk]:
    """Chunks that follow each other, up to the first that is not whole."""
    with suppress(CorruptError):
        while True:
            chunk = chunks.head(offset)
            yield chunk
            offset = chunk.end


def _is_whole(chunks: ChunkReader, chunk: Chunk) -> bool:
    try:
        chunks.check_crc(chunk)
    except CorruptError:
        return False
    return True
