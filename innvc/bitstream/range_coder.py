"""The range coder, compiled (docs/format.md, section 10): one function codes and decodes.

Its stream is that of the `queue` coder of the library constriction, with 32-bit words and a 64-bit
state. Whole calls are compiled, for a call from Python costs more than a hundred symbols.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from innvc.compiled import compiled, inlined

PRECISION = 24  # bits of the frequencies' sum
ODDS = 64  # of flags

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


@inlined
def narrow(state: np.ndarray, words: np.ndarray, first: int, frequency: int) -> None:
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
def position_in(state: np.ndarray) -> Any:
    """Where in the frequencies the point lies; 2^24 and more is corrupt."""
    return np.int64((state[POINT] - state[LOW]) // (state[RANGE] >> _PRECISION))


@compiled
def code_bits(state: np.ndarray, words: np.ndarray, bits: int, value: int) -> int:
    """Codes or decodes an unsigned number of up to 32 bits, more than 16 of them in two parts."""
    decoding = state[DECODING] != _NONE
    result, left = 0, bits
    while left > 0:
        size = left - 16 if left > 16 else left
        left -= size
        shift = PRECISION - size
        part = value >> left & ((1 << size) - 1)
        if decoding:
            part = position_in(state) >> shift
            if part >= 1 << size:
                return INVALID
        narrow(state, words, part << shift, 1 << shift)
        result = result << size | part
    return result


@compiled
def in_order(keys: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
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
    order, _ = in_order(odds, ODDS)
    for i in order:
        zero = (1 << PRECISION) - frequency[odds[i]]
        if decoding:
            place = position_in(state)
            if place >= 1 << PRECISION:
                return False
            flags[i] = place >= zero
        first, size = (zero, frequency[odds[i]]) if flags[i] else (0, zero)
        narrow(state, words, first, size)
    for i in range(len(classes)):
        counts[classes[i], np.int64(flags[i])] += 1
    return True


@compiled
def code_numbers(stream: Stream, bits: int, values: np.ndarray) -> bool:
    """Codes unsigned numbers of up to 16 bits, or decodes into `values` [n]."""
    state, words = stream
    for i in range(len(values)):
        values[i] = code_bits(state, words, bits, values[i])
        if values[i] < 0:
            return False
    return True


@compiled
def code_flag(stream: Stream, counts: np.ndarray, number: int, value: bool) -> int:
    """Codes or decodes a flag of class `number` by its own counts [classes, 2]; and counts it."""
    count = counts[number]
    ones = (count[1] << PRECISION) // (count[0] + count[1])
    flag = code_likely(stream, (1 << PRECISION) - ones, value)
    count_flag(count, flag, RECENT)
    return flag


@compiled
def code_likely(stream: Stream, zero: int, value: bool) -> int:
    """Codes or decodes a flag whose 0 has the frequency `zero`."""
    state, words = stream
    if state[DECODING] != _NONE:
        place = position_in(state)
        if place >= 1 << PRECISION:
            state[DECODING] = BROKEN
        value = place >= zero
    low, size = (zero, (1 << PRECISION) - zero) if value else (0, zero)
    narrow(state, words, low, size)
    return 1 if value else 0


@compiled
def count_flag(count: np.ndarray, flag: int, recent: int) -> None:
    """Counts a flag of zeros and ones [2], which are halved where they were `recent` or more."""
    full = count[0] + count[1] >= recent
    count[flag] += 1
    if full:
        count[0], count[1] = (count[0] + 1) >> 1, (count[1] + 1) >> 1


@compiled
def code_number(stream: Stream, bits: int, value: int) -> int:
    """Codes or decodes an unsigned number with equal probabilities."""
    state, words = stream
    value = code_bits(state, words, bits, value)
    if value < 0:
        state[DECODING] = BROKEN
        return 0
    return value
