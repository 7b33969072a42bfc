"""The symbol coder: a range coder with frozen or adaptive tables, one call for both directions.

Everything that touches `constriction` is here. Symbols of one call are sorted by table (stable) and
coded run by run; symbols outside a table's alphabet follow as escapes in Elias-gamma form.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import constriction
import numpy as np

from innvc.bitstream import tables
from innvc.bitstream.adaptive import AdaptiveTables
from innvc.errors import CorruptError
from innvc.model.parameter_layout import step_sizes

SYMBOL_LIMIT = 1 << 24  # of |symbol|
_models: Any = constriction.stream.model


def _model_of(frequencies: np.ndarray) -> Any:
    # (f - 1) with perfect=False keeps our integer frequencies exactly (sum 2^24).
    return _models.Categorical((frequencies.astype(np.int64) - 1).astype(np.float64), perfect=False)


@cache
def _table_model(index: int) -> Any:
    return _model_of(tables.frequencies()[index])


def _model(key: int, adaptive: AdaptiveTables | None) -> Any:
    if adaptive is None:
        return _table_model(key)
    if key not in adaptive.models:
        changed = adaptive.changed.get(key)
        own = _table_model(key % tables.COUNT)
        adaptive.models[key] = own if changed is None else _model_of(changed)
    return adaptive.models[key]


@cache
def _halves() -> np.ndarray:
    """The largest symbol of each table."""
    return np.array([len(frequencies) // 2 - 1 for frequencies in tables.frequencies()], np.int32)


class _Runs:
    """Symbols of one call in the order in which they are coded: runs of one key."""

    def __init__(self, keys: np.ndarray, adaptive: AdaptiveTables | None) -> None:
        self.order = np.argsort(keys, kind="stable")
        counts = np.bincount(keys)
        self.keys = np.flatnonzero(counts)
        self.lengths = counts[self.keys]
        self.halves = _halves()[self.keys % tables.COUNT]
        self.half = np.repeat(self.halves, self.lengths)  # of each symbol
        ends = np.cumsum(self.lengths)
        models = [_model(key, adaptive) for key in self.keys.tolist()]
        self._parts = models, (ends - self.lengths).tolist(), ends.tolist(), self.halves.tolist()

    def __iter__(self) -> Iterator[tuple[Any, int, int, int]]:
        """Model, start, end and largest symbol of each run."""
        return zip(*self._parts, strict=True)


@cache
def _uniform(bits: int) -> Any:
    return _models.Uniform(1 << bits)


@cache
def _flag_model(index: int) -> Any:
    one, zero = int(step_sizes()[index]), int(step_sizes()[-1 - index])
    frequency = (one << 24) // (one + zero)
    weights = np.array([(1 << 24) - frequency - 1, frequency - 1], np.float64)
    return _models.Categorical(weights, perfect=False)


class Encoder:
    """Codes symbols into bytes. `code` has the decoder's signature."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def code(
        self,
        scale: np.ndarray,
        symbols: np.ndarray | None,
        adaptive: AdaptiveTables | None = None,
    ) -> np.ndarray:
        """Codes int symbols [n] under the tables `scale` [n]; returns the symbols.

        Args:
            adaptive: Takes `scale` as its keys, and learns from the symbols.
        """
        assert symbols is not None
        runs = _Runs(scale, adaptive)
        values = symbols[runs.order]
        escaped = np.abs(values) > runs.half
        entries = np.where(escaped, 2 * runs.half + 1, values + runs.half).astype(np.int32)
        encode, escapes = self._coder.encode, bool(escaped.any())
        for model, start, end, half in runs:
            encode(entries[start:end], model)
            if escapes:
                for value in values[start:end][escaped[start:end]]:
                    self._escape(int(value), half)
        if adaptive is not None:
            adaptive.count(runs.keys, runs.lengths, entries)
        return symbols

    def flags(self, odds: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        """Codes bits [n], each 1 at the odds 2^((2 k - 63) / 4) for its k in `odds`."""
        assert values is not None
        for index in np.unique(odds):
            self._coder.encode(values[odds == index].astype(np.int32), _flag_model(int(index)))
        return values

    def _escape(self, value: int, half: int) -> None:
        excess = abs(value) - half  # at least 1
        length = excess.bit_length() - 1
        self._number(length, 5)
        self._number(int(value < 0), 1)
        if length:
            self._number(excess - (1 << length), length)

    def _number(self, value: int, bits: int) -> None:
        if bits > 16:
            self._number(value >> 16, bits - 16)
            value, bits = value & 0xFFFF, 16
        self._coder.encode(np.array([value], dtype=np.int32), _uniform(bits))

    def integers(self, bits: int, values: np.ndarray | None) -> np.ndarray:
        """Codes unsigned integers [n] of up to 16 bits with equal probabilities."""
        assert values is not None
        if values.size:
            self._coder.encode(values.astype(np.int32), _uniform(bits))
        return values

    def finish(self) -> bytes:
        """The shortest bytes that decode to what was coded (missing ones are read as zeros)."""
        low, high = (self._continued(entry) for entry in (0, (1 << 24) - 1))
        length = next(i for i, (a, b) in enumerate(zip(low, high, strict=True)) if a != b) + 1
        short = low.rstrip(b"\0")
        return short if len(short) <= length else high[:length].rstrip(b"\0")

    def _continued(self, entry: int) -> bytes:
        """What would be the bytes if more was coded: near an end of the range that is left."""
        coder = self._coder.clone()
        coder.encode(np.array([entry, entry], np.int32), _uniform(24))
        data: bytes = coder.get_compressed().astype(">u4").tobytes()
        return data.ljust(4 * (self._coder.num_words() + 4), b"\0")


class Decoder:
    """Reads what `Encoder` wrote. Data must have passed its CRC: damage is not detected here."""

    def __init__(self, data: bytes | memoryview) -> None:
        data = bytes(data)
        words = np.frombuffer(data + b"\0" * (-len(data) % 4), ">u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def code(
        self,
        scale: np.ndarray,
        symbols: np.ndarray | None = None,
        adaptive: AdaptiveTables | None = None,
    ) -> np.ndarray:
        """Symbols [n] (int32) under the tables `scale` [n]; see `Encoder.code`."""
        runs = _Runs(scale, adaptive)
        entries = np.empty(len(scale), np.int32)
        escaped: dict[int, int] = {}
        decode = self._coder.decode
        try:
            for model, start, end, half in runs:
                run = decode(model, end - start)
                entries[start:end] = run
                if 2 * half + 1 in run.tolist():
                    for i in np.flatnonzero(run == 2 * half + 1).tolist():
                        escaped[start + i] = self._escape(half)
        except AssertionError:
            raise CorruptError("The coded symbols are invalid.") from None
        if adaptive is not None:
            adaptive.count(runs.keys, runs.lengths, entries)
        values = entries - runs.half
        for place, value in escaped.items():
            values[place] = value
        result = np.empty(len(scale), np.int32)
        result[runs.order] = values
        return result

    def flags(self, odds: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        """Bits [n] (bool), each 1 at the odds 2^((2 k - 63) / 4) for its k in `odds`."""
        values = np.empty(len(odds), dtype=bool)
        for index in np.unique(odds):
            here = odds == index
            values[here] = self._decode(_flag_model(int(index)), int(here.sum()))
        return values

    def _escape(self, half: int) -> int:
        length = self._number(5)
        negative = self._number(1)
        if length > 24:
            raise CorruptError("An escaped symbol is out of range.")
        excess = (1 << length) + (self._number(length) if length else 0)
        return -(excess + half) if negative else excess + half

    def _number(self, bits: int) -> int:
        if bits > 16:
            return self._number(bits - 16) << 16 | self._number(16)
        return int(self._decode(_uniform(bits), 1)[0])

    def integers(self, bits: int, values: int) -> np.ndarray:
        """`values` unsigned integers of up to 16 bits with equal probabilities."""
        return self._decode(_uniform(bits), values) if values else np.empty(0, np.int32)

    def _decode(self, model: Any, count: int) -> np.ndarray:
        try:
            symbols: np.ndarray = self._coder.decode(model, count)
        except AssertionError:
            raise CorruptError("The coded symbols are invalid.") from None
        return symbols
