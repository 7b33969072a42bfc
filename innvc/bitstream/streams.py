"""The strm chunk: audio and subtitles, copied as they were (docs/format.md, section 2)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from innvc.bitstream.record import Record

NAME = b"strm"


class StreamRecord(Record, frozen=True):
    """What one of the streams is; informative."""

    kind: Literal["audio", "subtitle"]
    codec: Annotated[str, Meta(max_length=64)]
    language: Annotated[str, Meta(max_length=64)]


class StreamsRecord(Record, frozen=True):
    """The strm chunk: streams in a container of their own."""

    streams: Annotated[list[StreamRecord], Meta(min_length=1, max_length=1 << 10)]
    start: Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
    """Of the first frame of the video, in the time of the streams, in nanoseconds."""
    container: Literal["matroska", "mov"]
    data: Annotated[bytes, Meta(max_length=1 << 30)]
    """The container's file."""
