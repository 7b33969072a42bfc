"""Chunks, which an .innv file consists of after its signature (docs/format.md).

Every chunk has a CRC-32. Every length is compared with the bytes that are left before it is used.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO, NamedTuple

from innvc.errors import CorruptError, LimitError

SIGNATURE = b"\x89INNV\r\n\x1a"
VERSION = (0, 20)
PREAMBLE_BYTES = len(SIGNATURE) + 2
CHUNK_OVERHEAD = 12  # id, length, CRC-32
TAIL_BYTES = CHUNK_OVERHEAD + 8  # the TEND chunk
CRITICAL = (b"HEAD", b"SEGM", b"PARM", b"PACK", b"INDX", b"TEND")
PIECE_BYTES = 1 << 20
_LIMITS = {
    b"HEAD": "header-bytes",
    b"PARM": "chunk-bytes",
    b"PACK": "chunk-bytes",
    b"strm": "chunk-bytes",
}


def is_name(name: bytes) -> bool:
    """Whether these bytes can be the id of a chunk: four ASCII letters."""
    return len(name) == 4 and name.isascii() and name.isalpha()


class Chunk(NamedTuple):
    """A chunk of a file: its id and where its payload is."""

    name: bytes
    start: int  # of the payload
    length: int

    @property
    def end(self) -> int:
        """The offset after the CRC."""
        return self.start + self.length + 4


class ChunkReader:
    """Reads the chunks of a file at any offset.

    Args:
        file: A file that can be sought.

    Attributes:
        size_bytes: The size of the file.
        stop: The end of the bytes that chunks may use; at first that of the file.

    Raises:
        CorruptError: the file is damaged or cut short. Every method raises it.
        LimitError: a chunk is longer than it may be.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size_bytes = file.seek(0, os.SEEK_END)
        self.stop = self.size_bytes

    def head(self, offset: int) -> Chunk:
        """The chunk at an offset, by its id and length; nothing else of it is read."""
        if offset + CHUNK_OVERHEAD > self.stop:
            raise CorruptError(f"The file is cut short at byte {offset}.")
        name, length = struct.unpack("<4sI", self.read(offset, 8))
        if not is_name(name):
            raise CorruptError(f"There is no chunk at byte {offset}.")
        if length > self.stop - offset - CHUNK_OVERHEAD:
            raise CorruptError(f"The {name.decode()} chunk at byte {offset} is cut short.")
        return Chunk(name, offset + 8, length)

    def chunk(self, offset: int, name: bytes, limit: int, crc: int = 0) -> tuple[Chunk, bytes]:
        """Reads the chunk of a name at an offset, and its payload.

        Args:
            offset: Where the chunk begins.
            name: Its id.
            limit: Bytes that its payload may have.
            crc: CRC-32 of bytes before the chunk that its own CRC covers.
        """
        chunk = self.head(offset)
        if chunk.name != name:
            found = f"{chunk.name.decode()} instead of {name.decode()}"
            raise CorruptError(f"There is a chunk {found} at byte {offset}.")
        if chunk.length > limit:
            raise LimitError(
                f"The {name.decode()} chunk has {chunk.length} bytes, above the limit of {limit}.",
                "If you trust the file, raise it: "
                f"--limit {_LIMITS.get(name, 'record-bytes')}=VALUE.",
            )
        return chunk, self.check_crc(chunk, crc, keep=True)

    def check_crc(self, chunk: Chunk, crc: int = 0, keep: bool = False) -> bytes:
        """Checks the CRC of a chunk; returns its payload where asked to keep it."""
        pieces = []
        crc = zlib.crc32(chunk.name + struct.pack("<I", chunk.length), crc)
        step = chunk.length if keep else PIECE_BYTES
        for start in range(0, chunk.length, max(step, 1)):
            piece = self.read(chunk.start + start, min(step, chunk.length - start))
            crc = zlib.crc32(piece, crc)
            if keep:
                pieces.append(piece)
        if self.read(chunk.end - 4, 4) != struct.pack("<I", crc):
            raise CorruptError(
                f"The {chunk.name.decode()} chunk at byte {chunk.start - 8} is damaged."
            )
        return b"".join(pieces)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes, which the caller knows the file to have."""
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) != size:
            raise CorruptError(f"The file ends within {size} bytes from byte {offset}.")
        return data
