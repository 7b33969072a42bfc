"""Copying parts of files without coding anything again: layers, frames, one file after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from innvc.bitstream.chunks import VERSION
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.reader import Reader
from innvc.bitstream.record import decode_record, encode_record
from innvc.bitstream.segment import PacketRecord, SegmentRecord
from innvc.bitstream.writer import Writer
from innvc.errors import UnsupportedError, UsageError

# What files that follow each other may differ in.
OWN_FIELDS = "frames", "keyint", "lambda_", "preset", "encoder"


def cut_file(
    source: Reader,
    target: BinaryIO,
    layers: int | None = None,
    frames: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """Copies a file with the first ``layers`` layers of each packet, and with some frames.

    Copying begins at a packet that decodes alone and ends with a packet; of a model with a field,
    which sees the whole segment, with a segment. Audio and subtitles are copied where all frames
    are, unknown ancillary chunks are not.

    Args:
        frames: Half-open range that the copy shall have.

    Returns:
        The range that it has.

    Raises:
        CorruptError: the source is damaged.
        UnsupportedError: it is of a newer version.
        ValueError: ``layers`` is negative.
    """
    if layers is None:
        layers = len(source.header.model.layers)
    if layers < 0:
        raise ValueError(f"cannot keep {layers} layers")
    _check_version(source)
    wanted = frames or (0, source.header.frames)
    kept = {
        number: part
        for number in range(len(source.segments))
        if (part := _part(source, number, wanted)) is not None
    }
    records = [_record(source.segment(number), part) for number, part in kept.items()]
    first = source.segments[min(kept)].first_frame + records[0].first_frame
    count = sum(record.frames for record in records)
    writer = Writer(target)
    writer.write_header(msgspec.structs.replace(source.header, frames=count))
    streams = source.streams() if count == source.header.frames else None
    if streams is not None:
        writer.write_streams(streams)
    known: list[int | None] = []
    position, pts = 0, 0
    if records[0].pts and count < source.header.frames:
        pts = records[0].pts[0]
    for (number, part), record in zip(kept.items(), records, strict=True):
        writer.begin_segment(_moved(record, position, -pts))
        writer.write_parameters(source.parameters(number))
        for place, packet in enumerate(part):
            cut = source.packet(number, packet).cut(layers)
            writer.write_packet(msgspec.structs.replace(cut, number=place))
        entry = source.segments[number]
        whole = record.frames == entry.frames and layers >= len(source.header.model.layers)
        known.append(entry.samples_crc if whole else None)
        position += record.frames
    writer.finish()
    writer.write_samples_crc(known)
    return first, first + count


def join_files(sources: Sequence[Reader], target: BinaryIO) -> int:
    """Copies files one after the other into one. Audio and subtitles are left out.

    Returns:
        Its frames.

    Raises:
        CorruptError: a source is damaged.
        UnsupportedError: one is of a newer version.
        UsageError: they do not fit each other.
    """
    headers = [source.header for source in sources]
    for source in sources:
        _check_version(source)
        for name in HeaderRecord.__struct_fields__:
            values = getattr(headers[0], name), getattr(source.header, name)
            if name not in OWN_FIELDS and values[0] != values[1]:
                raise UsageError(
                    f"The files cannot follow each other: their {name.replace('_', ' ')} differs.",
                    "Encode the video at once, or with the same options.",
                )
    count = sum(header.frames for header in headers)
    keyint = max(header.keyint for header in headers)
    writer = Writer(target)
    writer.write_header(msgspec.structs.replace(headers[0], frames=count, keyint=keyint))
    known: list[int | None] = []
    position, pts = 0, 0
    for source in sources:
        records = [source.segment(number) for number in range(len(source.segments))]
        times = [time for record in records for time in record.pts]
        if len(times) not in (0, source.header.frames):
            raise UsageError("Only some segments have time stamps.")
        more = pts - times[0] if times else 0
        for number, record in enumerate(records):
            writer.begin_segment(_moved(record, position, more))
            writer.write_parameters(source.parameters(number))
            for packet in range(len(record.sizes)):
                writer.write_packet(source.packet(number, packet))
            known.append(source.segments[number].samples_crc)
            position += record.frames
        if times:
            # The last frame stays as long as frames do on average.
            pts = times[-1] + more + max(1, round((times[-1] - times[0]) / max(1, len(times) - 1)))
    writer.finish()
    writer.write_samples_crc(known)
    return count


def _check_version(source: Reader) -> None:
    """Refuses to copy what this version may not know.

    Raises:
        UnsupportedError: the file is of a newer version.
    """
    if source.version[1] > VERSION[1]:
        name = "{}.{}".format(*source.version)
        raise UnsupportedError(f"Format version {name} is newer than this program's.")


def _part(source: Reader, number: int, wanted: tuple[int, int]) -> range | None:
    """Packets of a segment that are needed for the frames, None where none is."""
    entry = source.segments[number]
    first, last = (min(max(f - entry.first_frame, 0), entry.frames) for f in wanted)
    if first >= last:
        return None
    segment = source.segment(number)
    if source.header.model.field is not None:
        return range(len(segment.sizes))
    starts = segment.starts()
    inside = [p for p, s in enumerate(starts) if s < last and s + segment.sizes[p] > first]
    return range(segment.key_before(inside[0]), inside[-1] + 1)


def _record(segment: SegmentRecord, part: range) -> SegmentRecord:
    """The segment of some packets; its first frame counts from the segment's start."""
    start = segment.starts()[part.start]
    sizes = segment.sizes[part.start : part.stop]
    frames = sum(sizes)
    return SegmentRecord(
        first_frame=start,
        frames=frames,
        sizes=sizes,
        keys=[key - part.start for key in segment.keys if key in part],
        pts=segment.pts[start : start + frames],
    )


def _moved(segment: SegmentRecord, first_frame: int, pts: int) -> SegmentRecord:
    """The segment at another place in the file and in time."""
    times = [time + pts for time in segment.pts]
    return msgspec.structs.replace(segment, first_frame=first_frame, pts=times)


def cut_layers(payload: bytes | memoryview, layers: int) -> bytes:
    """Drops the layers from ``layers`` on from the payload of a PACK chunk.

    Raises:
        CorruptError: the payload is not a valid packet.
        ValueError: ``layers`` is negative.
    """
    if layers < 0:
        raise ValueError(f"cannot keep {layers} layers")
    return encode_record(decode_record(payload, PacketRecord, "PACK").cut(layers))
