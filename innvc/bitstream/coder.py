"""The symbol coder: a range coder with frozen or adaptive tables, one call for both directions.

Symbols of one call are sorted by table (stable); symbols outside a table's alphabet follow their
run as escapes in Elias-gamma form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache

import numpy as np

from innvc.bitstream import range_coder, table_coder
from innvc.bitstream.adaptive import AdaptiveTables, frozen
from innvc.bitstream.range_coder import PENDING, POINT, POSITION, PRECISION, RANGE, Stream
from innvc.errors import CorruptError
from innvc.model.parameter_layout import step_sizes

SYMBOL_LIMIT = 1 << 24  # of |symbol|


@cache
def _frequency_of_one() -> np.ndarray:
    """The frequency of a flag's 1, by its odds."""
    one = np.array(step_sizes(), np.int64)
    result: np.ndarray = (one << PRECISION) // (one + one[::-1])
    return result


class _Coder(ABC):
    """What both directions share."""

    stream: Stream

    def code(
        self,
        keys: np.ndarray,
        symbols: np.ndarray | None = None,
        adaptive: AdaptiveTables | None = None,
    ) -> np.ndarray:
        """Codes int symbols [n], or decodes them where they are None, and returns them (int32).

        Args:
            keys: Table of each symbol [n].
            adaptive: Has the tables, and learns from the symbols; None is the frozen ones.

        Raises:
            CorruptError: the string is invalid.
        """
        symbols = self.room(len(keys), symbols, np.int32)
        tables = (adaptive or frozen()).tables
        keys = keys.astype(np.int64, copy=False)
        self.check(table_coder.code(self.stream, tables, keys, symbols))
        return symbols

    def flags(
        self, counts: np.ndarray, classes: np.ndarray, values: np.ndarray | None = None
    ) -> np.ndarray:
        """Codes or decodes bits [n] by how often each was 0 or 1 before (docs/format.md).

        Args:
            counts: Zeros and ones before, by class [classes, 2]; these are added.
            classes: Of the bits [n].
        """
        flags = self.room(len(classes), values, np.bool_)
        classes = classes.astype(np.int64)
        self.check(range_coder.code_flags(self.stream, _frequency_of_one(), counts, classes, flags))
        return flags

    @abstractmethod
    def room(self, count: int, values: np.ndarray | None, kind: type) -> np.ndarray:
        """A copy of the values to code, or room for those to decode."""

    @abstractmethod
    def reserve(self, count: int) -> None:
        """Makes room for coded symbols, or flags; there is enough to read."""

    @staticmethod
    def check(valid: bool) -> None:
        if not valid:
            raise CorruptError("The coded symbols are invalid.")


class Encoder(_Coder):
    """Codes symbols into bytes."""

    def __init__(self) -> None:
        self.stream = Stream(
            np.array([0, -1, 0, 0, 0, 0]).astype(np.uint64), np.empty(16, np.uint32)
        )

    def room(self, count: int, values: np.ndarray | None, kind: type) -> np.ndarray:
        assert values is not None and len(values) == count
        self.reserve(count)
        return np.array(values, kind)

    def reserve(self, count: int) -> None:
        state, words = self.stream
        used = int(state[POSITION] + state[PENDING])
        if used + 2 * count + 4 > len(words):
            words = np.concatenate([words, np.empty(len(words) + 2 * count + 4, np.uint32)])
            self.stream = Stream(state, words)

    def integers(self, bits: int, values: np.ndarray | None) -> np.ndarray:
        """Codes unsigned integers [n] of up to 16 bits with equal probabilities."""
        assert values is not None
        given = self.room(len(values), values, np.int64)
        self.check(range_coder.code_numbers(self.stream, bits, given))
        return values

    def finish(self) -> bytes:
        """The shortest bytes that decode to what was coded (missing ones are read as zeros)."""
        state, words = self.stream
        data = words[: int(state[POSITION])].astype(">u4").tobytes()
        if state[PENDING]:
            waiting = b"\xff" * 4 * (int(state[PENDING]) - 1)
            data += int(state[POINT]).to_bytes(4, "big") + waiting
        length = len(data) + 8
        first = int.from_bytes(data + int(state[0]).to_bytes(8, "big"), "big")
        low, high = (n.to_bytes(length, "big") for n in (first, first + int(state[RANGE]) - 1))
        differs = np.frombuffer(low, np.uint8) != np.frombuffer(high, np.uint8)
        common = int(differs.argmax()) + 1
        short = low.rstrip(b"\0")
        return short if len(short) <= common else high[:common].rstrip(b"\0")


class Decoder(_Coder):
    """Reads what `Encoder` wrote. Data must have passed its CRC: damage is not detected here."""

    def __init__(self, data: bytes | memoryview) -> None:
        data = bytes(data)
        data += b"\0" * (-len(data) % 4 + 8)
        words = np.frombuffer(data, ">u4").astype(np.uint32)
        state = np.array([0, -1, 0, 2, 0, 1]).astype(np.uint64)
        state[POINT] = int.from_bytes(data[:8], "big")
        self.stream = Stream(state, words)

    def room(self, count: int, values: np.ndarray | None, kind: type) -> np.ndarray:
        return np.empty(count, kind)

    def reserve(self, count: int) -> None:
        pass

    def integers(self, bits: int, count: int) -> np.ndarray:
        """`count` unsigned integers of up to 16 bits with equal probabilities."""
        values = np.empty(count, np.int64)
        self.check(range_coder.code_numbers(self.stream, bits, values))
        return values
