"""Quantisation and rate of the parameters during the fit, and the integers that are coded."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from innvc.bitstream.grids import CodedGrid
from innvc.bitstream.parameters import KINDS, matrices
from innvc.bitstream.vectors import vector_bits
from innvc.bitstream.weights import Axes, CodedTensor
from innvc.fit.grid_code import changes_of, choose_grids, fit_priors, with_scales
from innvc.fit.parameter_code import choose, choose_tables, plain_header
from innvc.fit.parameter_rate import grid_bits, rare_table, tensor_bits
from innvc.fit.step_sizes import StepSizes
from innvc.model.grid_prior import GridPrior, activity
from innvc.model.model import kind_of
from innvc.model.parameter_layout import step_index

T = TypeVar("T")

# Exponent e of a parameter's step 2^-e, by the longest matching prefix.
EXPONENTS = {
    "": 8,
    "backbone.mixing": 10,
    "field.grid": 7,
    "prior.base": 2,
    "prior.base_level": 3,
    "prior.base_detail": 1,
    "prior.base_slope": 6,
    "prior.spectral": 9,
    "prior.surround": 9,
    "prior.predict_mean": 9,
    "prior.reach": 9,
    "prior.half": 9,
    "prior.half_base": 2,
    "prior.temporal": 5,
    "prior.temporal_mean": 5,
    "prior.grid": 5,
    "step": 4,
}

# Learning rate relative to FitConfig.rate and the step. Of a large matrix each weight moves little,
# and one that is moved without need costs bits.
RELATIVE_RATES = {
    "": 1.0,
    "backbone.mixing": 0.1,
    "prior.spectral": 0.3,
    "prior.surround": 0.3,
    "prior.predict_mean": 0.3,
    "prior.reach": 0.3,
    "prior.half_scale": 0.3,
    "prior.half_mean": 0.3,
    "prior.hidden": 0.1,
    "prior.output": 0.1,
}


def _by_prefix(table: dict[str, T], name: str) -> T:
    return table[max((p for p in table if name.startswith(p)), key=len)]


def exponent_of(name: str) -> int:
    return _by_prefix(EXPONENTS, name)


# Learning rates of quantisation steps (quarters of an octave), and context models.
STEP_RATE = 0.1
PRIOR_RATE = 0.003


class _Code(NamedTuple):
    """How the fit sees the code of a tensor; bits of what is neither an element nor a step."""

    tables: tuple[int, ...]
    scale_axes: Axes
    header: float
    rows: Tensor | None = None  # offsets of the scales on the device
    columns: Tensor | None = None

    def on(self, device: torch.device) -> _Code:
        """With the offsets there."""
        found = (
            torch.from_numpy(axis.astype(np.int64)).to(device) if axis.size else None
            for axis in (self.scale_axes.rows, self.scale_axes.columns)
        )
        return _Code(*self[:3], *found)


class _Quantise(torch.autograd.Function):
    """Values at whole numbers of steps from a start; straight-through, also for the steps."""

    @staticmethod
    def forward(ctx, value: Tensor, start: Tensor, step: Tensor) -> Tensor:
        offset = (value - start) / step
        whole = torch.floor(offset + 0.5)
        ctx.save_for_backward(whole - offset)
        return start + whole * step

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, Tensor | None]:
        (rest,) = ctx.saved_tensors
        return gradient, None, gradient * rest if ctx.needs_input_grad[2] else None


class GridModel:
    """How the fit sees the code of a grid level: its context model and its channels' scales."""

    def __init__(self, grid: Tensor) -> None:
        self.prior = GridPrior().to(grid.device)
        self.base = torch.full((len(grid),), 12.0, device=grid.device)
        self.rest: int | None = None
        self.header = 1.0  # bits of what is neither an element nor a step


