"""Symbols by tables of frequencies, frozen or adaptive, compiled (docs/format.md, section 10)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from innvc.bitstream.range_coder import (
    DECODING,
    INVALID,
    PRECISION,
    Stream,
    code_bits,
    in_order,
    narrow,
    position_in,
)
from innvc.bitstream.tables import LEVELS
from innvc.compiled import compiled, inlined

LONGEST = 256  # adaptive tables have at most so many entries
PERIOD = 8  # frequencies are renewed when all that is counted has grown by one in so many
COUNTED = 1 << 15  # symbols, after which all counts are halved


class Tables(NamedTuple):
    """Tables, and what their keys have coded.

    Attributes:
        sums: uint32, for the tables one after the other: the sums of the frequencies before each
            entry, and of all.
        keys: [keys, 6] int64, see below.
        counts: Of each key's entries [keys, LONGEST]; without rows the set does not learn.
        own: Sums as above, of each key's renewed frequencies [keys x (LONGEST + 1)].
    """

    sums: np.ndarray
    keys: np.ndarray
    counts: np.ndarray
    own: np.ndarray


# Of a key: where its table's sums begin; its entries; how many symbols the table counts as; the
# sum of its counts; that at which frequencies are renewed; whether they were.
BEGIN, SIZE, WEIGHT, TOTAL, DUE, RENEWED = range(6)


@inlined
def _entry(
    state: np.ndarray, words: np.ndarray, sums: np.ndarray, begin: int, size: int, entry: int
) -> int:
    """Codes or decodes an entry of a table whose sums begin at `begin`."""
    if state[DECODING] != np.uint64(0):
        place = position_in(state)
        if place >= 1 << PRECISION:
            return INVALID
        # From the middle, in strides that double.
        low, high, stride = 0, size, 1
        entry = size // 2 - 1
        if np.int64(sums[begin + entry]) <= place:
            low = entry
            while low + stride < size and np.int64(sums[begin + low + stride]) <= place:
                low += stride
                stride *= 2
            high = min(low + stride, size)
        else:
            high = entry
            while high - stride > 0 and np.int64(sums[begin + high - stride]) > place:
                high -= stride
                stride *= 2
            low = max(high - stride, 0)
        while high - low > 1:
            middle = (low + high) // 2
            if np.int64(sums[begin + middle]) <= place:
                low = middle
            else:
                high = middle
        entry = low
    first: Any = np.int64(sums[begin + entry])
    narrow(state, words, first, np.int64(sums[begin + entry + 1]) - first)
    return entry


@compiled
def _escape(state: np.ndarray, words: np.ndarray, half: int, symbol: int) -> int:
    """Codes or decodes a symbol of magnitude above `half`; 0 where the string is corrupt."""
    excess = abs(symbol) - half
    length = 0
    while excess >> (length + 1) > 0:
        length += 1
    negative, rest = 1 if symbol < 0 else 0, excess - (1 << length)
    for field in range(3):
        bits = 5 if field == 0 else 1 if field == 1 else length
        value = length if field == 0 else negative if field == 1 else rest
        value = code_bits(state, words, bits, value)
        if value < 0 or (field == 0 and value > 24):
            return 0
        if field == 0:
            length = value
        elif field == 1:
            negative = value
        else:
            rest = value
    excess = half + (1 << length) + rest
    return -excess if negative else excess


@compiled
def code(stream: Stream, tables: Tables, keys: np.ndarray, symbols: np.ndarray) -> bool:
    """Codes symbols, or decodes into them, in the order of their keys; and learns.

    Args:
        keys: [n].
        symbols: [n].

    Returns:
        Whether the string is valid.
    """
    state, words = stream
    order, place = in_order(keys, len(tables.keys))
    decoding = state[DECODING] != np.uint64(0)
    learning = len(tables.counts) > 0
    start = 0
    while start < len(order):
        key: Any = np.int64(keys[order[start]])
        end = place[key]
        own = tables.keys[key]
        begin, size, sums = own[BEGIN], own[SIZE], tables.sums
        if own[RENEWED]:
            begin, sums = key * (LONGEST + 1), tables.own
        half = size // 2 - 1
        adapts = learning and size <= LONGEST
        escapes = False
        for i in order[start:end]:
            entry = size - 1
            if not decoding and abs(symbols[i]) <= half:
                entry = symbols[i] + half
            entry = _entry(state, words, sums, begin, size, entry)
            if entry < 0:
                return False
            if decoding:
                symbols[i] = entry - half
            escapes |= entry == size - 1
            if adapts:
                tables.counts[key, entry] += 1
        if escapes:
            for i in order[start:end]:
                if symbols[i] < -half or symbols[i] > half:
                    symbols[i] = _escape(state, words, half, symbols[i])
                    if symbols[i] == 0:
                        return False
        if adapts:
            own[TOTAL] += end - start
            if own[TOTAL] >= own[DUE]:
                _renew(tables, key)
        start = end
    return True


@compiled
def _renew(tables: Tables, key: int) -> None:
    """Frequencies from a key's table and its counts."""
    own = tables.keys[key]
    begin, size = own[BEGIN], own[SIZE]
    counts = tables.counts[key, :size]
    while own[TOTAL] >= COUNTED:
        own[TOTAL] = 0
        for i in range(size):
            counts[i] >>= 1
            own[TOTAL] += counts[i]
    weight = own[WEIGHT] + own[TOTAL]
    own[DUE] = own[TOTAL] + weight // PERIOD
    frequencies = np.empty(size, np.int64)
    for i in range(size):
        table = np.int64(tables.sums[begin + i + 1]) - np.int64(tables.sums[begin + i])
        frequencies[i] = max((table * own[WEIGHT] + (counts[i] << PRECISION)) // weight, 1)
    likeliest, left = 0, 1 << PRECISION
    for i in range(size):
        left -= frequencies[i]
        if frequencies[i] > frequencies[likeliest]:
            likeliest = i
    frequencies[likeliest] += left  # what rounding takes or gives
    before = 0
    for i in range(size):
        before += frequencies[i]
        tables.own[key * (LONGEST + 1) + i + 1] = before
    own[RENEWED] = 1


@compiled
def code_paths(
    stream: Stream,
    tables: Tables,
    planes: np.ndarray,
    following: np.ndarray,
    states: np.ndarray,
    places: np.ndarray,
    scale: np.ndarray,
    symbols: np.ndarray,
    half: np.ndarray,
) -> bool:
    """Codes symbols of channels, or decodes into them, in turns of one channel of each plane.

    Args:
        planes: Of the channels; all -1 in independent quantisation, where there is one turn.
        following: The next state, by state and parity; odd states have quantiser 1.
        states, places, scale, symbols: See `dependent.SymbolCoder.code`.
        half: Takes the half steps [channels, n].

    Returns:
        Whether the string is valid.
    """
    channels, count = symbols.shape
    left = np.ones(channels, np.bool_)
    keys = np.empty(channels * count, np.int64)
    turn = np.empty(channels * count, np.int32)
    coded = 0
    while coded < channels:
        # One channel of each plane is coded, or all where there are no paths.
        taken = np.zeros(len(states), np.bool_)
        chosen = np.zeros(channels, np.bool_)
        n = 0
        for c in range(channels):
            plane = planes[c]
            if not left[c] or (plane >= 0 and taken[plane]):
                continue
            chosen[c], left[c] = True, False
            coded += 1
            for i in range(count):
                keys[n] = scale[c, places[i]]
                turn[n] = symbols[c, i]
                if plane >= 0:
                    taken[plane] = True
                    keys[n] += LEVELS * (1 + (states[plane, places[i]] & 1))
                n += 1
        if not code(stream, tables, keys[:n], turn[:n]):
            return False
        n = 0
        for c in range(channels):
            if not chosen[c]:
                continue
            plane = planes[c]
            for i in range(count):
                symbol = turn[n]
                n += 1
                symbols[c, i] = symbol
                half[c, i] = 2 * symbol
                if plane >= 0:
                    state = states[plane, places[i]]
                    if state & 1:
                        half[c, i] -= np.sign(symbol)
                    states[plane, places[i]] = following[state, symbol & 1]
    return True
