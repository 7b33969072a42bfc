"""The range coder, compiled (docs/format.md, section 10): one function codes and decodes.

Its stream is that of the `queue` coder of the library constriction, with 32-bit words and a 64-bit
state. Whole calls are compiled, for a call from Python costs more than a hundred symbols.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from innvc.bitstream.tables import LEVELS
from innvc.compiled import compiled, inlined

PRECISION = 24  # bits of the frequencies' sum
LONGEST = 256  # adaptive tables have at most so many entries
PERIOD = 8  # frequencies are renewed when all that is counted has grown by one in so many
ODDS = 64  # of flags
COUNTED = 1 << 15  # symbols, after which all counts are halved

LOW, RANGE, POINT, POSITION, PENDING, DECODING = range(6)  # of a state
INVALID = -1
BROKEN = 2  # for DECODING, where the string turned out to be invalid
RECENT = 255  # flags of a class, after which their counts are halved
_WORD, _FULL = np.uint64(32), np.uint64(0xFFFFFFFF)
_PRECISION = np.uint64(PRECISION)
_NONE, _ONE = np.uint64(0), np.uint64(1)


class Stream(NamedTuple):
    """A string that is read or written.

    Attributes:
        state: [6] uint64: the lower end of the range, its size, the point in it (decoding) or the
            first of the words that wait for a carry (coding), the words read or written, the words
            that wait, and whether it is read.
        words: uint32, of the string; writing needs two for a symbol, and those that wait.
    """

    state: np.ndarray
    words: np.ndarray


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
def _narrow(state: np.ndarray, words: np.ndarray, first: int, frequency: int) -> None:
    """Goes on to an entry's part of the range."""
    scale = state[RANGE] >> _PRECISION
    before = state[LOW]
    low = before + scale * np.uint64(first)
    size = scale * np.uint64(frequency)
    decoding = state[DECODING] != _NONE
    if not decoding and state[PENDING] > _NONE and low + size > low:
        # Now it is known whether there is a carry into the words that wait.
        carry = low < before
        position = np.int64(state[POSITION])
        words[position] = np.uint32((state[POINT] + np.uint64(carry)) & _FULL)
        for i in range(1, np.int64(state[PENDING])):
            words[position + i] = np.uint32(0) if carry else np.uint32(_FULL)
        state[POSITION] += state[PENDING]
        state[PENDING] = _NONE
    if size < _ONE << _WORD:
        word = low >> _WORD
        low, size = low << _WORD, size << _WORD
        if decoding:
            state[POINT] = state[POINT] << _WORD
            if state[POSITION] < np.uint64(len(words)):
                state[POINT] |= np.uint64(words[np.int64(state[POSITION])])
            state[POSITION] += _ONE
        elif state[PENDING] > _NONE:
            state[PENDING] += _ONE
        elif low + size > low:
            words[np.int64(state[POSITION])] = np.uint32(word)
            state[POSITION] += _ONE
        else:
            state[POINT], state[PENDING] = word, _ONE
    state[LOW], state[RANGE] = low, size


