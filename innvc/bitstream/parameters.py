"""Quantised parameters: integers times a power of two, as differences from the starting point.

Each tensor has its step 2^-e and two table indexes. The signs of all elements (-1, 0, 1) are coded
under the first table, the magnitudes beyond 1 of the others under the second. A tensor at its
start value costs one bit. docs/format.md has the layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from innvc.bitstream import tables
from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.segment import ParameterRecord
from innvc.model.model import InnvcModel, kind_of

EXPONENT_BITS = 4
TABLE_BITS = 6


@dataclass(frozen=True)
class CodedTensor:
    """Differences from the start value: `steps` times 2^-`exponent`, flat, in coding order."""

    steps: np.ndarray  # int32 [n]
    exponent: int  # 0..15


def encode(tensors: Mapping[str, CodedTensor]) -> bytes:
    """Codes tensors in the order of the mapping."""
    coder = Encoder()
    for tensor in tensors.values():
        changed = bool(tensor.steps.any())
        coder.integers(1, np.array([changed]))
        if not changed:
            continue
        signs = np.sign(tensor.steps)
        rest = _fold(np.abs(tensor.steps[signs != 0]) - 1)
        first, second = _best_table(signs), _best_table(rest)
        coder.integers(EXPONENT_BITS, np.array([tensor.exponent]))
        coder.integers(TABLE_BITS, np.array([first, second]))
        coder.code(np.full(len(signs), first, np.uint8), signs)
        coder.code(np.full(len(rest), second, np.uint8), rest)
    return coder.finish()


def decode(data: bytes, sizes: Mapping[str, int]) -> dict[str, CodedTensor]:
    """Reads tensors of the given element counts.

    Raises:
        CorruptError: the data is not a valid code.
    """
    coder = Decoder(data)
    tensors = {}
    for name, size in sizes.items():
        if not coder.integers(1, 1)[0]:
            tensors[name] = CodedTensor(np.zeros(size, np.int32), 0)
            continue
        exponent = int(coder.integers(EXPONENT_BITS, 1)[0])
        first, second = coder.integers(TABLE_BITS, 2)
        steps = coder.code(np.full(size, first, np.uint8))
        nonzero = steps != 0
        rest = coder.code(np.full(int(nonzero.sum()), second, np.uint8))
        steps[nonzero] = np.sign(steps[nonzero]) * (_unfold(rest) + 1)
        tensors[name] = CodedTensor(steps, exponent)
    return tensors


def _fold(magnitude: np.ndarray) -> np.ndarray:
    """0, 1, 2, 3, 4 ... to 0, -1, 1, -2, 2 ...: magnitudes under a symmetric table."""
    return np.where(magnitude % 2, -(magnitude + 1) // 2, magnitude // 2).astype(np.int32)


def _unfold(symbol: np.ndarray) -> np.ndarray:
    return np.where(symbol < 0, -2 * symbol - 1, 2 * symbol)


def _best_table(symbols: np.ndarray) -> int:
    """The table under which the symbols cost least."""
    if not symbols.size:
        return 0
    values, counts = np.unique(np.abs(symbols), return_counts=True)
    best, least = 0, np.inf
    for index, bits in enumerate(tables.bits()):
        half = len(bits) // 2
        outside = values > half
        escape = 24 + 8 + 2 * np.log2(np.maximum(values, 1))
        cost = np.where(outside, escape, bits[half + np.minimum(values, half)])
        total = float((cost * counts).sum())
        if total < least:
            best, least = index, total
    return best


KINDS = ("side", "grid", "weights")


def write_record(tensors: Mapping[str, CodedTensor]) -> ParameterRecord:
    """Codes all parameters of a model, by kind, each kind in the model's order."""
    coded = {
        kind: encode({n: t for n, t in tensors.items() if kind_of(n) == kind}) for kind in KINDS
    }
    return ParameterRecord(**coded)


@torch.no_grad()
def read_record(record: ParameterRecord, model: InnvcModel) -> None:
    """Adds the coded differences to a model at its start values."""
    masks = model.coding_masks()
    parameters = dict(model.named_parameters())
    for kind in KINDS:
        names = [n for n in parameters if kind_of(n) == kind]
        sizes = {n: int(masks[n].sum()) if n in masks else parameters[n].numel() for n in names}
        for name, tensor in decode(getattr(record, kind), sizes).items():
            difference = torch.from_numpy(tensor.steps * 2.0**-tensor.exponent)
            flat = parameters[name].view(-1)
            difference = difference.to(flat.device, flat.dtype)
            if name in masks:
                flat[masks[name]] += difference
            else:
                flat += difference
