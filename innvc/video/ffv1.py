"""Checksums of FFV1 slices (RFC 9043, section 4.9), which FFmpeg's decoder conceals."""

from __future__ import annotations

import zlib

_SIZE_BYTES = 3
_FOOTER_BYTES = 8  # slice size, error status, CRC-32
# FFV1 takes bits from the most significant end and zlib from the other: reverse them in a byte.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_NO_INVERSION = 0xFFFFFFFF


def slices(packet: bytes) -> list[bytes] | None:
    """Cuts a packet into its slices, last one first; None where there are no checksums."""
    found = []
    end = len(packet)
    while end:
        if end < _FOOTER_BYTES:
            return None
        footer = end - _FOOTER_BYTES
        start = footer - int.from_bytes(packet[footer : footer + _SIZE_BYTES], "big")
        if start < 0:
            return None
        found.append(packet[start:end])
        end = start
    return found


def is_intact(slice_: bytes) -> bool:
    """Whether a slice agrees with the checksum in its last four bytes."""
    return zlib.crc32(slice_.translate(_REVERSED), _NO_INVERSION) == _NO_INVERSION


class SliceCheck:
    """Checks the packets of one stream; the first tells whether the stream has checksums."""

    def __init__(self) -> None:
        self._has_checksums: bool | None = None

    def is_intact(self, packet: bytes) -> bool:
        """Whether every slice of the next packet is as it was written, as far as can be told."""
        if self._has_checksums is False:
            return True
        parts = slices(packet)
        if self._has_checksums is None:
            # One good slice is enough: chance does not give a chain that ends at byte 0 and fits.
            self._has_checksums = parts is not None and any(map(is_intact, parts))
            if not self._has_checksums:
                return True
        return parts is not None and all(map(is_intact, parts))
