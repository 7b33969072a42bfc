"""Leaving out the last layers of a file or a packet, without coding anything again."""

from __future__ import annotations

from typing import BinaryIO

from innvc.bitstream.reader import Reader
from innvc.bitstream.record import decode_record, encode_record
from innvc.bitstream.segment import PacketRecord
from innvc.bitstream.writer import Writer


def cut_file(source: Reader, target: BinaryIO, layers: int) -> int:
    """Copies a file with the first ``layers`` layers of each packet, without coding anything again.

    Audio and subtitles are copied, unknown ancillary chunks are not.

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
    streams = source.streams()
    if streams is not None:
        writer.write_streams(streams)
    for segment, entry in enumerate(source.segments):
        writer.begin_segment(source.segment(segment))
        writer.write_parameters(source.parameters(segment))
        for number in range(len(entry.packet_offsets)):
            writer.write_packet(source.packet(segment, number).cut(layers))
    writer.finish()
    known = [entry.samples_crc for entry in source.segments]
    if layers >= len(source.header.model.layers):  # nothing was cut
        writer.write_samples_crc(known)
    return writer.total_bytes


def cut_layers(payload: bytes | memoryview, layers: int) -> bytes:
    """Drops the layers from ``layers`` on from the payload of a PACK chunk.

    Raises:
        CorruptError: the payload is not a valid packet.
        ValueError: ``layers`` is negative.
    """
    if layers < 0:
        raise ValueError(f"cannot keep {layers} layers")
    return encode_record(decode_record(payload, PacketRecord, "PACK").cut(layers))
