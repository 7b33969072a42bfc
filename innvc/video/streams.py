"""Audio and subtitles: packets copied out of a container, and into one, as they are."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Literal

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from innvc.bitstream.streams import StreamRecord, StreamsRecord
from innvc.errors import CorruptError, LimitError

NANOSECOND = Fraction(1, 10**9)
LARGEST = 1 << 30  # bytes
StreamsPart = tuple[StreamsRecord, Fraction, Fraction | None]
"""Streams, and the times in the video, in seconds, between which they are wanted."""
KINDS = ("audio", "subtitle")


def copy_out(
    source: InputContainer, start: Fraction, end: Fraction | None, notes: list[str]
) -> StreamsRecord | None:
    """The audio and subtitles of an opened container, None where there are none.

    Args:
        start: Time of the first frame of the video, in seconds.
        end: Packets from here on are left out, and so are those that end before `start`.
        notes: Takes remarks.

    Raises:
        LimitError: they are too large.
    """
    # What came out of a container goes into one of its kind.
    kind: Literal["mov", "matroska"] = (
        "mov" if "mov" in source.format.name.split(",") else "matroska"
    )
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as target:
        copies = _copies(source, target, f"a {kind} container cannot hold", notes)
        if not copies:
            return None
        streams = [source.streams[index] for index in copies]
        packets = list(_between(source, streams, start, end))
        if not packets:
            return None
        # A container may not know times below zero; whole seconds are exact in any unit.
        shift = max(0, -min(_time(packet) for packet in packets).__floor__())
        for packet in packets:
            _move(packet, Fraction(shift))
            packet.stream = copies[packet.stream.index]
            target.mux(packet)
            if buffer.tell() > LARGEST:
                raise LimitError("Audio and subtitles have more than 1 GB.", "Give --no-audio.")
    return StreamsRecord(
        [
            StreamRecord(
                "audio" if stream.type == "audio" else "subtitle",
                stream.codec_context.name,
                _language(stream),
            )
            for stream in streams
        ],
        round((start + shift) / NANOSECOND),
        kind,
        buffer.getvalue(),
    )


class StreamCopier:
    """Copies streams into a container beside the video.

    Args:
        record: The streams.
        target: Takes them; its video stream is already there.
        first, last: See `StreamsPart`; None is the end.
        notes: Takes remarks.

    Raises:
        CorruptError: they cannot be read.
    """

    def __init__(
        self,
        record: StreamsRecord,
        target: OutputContainer,
        first: Fraction,
        last: Fraction | None,
        notes: list[str],
    ) -> None:
        self._target = target
        try:
            self._source = av.open(io.BytesIO(record.data), "r", format=record.container)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise CorruptError(
                "The audio of the file cannot be read.", "Try --no-audio."
            ) from error
        self._start = record.start * NANOSECOND + first
        self._end = None if last is None else self._start + last - first
        self._copies = _copies(self._source, target, "the output cannot hold", notes)
        self._waiting: av.Packet[Stream] | None = None
        self._packets = self._read()

    def _read(self) -> Iterator[av.Packet[Stream]]:
        streams = [self._source.streams[index] for index in self._copies]
        if streams:
            try:
                yield from _between(self._source, streams, self._start, self._end)
            except av.FFmpegError as error:
                raise CorruptError(
                    "The audio of the file cannot be read.", "Try --no-audio."
                ) from error

    def write(self, until: Fraction | None) -> None:
        """Writes the packets up to a time of the output, or all that are left."""
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = packet
            if packet is None or (until is not None and _time(packet) - self._start > until):
                return
            _move(packet, -self._start)
            packet.stream = self._copies[packet.stream.index]
            self._target.mux(packet)
            self._waiting = None

    def close(self) -> None:
        """Frees the source."""
        self._source.close()


def _copies(
    source: InputContainer, target: OutputContainer, cannot: str, notes: list[str]
) -> dict[int, Stream]:
    """A stream of the target for each one of the source that it can hold, by its index."""
    copies = {}
    for stream in source.streams:
        if stream.type not in KINDS:
            continue
        codec = stream.codec_context.name if stream.codec_context else "unknown"
        try:
            copy = target.add_stream_from_template(stream)
        except (ValueError, TypeError, av.FFmpegError):
            notes.append(f"{stream.type} ({codec}) is left out: {cannot} it")
            continue
        if language := _language(stream):
            copy.metadata["language"] = language
        copies[stream.index] = copy
    return copies


def _language(stream: Stream) -> str:
    return stream.language if stream.language not in (None, "und") else ""


def _between(
    source: InputContainer,
    streams: Sequence[Stream],
    start: Fraction,
    end: Fraction | None,
) -> Iterator[av.Packet[Stream]]:
    """Packets of some streams in their order, of a cut those that are heard between two times."""
    for packet in source.demux(streams):
        if packet.pts is None or packet.dts is None:
            continue
        time = _time(packet)
        if end is not None and time >= end:
            continue
        if end is not None and time + (packet.duration or 0) * packet.time_base <= start:
            continue
        yield packet


def _time(packet: av.Packet[Stream]) -> Fraction:
    assert packet.pts is not None  # see _between
    return packet.pts * packet.time_base


def _move(packet: av.Packet[Stream], seconds: Fraction) -> None:
    """Moves a packet in time, to the nearest unit."""
    assert packet.pts is not None and packet.dts is not None
    units = round(seconds / packet.time_base)
    packet.pts += units
    packet.dts += units
