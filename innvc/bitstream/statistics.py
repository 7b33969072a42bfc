"""Where the bytes of an .innv file go."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from innvc.bitstream.header import Limits
from innvc.bitstream.reader import Reader
from innvc.bitstream.segment import PacketRecord
from innvc.model.subbands import low_counts


@dataclass(frozen=True)
class PacketBytes:
    """Bytes of a packet, beside its framing.

    Attributes:
        frames: How many it has.
        key: Whether it decodes alone.
        intra, predicted: How its low-pass frame is coded.
        side: Step offsets.
        latent_by_layer: Of the layers that are present.
        latent_by_level: Of each temporal level: the low-pass, then details, 1 the finest.
    """

    frames: int
    key: bool
    intra: bool
    predicted: bool
    motion: int
    filter: int
    side: int
    latent_by_layer: list[int]
    latent_by_level: list[int]


@dataclass(frozen=True)
class SegmentBytes:
    """Bytes of a segment's coded parameters, and of its packets."""

    first_frame: int
    frames: int
    side: int
    grid: int
    weights: int
    packets: list[PacketBytes] = field(default_factory=list)


@dataclass
class Statistics:
    """Bytes of a file by kind. The fields without ``latent`` and ``latent_bytes`` add up to it.

    ``latent[layer][level]`` has a row for each layer of the model and a column for each temporal
    level that the model's gop allows: 0 for the low-pass, else the lifting level, 1 the finest.
    """

    total_bytes: int
    header_bytes: int = 0
    container_bytes: int = 0  # signature, chunk framing, segment records, layer lengths, index
    streams_bytes: int = 0  # audio and subtitles
    motion_bytes: int = 0
    filter_bytes: int = 0  # gains of the filters
    side_bytes: int = 0
    grid_bytes: int = 0
    weights_bytes: int = 0
    latent: list[list[int]] = field(default_factory=list)
    segments: list[SegmentBytes] = field(default_factory=list)

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
        result.streams_bytes = reader.streams_bytes
        result.latent = [[0] * len(low_counts(model.gop)) for _ in model.layers]
        for number, segment in enumerate(reader.segments):
            coded = reader.parameters(number)
            sizes = len(coded.side), len(coded.grid), len(coded.weights)
            part = SegmentBytes(segment.first_frame, segment.frames, *sizes)
            result.segments.append(part)
            result.side_bytes += part.side
            result.grid_bytes += part.grid
            result.weights_bytes += part.weights
        for number, _, packet in reader.packets():
            own = _of_packet(packet, packet.number in reader.segment(number).keys)
            result.segments[number].packets.append(own)
            result.motion_bytes += own.motion
            result.filter_bytes += own.filter
            result.side_bytes += own.side
            for level, row in zip(packet.levels(), packet.lengths, strict=True):
                for layer, size in enumerate(row):
                    result.latent[layer][level] += size
    known = result.header_bytes + result.side_bytes + result.grid_bytes + result.weights_bytes
    known += result.motion_bytes + result.filter_bytes + result.streams_bytes
    result.container_bytes = result.total_bytes - known - result.latent_bytes
    return result


def _of_packet(packet: PacketRecord, key: bool) -> PacketBytes:
    by_level = [0] * len(low_counts(packet.subbands))
    for level, row in zip(packet.levels(), packet.lengths, strict=True):
        by_level[level] += sum(row)
    return PacketBytes(
        frames=packet.subbands,
        key=key,
        intra=packet.intra,
        predicted=packet.prediction is not None,
        motion=len(packet.motion) + len(packet.prediction or b""),
        filter=len(packet.gains) + len(packet.temporal_gains),
        side=len(packet.step_offsets),
        latent_by_layer=[sum(column) for column in zip(*packet.lengths, strict=True)],
        latent_by_level=by_level,
    )
