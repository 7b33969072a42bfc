"""The parameters of a segment: three coded strings to differences from the start values, and back.

Elements are coded under integer tables whose indexes are described by smaller integer vectors,
which are coded with a few numbers each in turn. docs/format.md has the layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.grids import CodedGrid, Shape, code_grids
from innvc.bitstream.segment import ParameterRecord
from innvc.bitstream.weights import CodedTensor, code_tensor
from innvc.model.model import kind_of
from innvc.model.parameter_layout import Matrix, matrix_of
from innvc.model.picture import SegmentModel

KINDS = ("side", "grid", "weights")
Coded = Mapping[str, CodedTensor | CodedGrid]


def encode(tensors: Sequence[CodedTensor], matrices: Sequence[Matrix]) -> bytes:
    """Codes tensors in their order."""
    coder = Encoder()
    for tensor, matrix in zip(tensors, matrices, strict=True):
        code_tensor(coder, matrix, tensor)
    return coder.finish()


def decode(data: bytes, matrices: Sequence[Matrix]) -> list[CodedTensor]:
    """Reads tensors.

    Raises:
        CorruptError: the data is not a valid code.
    """
    coder = Decoder(data)
    return [code_tensor(coder, matrix, None) for matrix in matrices]


def encode_grids(grids: Sequence[CodedGrid]) -> bytes:
    """Codes the levels of a feature grid, given from fine to coarse."""
    coder = Encoder()
    code_grids(coder, [grid.values.shape for grid in grids], grids)
    return coder.finish()


def decode_grids(data: bytes, shapes: Sequence[Shape]) -> list[CodedGrid]:
    """Reads the levels of a feature grid.

    Raises:
        CorruptError: the data is not a valid code.
    """
    return code_grids(Decoder(data), shapes, None)


def matrices(model: SegmentModel) -> dict[str, Matrix]:
    """Rows and columns of all parameters but the grids, in coding order."""
    masks = {name: mask.cpu().numpy() for name, mask in model.coding_masks().items()}
    return {
        name: matrix_of(name, tuple(parameter.shape), masks.get(name))
        for name, parameter in model.named_parameters()
        if kind_of(name) != "grid"
    }


def write_record(coded: Coded, model: SegmentModel) -> ParameterRecord:
    """Codes all parameters of a model, by kind, each kind in the model's order."""
    strings = {}
    all_matrices = matrices(model)
    for kind in KINDS:
        names = [n for n in dict(model.named_parameters()) if kind_of(n) == kind]
        if kind == "grid":
            grids = [t for name in names if isinstance(t := coded[name], CodedGrid)]
            strings[kind] = encode_grids(grids)
        else:
            tensors = [t for name in names if isinstance(t := coded[name], CodedTensor)]
            strings[kind] = encode(tensors, [all_matrices[name] for name in names])
    return ParameterRecord(**strings)


@torch.no_grad()
def read_record(record: ParameterRecord, model: SegmentModel) -> None:
    """Adds the coded differences to a model at its start values.

    Raises:
        CorruptError: the data is not a valid code.
    """
    parameters = dict(model.named_parameters())
    all_matrices, masks = matrices(model), model.coding_masks()
    for kind in KINDS:
        names = [n for n in parameters if kind_of(n) == kind]
        data = getattr(record, kind)
        if kind == "grid":
            grids = decode_grids(data, [_shape_of(parameters[n]) for n in names])
            changes = [grid.differences().ravel() for grid in grids]
        else:
            shapes = [all_matrices[n] for n in names]
            changes = [
                tensor.differences(matrix)
                for tensor, matrix in zip(decode(data, shapes), shapes, strict=True)
            ]
        for name, change in zip(names, changes, strict=True):
            if change.any():
                add(parameters[name], change, masks.get(name))


@torch.no_grad()
def add(parameter: torch.Tensor, change: np.ndarray, mask: torch.Tensor | None) -> None:
    """Adds coded differences, rounded to the parameter's float32, to its coded elements."""
    flat = parameter.view(-1)
    difference = torch.from_numpy(change).to(flat.device, flat.dtype)
    if mask is None:
        flat += difference
    else:
        flat[mask] += difference


def _shape_of(grid: torch.Tensor) -> Shape:
    channels, time, height, width = grid.shape
    return channels, time, height, width