class ParameterQuantiser:
    """Parameters as integer numbers of steps away from their start values.

    Args:
        model: At its start values.
        learn: Prefixes of the names that are fitted; all others stay.
        learn_steps: Fit the quantisation steps too.
        coarser: Octaves by which the steps begin above those of EXPONENTS.
    """

    def __init__(
        self,
        model: nn.Module,
        learn: tuple[str, ...],
        learn_steps: bool = False,
        coarser: int = 0,
    ) -> None:
        self.start = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.learned = {
            name: p for name, p in model.named_parameters() if name.startswith(tuple(learn))
        }
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self.learned)
        self.exponents = {name: exponent_of(name) - coarser for name in self.learned}
        self.matrices = matrices(model)
        # Places of the coded elements in a tensor, and their rows and columns.
        self.coded_places = {
            name: mask.nonzero()[:, 0] for name, mask in model.coding_masks().items()
        }
        self.places: dict[tuple[str, str], Tensor] = {}
        self.steps = {
            name: StepSizes(name, p, step_index(self.exponents[name]), learn_steps)
            for name, p in self.learned.items()
        }
        self.grids = {n: GridModel(p) for n, p in self.learned.items() if kind_of(n) == "grid"}
        self.codes: dict[str, _Code] = {}

    def state_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors that change in the fit, by name; writing into them restores them."""
        yield from self.learned.items()
        for name, size in self.steps.items():
            for number, part in enumerate(size.learned):
                yield f"{name}.step.{number}", part
        for name, grid in self.grids.items():
            yield f"{name}.base", grid.base
            for part, value in grid.prior.named_parameters():
                yield f"{name}.prior.{part}", value

    def offsets(self) -> dict[str, Tensor]:
        """Offsets of rows and columns of the tables in use; part of the state of a fit."""
        return {
            f"{name}.{axis}": torch.from_numpy(getattr(code.scale_axes, axis).astype(np.int64))
            for name, code in self.codes.items()
            for axis in ("rows", "columns")
        }

    def numbers(self) -> dict[str, Any]:
        """What is left of the state of a fit, for JSON."""
        return {
            "codes": {name: [list(c.tables), c.header] for name, c in self.codes.items()},
            "grids": {name: [grid.rest, grid.header] for name, grid in self.grids.items()},
            "steps": {name: size.codes for name, size in self.steps.items()},
        }

    def restore(self, numbers: dict[str, Any], offsets: dict[str, Tensor]) -> None:
        """The inverse of `numbers` and `offsets`."""
        for name, (tables, header) in numbers["codes"].items():
            rows, columns = (offsets[f"{name}.{axis}"].numpy() for axis in ("rows", "columns"))
            code = _Code(tuple(tables), Axes(rows, columns), header)
            self.codes[name] = code.on(self.learned[name].device)
        for name, (rest, header) in numbers["grids"].items():
            self.grids[name].rest, self.grids[name].header = rest, header
        for name, codes in numbers["steps"].items():
            self.steps[name].codes = {part: tuple(code) for part, code in codes.items()}

    def groups(self, rate: float, steps: int = 1000) -> list[dict[str, object]]:
        """Optimiser groups: the learning rate is a share of each parameter's step.

        Args:
            steps: Of the fit; quantisation steps can move some octaves in it.
        """
        groups = [
            {
                "params": [p],
                "lr": rate * _by_prefix(RELATIVE_RATES, name) * 2.0 ** -self.exponents[name],
            }
            for name, p in self.learned.items()
        ]
        sizes = [p for size in self.steps.values() for p in size.learned]
        if sizes:
            groups.append({"params": sizes, "lr": min(STEP_RATE, 30 / max(1, steps))})
        for grid in self.grids.values():
            groups.append({"params": list(grid.prior.parameters()), "lr": PRIOR_RATE})
        return groups

    def _offset(self, name: str) -> Tensor:
        """The difference from the start in steps, not rounded."""
        return (self.learned[name] - self.start[name]) / self.steps[name]()

    def quantised(self) -> dict[str, Tensor]:
        """All learned parameters, rounded to their steps with straight-through gradients."""
        return {
            name: _Quantise.apply(parameter, self.start[name], self.steps[name]())
            for name, parameter in self.learned.items()
        }

    def rates(self, axes: bool = False, tables: bool = True) -> dict[str, Tensor]:
        """Bits of the parameters by kind: what the real coder takes, differentiable.

        Args:
            axes: First look for the offsets of rows and columns that take the least bits.
            tables: First look for the tables that do.
        """
        if axes or tables or not self.codes:
            self._choose(axes)
        totals = {kind: torch.zeros(()) for kind in KINDS}
        for name, parameter in self.learned.items():
            if name in self.grids:
                continue
            code = self.codes[name]
            bits = tensor_bits(self._elements(name), self._table_offsets(name), code.tables)
            bits = bits + self.steps[name].bits() + code.header
            kind = kind_of(name)
            totals[kind] = totals[kind].to(parameter.device) + bits
        coarser = None
        for name in reversed(self.grids):
            grid, size = self.grids[name], self.steps[name].units()
            coarse = activity(coarser, self.learned[name].shape[1:]).to(size)
            bits, coarser = grid_bits(
                grid.prior, grid.base, grid.rest, self._offset(name), size, coarse
            )
            totals["grid"] = totals["grid"].to(size.device) + bits + self.steps[name].bits()
            totals["grid"] = totals["grid"] + grid.header
        return totals

    @torch.no_grad()
    def _table_offsets(self, name: str) -> Tensor | None:
        """Offsets of the table index of the coded elements."""
        code, steps, matrix, total = self.codes[name], self.steps[name], self.matrices[name], None
        for axis, of in (("rows", matrix.row_of), ("columns", matrix.column_of)):
            scale, step = getattr(code, axis), steps.offsets(axis)
            if scale is None and step is None:
                continue
            both = (0 if scale is None else scale) - (0 if step is None else step)
            if (name, axis) not in self.places:
                self.places[name, axis] = torch.from_numpy(of).to(both.device)
            offsets = both[self.places[name, axis]]
            total = offsets if total is None else total + offsets
        return total

    def _elements(self, name: str) -> Tensor:
        """The coded elements of a tensor in steps, not rounded."""
        flat = self._offset(name).flatten()
        places = self.coded_places.get(name)
        return flat if places is None else flat.index_select(0, places)

    @torch.no_grad()
    def _integers(self, name: str) -> Tensor:
        return torch.floor(self._elements(name) + 0.5).int()

    def _grid_integers(self, name: str) -> np.ndarray:
        return self._integers(name).cpu().numpy().astype(np.int64).reshape(self.steps[name].shape)

    def _choose(self, axes: bool) -> None:
        """Tables, and offsets of rows and columns, for the values as they are."""
        for steps in self.steps.values():
            steps.choose()
        coarser = None
        for name in reversed(self.grids):
            values = self._grid_integers(name)
            size, grid = self.steps[name], self.grids[name]
            coded = CodedGrid(values, size.index, step_offsets=size.blocks())
            coded = replace(coded, weights=changes_of(grid.prior))
            if values.any():
                coded, _ = with_scales(coded, coarser)
                base = torch.from_numpy(coded.scale + coded.scale_offsets)
                grid.base.data.copy_(base.to(grid.base))
                grid.rest = coded.rest
                grid.header = 22 + vector_bits(coded.scale_offsets) + vector_bits(coded.weights)
            coarser = coded.values * coded.step_of()
        for name in self.learned:
            if name in self.grids:
                continue
            values, matrix = self._integers(name), self.matrices[name]
            size, known = self.steps[name], Axes()
            if not values.any():
                self.codes[name] = _Code((rare_table(len(values)),), known, 1.0)
                continue
            if axes:
                code = choose(values, matrix, size.index, size.axes())
                tables, known = code.tables, code.scale_axes
            else:
                if name in self.codes:
                    known = self.codes[name].scale_axes
                tables = choose_tables(values, matrix, size.axes(), known)
            header = plain_header(len(tables) > 1)
            if known:
                header += vector_bits(known.rows) + vector_bits(known.columns)
            self.codes[name] = _Code(tables, known, header).on(self.learned[name].device)

    @torch.no_grad()
    def coded(self, model: nn.Module) -> dict[str, CodedTensor | CodedGrid]:
        """What to code for every parameter, in the model's order."""
        tensors: dict[str, CodedTensor | CodedGrid] = {}
        for name, parameter in model.named_parameters():
            if kind_of(name) == "grid":
                values = np.zeros(parameter.shape, np.int64)
                tensors[name] = CodedGrid(values)
                if name in self.learned:
                    values, size = self._grid_integers(name), self.steps[name]
                    tensors[name] = CodedGrid(values, size.index, step_offsets=size.blocks())
            elif name in self.learned:
                size = self.steps[name]
                tensors[name] = choose(
                    self._integers(name), self.matrices[name], size.index, size.axes()
                )
            else:
                tensors[name] = CodedTensor(np.zeros(len(self.matrices[name]), np.int32))
        grids = {name: t for name, t in tensors.items() if isinstance(t, CodedGrid)}
        if self.grids:
            priors = [copy.deepcopy(self.grids[name].prior).cpu() for name in grids]
            with torch.enable_grad():
                fit_priors(list(grids.values()), priors)
            tensors.update(zip(grids, choose_grids(list(grids.values()), priors), strict=True))
        return tensors
