"""Flags under several classes each, mixed in the logistic domain (docs/format.md, section 14).

Each class of a flag tells by its counts how likely a 1 is. The flag is coded by the sum of these
log-odds, with weights that follow the flags before (Mahoney, Adaptive weighing of context models
for lossless data compression, 2005, and his later PAQ7). All in integers.
"""

from __future__ import annotations

from math import exp, log
from typing import NamedTuple

import numpy as np

from innvc.bitstream.range_coder import PRECISION, Stream, code_flag, code_likely, count_flag
from innvc.compiled import compiled

INPUTS = 5  # most classes of a flag
CLASSES = 4096  # of one input of one kind
SETS = 16  # of weights, of one kind
RECENT = 127  # flags of a class, after which their counts are halved
UNIT = 256  # of log-odds
ONE = 1 << 16  # of probabilities, and the sum of a flag's weights before the first
LIMIT = 2047  # of the sum of log-odds
SLOWNESS = 15  # bits by which errors are shifted to move weights

# UNIT times the log of 2 n - 1; odds are those of two counts.
LOGS = np.array([0] + [round(UNIT * log(2 * n - 1)) for n in range(1, RECENT + 2)])
LOGISTIC = np.array([round(ONE / (1 + exp(-n / UNIT))) for n in range(-LIMIT, LIMIT + 1)])


class Mixer(NamedTuple):
    """What flags before have told.

    Attributes:
        counts: Of zeros and ones, int32 [kinds, INPUTS, CLASSES, 2].
        weights: int64 [kinds, SETS, INPUTS].
        inputs: How many classes a flag has, by kind.
        classes: Of the flag that comes next, int64 [INPUTS].
        mixed: False codes a flag by its first class alone.
    """

    counts: np.ndarray
    weights: np.ndarray
    inputs: np.ndarray
    classes: np.ndarray
    mixed: bool


def mixer(inputs: list[int], mixed: bool) -> Mixer:
    """Before the first flag.

    Args:
        inputs: Classes of a flag, by kind.
    """
    counts = np.ones((len(inputs), INPUTS, CLASSES, 2), np.int32)
    weights = np.zeros((len(inputs), SETS, INPUTS), np.int64)
    for kind, count in enumerate(inputs):
        weights[kind, :, :count] = ONE // count
    return Mixer(counts, weights, np.array(inputs), np.zeros(INPUTS, np.int64), mixed)


@compiled
def code_mixed(stream: Stream, mixer: Mixer, kind: int, chosen: int, value: bool) -> int:
    """Codes or decodes a flag of the classes that the mixer has.

    Args:
        chosen: Which weights.
    """
    counts, weights = mixer.counts[kind], mixer.weights[kind, chosen]
    if not mixer.mixed:
        return int(code_flag(stream, counts[0], mixer.classes[0], value))
    inputs, total = mixer.inputs[kind], 0
    evidence = np.empty(inputs, np.int64)
    for n in range(inputs):
        zeros, ones = counts[n, mixer.classes[n]]
        evidence[n] = LOGS[ones] - LOGS[zeros]
        total += weights[n] * evidence[n]
    likely = LOGISTIC[min(max(total // ONE, -LIMIT), LIMIT) + LIMIT]
    zero = (ONE - likely) << (PRECISION - 16)
    flag = code_likely(stream, zero, value)
    error = flag * ONE - likely
    for n in range(inputs):
        weights[n] += (error * evidence[n]) >> SLOWNESS
        count_flag(counts[n, mixer.classes[n]], flag, RECENT)
    return flag