@inlined
def _place(state: np.ndarray) -> Any:
    """Where in the frequencies the point lies; 2^24 and more is corrupt."""
    return np.int64((state[POINT] - state[LOW]) // (state[RANGE] >> _PRECISION))


@inlined
def _entry(
    state: np.ndarray, words: np.ndarray, sums: np.ndarray, begin: int, size: int, entry: int
) -> int:
    """Codes or decodes an entry of a table whose sums begin at `begin`."""
    if state[DECODING] != _NONE:
        place = _place(state)
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
    _narrow(state, words, first, np.int64(sums[begin + entry + 1]) - first)
    return entry


@compiled
def _number(state: np.ndarray, words: np.ndarray, bits: int, value: int) -> int:
    """Codes or decodes an unsigned number of up to 32 bits, more than 16 of them in two parts."""
    decoding = state[DECODING] != _NONE
    result, left = 0, bits
    while left > 0:
        size = left - 16 if left > 16 else left
        left -= size
        shift = PRECISION - size
        part = value >> left & ((1 << size) - 1)
        if decoding:
            part = _place(state) >> shift
            if part >= 1 << size:
                return INVALID
        _narrow(state, words, part << shift, 1 << shift)
        result = result << size | part
    return result


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
        value = _number(state, words, bits, value)
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
def _sorted(keys: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of keys below `count`, equal ones as they come, and where each key's end."""
    ends = np.zeros(count + 1, np.int64)
    for i in range(len(keys)):
        if keys[i] < 0 or keys[i] >= count:
            raise IndexError("There is no table of this key.")
        ends[keys[i] + 1] += 1
    for key in range(count):
        ends[key + 1] += ends[key]
    order = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        order[ends[keys[i]]] = i
        ends[keys[i]] += 1
    return order, ends


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
    order, place = _sorted(keys, len(tables.keys))
    decoding = state[DECODING] != _NONE
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


@compiled
def odds_index(zeros: int, ones: int) -> int:
    """The k of 0..63 whose odds 2^((2 k - 63) / 4) are about ones : zeros."""
    # The exponent of (ones / zeros)^2, exact as both squares are.
    above, above_exponent = math.frexp(float(ones) * float(ones))
    below, below_exponent = math.frexp(float(zeros) * float(zeros))
    k = ODDS // 2 + above_exponent - below_exponent - (above < below)
    return min(max(k, 0), ODDS - 1)


@compiled
def code_flags(
    stream: Stream,
    frequency: np.ndarray,
    counts: np.ndarray,
    classes: np.ndarray,
    flags: np.ndarray,
) -> bool:
    """Codes flags [n], or decodes into them, in the order of their odds; and counts them.

    Args:
        frequency: Of a 1, by odds [ODDS].
        counts: Zeros and ones before, by class [classes, 2].
        classes: Of the flags [n].
    """
    state, words = stream
    decoding = state[DECODING] != _NONE
    odds = np.empty(len(classes), np.int64)
    for i in range(len(classes)):
        odds[i] = odds_index(counts[classes[i], 0], counts[classes[i], 1])
    order, _ = _sorted(odds, ODDS)
    for i in order:
        zero = (1 << PRECISION) - frequency[odds[i]]
        if decoding:
            place = _place(state)
            if place >= 1 << PRECISION:
                return False
            flags[i] = place >= zero
        first, size = (zero, frequency[odds[i]]) if flags[i] else (0, zero)
        _narrow(state, words, first, size)
    for i in range(len(classes)):
        counts[classes[i], np.int64(flags[i])] += 1
    return True


@compiled
def code_numbers(stream: Stream, bits: int, values: np.ndarray) -> bool:
    """Codes unsigned numbers of up to 16 bits, or decodes into `values` [n]."""
    state, words = stream
    for i in range(len(values)):
        values[i] = _number(state, words, bits, values[i])
        if values[i] < 0:
            return False
    return True


@compiled
def code_flag(stream: Stream, counts: np.ndarray, number: int, value: bool) -> int:
    """Codes or decodes a flag of class `number` by its own counts [classes, 2]; and counts it."""
    state, words = stream
    total = counts[number, 0] + counts[number, 1]
    first = (1 << PRECISION) - (counts[number, 1] << PRECISION) // total  # frequency of a 0
    if state[DECODING] != _NONE:
        place = _place(state)
        if place >= 1 << PRECISION:
            state[DECODING] = BROKEN
        value = place >= first
    low, size = (first, (1 << PRECISION) - first) if value else (0, first)
    _narrow(state, words, low, size)
    flag = 1 if value else 0
    counts[number, flag] += 1
    if total >= RECENT:
        counts[number, 0] = (counts[number, 0] + 1) >> 1
        counts[number, 1] = (counts[number, 1] + 1) >> 1
    return flag


@compiled
def code_number(stream: Stream, bits: int, value: int) -> int:
    """Codes or decodes an unsigned number with equal probabilities."""
    state, words = stream
    value = _number(state, words, bits, value)
    if value < 0:
        state[DECODING] = BROKEN
        return 0
    return value
