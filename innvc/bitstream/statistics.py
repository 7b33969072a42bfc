"""Where the bytes of an .innv file go."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from innvc.bitstream.header import Limits
from innvc.bitstream.reader import Reader
from innvc.model.subbands import level_of, low_counts


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
    filter_bytes: int = 0  # gains of the post-filter
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
        result.streams_bytes = reader.streams_bytes
        result.latent = [[0] * len(low_counts(model.gop)) for _ in model.layers]
        for segment in range(len(reader.segments)):
            parameters = reader.parameters(segment)
            result.side_bytes += len(parameters.side)
            result.grid_bytes += len(parameters.grid)
            result.weights_bytes += len(parameters.weights)
        for _, _, packet in reader.packets():
            result.motion_bytes += len(packet.motion) + len(packet.prediction or b"")
            result.filter_bytes += len(packet.gains)
            result.side_bytes += len(packet.step_offsets)
            for subband, row in enumerate(packet.lengths):
                level = level_of(subband, packet.subbands)
                for layer, size in enumerate(row):
                    result.latent[layer][level] += size
    known = result.header_bytes + result.side_bytes + result.grid_bytes + result.weights_bytes
    known += result.motion_bytes + result.filter_bytes + result.streams_bytes
    result.container_bytes = result.total_bytes - known - result.latent_bytes
    return result
