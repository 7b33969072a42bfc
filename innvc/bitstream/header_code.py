"""The deflated HEAD chunk (docs/format.md, section 2)."""

from __future__ import annotations

import zlib

from innvc.errors import CorruptError, LimitError

FIRST_MINOR = 17  # minor version of the format from which on HEAD is deflated
# What it may refer to: names and numbers, and the header of a 4:2:0 file.
DICTIONARY = bytes.fromhex("""
    a467726179a86762727031326c65a779757634343470ab7975763432327031306c65921e0192190192320192cdea60cd
    03e992cd5dc0cd03e9a4736c6f77a466617374a7696e7374616e74dc0013cd0780cd0438ab7975763432307031306c65
    2092cd7530cd03e9920000010101010192010100cd0100cb3fe0000000000000a66d656469756d1fab696e6e76632030
    2e312e30dc00120204a364637420dc001f010306090c0f12151819181716151413100e0d0c0b0a090807060504030201
    940305080f90c09ac3c300060c92cd0200ccc0c3c2c30806aa6d6f64756c6174696f6ec3c3c3c3c3c3cd0100
""")


def deflated(record: bytes) -> bytes:
    """The payload of HEAD for a record."""
    coder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=DICTIONARY)
    return coder.compress(record) + coder.flush()


def inflated(payload: bytes, limit: int) -> bytes:
    """The record in a payload of HEAD, of at most `limit` bytes.

    Raises:
        CorruptError: it is not a DEFLATE stream.
        LimitError: the record is longer.
    """
    coder = zlib.decompressobj(-zlib.MAX_WBITS, zdict=DICTIONARY)
    try:
        record = coder.decompress(payload, limit + 1)
    except zlib.error as error:
        raise CorruptError("The HEAD chunk is invalid: it cannot be inflated.") from error
    if len(record) > limit:
        raise LimitError(
            f"The HEAD chunk has a record of more than {limit} bytes, the limit.",
            "If you trust the file, raise it: --limit header-bytes=VALUE.",
        )
    if not coder.eof or coder.unused_data:
        raise CorruptError("The HEAD chunk is invalid: it is not one DEFLATE stream.")
    return record
