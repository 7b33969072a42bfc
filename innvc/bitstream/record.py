"""Base of the records of an .innv file: typed, bounded MessagePack arrays (docs/format.md).

A record is checked twice: msgspec checks types and bounds, ``validate`` what bounds cannot say.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from innvc.errors import CorruptError

U31 = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
U32 = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
Frames = Annotated[int, Meta(ge=1, le=(1 << 31) - 1)]


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all records."""

    def validate(self) -> None:
        """Checks what types and bounds cannot express.

        Raises:
            ValueError: the fields contradict each other; the message says how.
            UnsupportedError: a name is unknown to this version.
        """


R = TypeVar("R", bound=Record)


def encode_record(record: Record) -> bytes:
    """Encodes a record as MessagePack, after the same checks that reading applies.

    Raises:
        ValueError: the record is invalid (msgspec.ValidationError is one too).
        UnsupportedError: a name is unknown to this version.
    """
    payload = msgspec.msgpack.encode(record)
    msgspec.msgpack.decode(payload, type=type(record)).validate()
    return payload


def decode_record(payload: bytes | memoryview, kind: type[R], chunk: str) -> R:
    """Decodes and validates the record of a chunk.

    Raises:
        CorruptError: the bytes are not a valid record of this kind.
        UnsupportedError: a name is unknown to this version.
    """
    try:
        record = msgspec.msgpack.decode(payload, type=kind)
        record.validate()
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        reason = str(error).rstrip(".")
        raise CorruptError(f"The {chunk} chunk is invalid: {reason}.") from error
    return record
