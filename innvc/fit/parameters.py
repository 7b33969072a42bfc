"""Quantisation and rate of the parameters during the fit, and the integers that are coded."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.grids import CodedGrid
from innvc.bitstream.parameters import KINDS, matrices
from innvc.bitstream.vectors import best_table, vector_bits
from innvc.bitstream.weights import Axes, CodedTensor
from innvc.fit.grid_code import changes_of, choose_grids, fit_priors, with_scales
from innvc.fit.parameter_code import choose, choose_tables, plain_header
from innvc.fit.parameter_rate import Tables, element_bits, grid_bits, rare_table
from innvc.fit.parameter_scales import exponent_of, relative_rate_of
from innvc.fit.step_sizes import StepSizes
from innvc.model.grid_prior import GridPrior, activity
from innvc.model.model import kind_of
from innvc.model.parameter_layout import STEP_UNIT_BITS, step_index
from innvc.model.picture import SegmentModel

ORDER = "weights", "side", "grid"  # of tensors by kind, where all elements follow each other

# Learning rates of quantisation steps (quarters of an octave), and context models.
STEP_RATE = 0.1
PRIOR_RATE = 0.003


class _Code(NamedTuple):
    """How the fit sees the code of a tensor; bits of what is neither an element nor a step."""

    tables: tuple[int, ...]
    scale_axes: Axes
    header: float


class _Quantise(torch.autograd.Function):
    """Values [n] at whole numbers of steps from a start; straight-through, also for the steps."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, start: Tensor, step: Tensor) -> Tensor:
        offset = (value - start) / step
        whole = torch.floor(offset + 0.5)
        ctx.save_for_backward(whole - offset)
        return start + whole * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor | None]:
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
        coarser: Octaves by which the steps begin above those of `parameter_scales`.
    """

    def __init__(
        self,
        model: SegmentModel,
        learn: tuple[str, ...],
        learn_steps: bool = False,
        coarser: int = 0,
    ) -> None:
        self.start = {name: p.detach().clone() for name, p in model.named_parameters()}
        learned = [item for item in model.named_parameters() if item[0].startswith(tuple(learn))]
        self.learned = dict(sorted(learned, key=lambda item: ORDER.index(kind_of(item[0]))))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self.learned)
        self.exponents = {name: exponent_of(name) - coarser for name in self.learned}
        self.matrices = matrices(model)
        self.masks = model.coding_masks()
        indexes = {name: step_index(exponent) for name, exponent in self.exponents.items()}
        self.steps = StepSizes(self.learned, indexes, learn_steps)
        self.grids = {n: GridModel(p) for n, p in self.learned.items() if kind_of(n) == "grid"}
        self.codes: dict[str, _Code] = {}
        self.vector_codes: dict[tuple[str, str], tuple[int, float]] = {}  # and further bits
        self._tables: Tables | None = None  # of the coded elements, and then the steps' offsets
        self._flat_start = self._flat(self.start)
        places: list[Tensor] = []
        self._spans: list[tuple[str, int]] = []  # elements of a kind, one span after the other
        for name in self.learned:
            if name in self.grids:
                continue
            place = torch.arange(self.steps.elements[name].start, self.steps.elements[name].stop)
            if name in self.masks:
                place = place[self.masks[name].cpu()]
            places.append(place)
            self._spans.append((kind_of(name), len(place)))
        for (name, _), (part, _) in self.steps.parts.items():
            self._spans.append((kind_of(name), part.stop - part.start))
        self._spans = [
            (kind, sum(count for _, count in spans))
            for kind, spans in groupby(self._spans, lambda span: span[0])
        ]
        self._coded = torch.cat([torch.zeros(0, dtype=torch.long), *places])
        self._coded = self._coded.to(self._flat_start.device)

    def _flat(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The learned ones of tensors by name, one after the other."""
        parts = [tensors[name].flatten() for name in self.learned]
        return torch.cat(parts) if parts else torch.zeros(0)

    def state_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors that change in the fit, by name; writing into them restores them."""
        yield from self.learned.items()
        for number, part in enumerate(self.steps.learned):
            yield f"step.{number}", part
        for name, grid in self.grids.items():
            yield f"{name}.base", grid.base
            for key, value in grid.prior.named_parameters():
                yield f"{name}.prior.{key}", value

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
            "vectors": [[*key, *code] for key, code in self.vector_codes.items()],
        }

    def restore(self, numbers: dict[str, Any], offsets: dict[str, Tensor]) -> None:
        """The inverse of `numbers` and `offsets`."""
        for name, (tables, header) in numbers["codes"].items():
            rows, columns = (offsets[f"{name}.{axis}"].numpy() for axis in ("rows", "columns"))
            self.codes[name] = _Code(tuple(tables), Axes(rows, columns), header)
        for name, (rest, header) in numbers["grids"].items():
            self.grids[name].rest, self.grids[name].header = rest, header
        for name, part, table, rest in numbers["vectors"]:
            self.vector_codes[name, part] = table, rest
        if self.codes:
            self._tables = self._element_tables()

    def groups(self, rate: float, steps: int = 1000) -> list[dict[str, object]]:
        """Optimiser groups: the learning rate is a share of each parameter's step.

        Args:
            steps: Of the fit; quantisation steps can move some octaves in it.
        """
        groups = [
            {
                "params": [p],
                "lr": rate * relative_rate_of(name) * 2.0 ** -self.exponents[name],
            }
            for name, p in self.learned.items()
        ]
        if self.steps.learned:
            speed = min(STEP_RATE, 30 / max(1, steps))
            groups.append({"params": self.steps.learned, "lr": speed})
        for grid in self.grids.values():
            groups.append({"params": list(grid.prior.parameters()), "lr": PRIOR_RATE})
        return groups

    def _offsets(self) -> Tensor:
        """The differences of all elements from the start in steps, not rounded."""
        return (self._flat(self.learned) - self._flat_start) / self.steps()

    def quantised(self) -> dict[str, Tensor]:
        """All learned parameters, rounded to their steps with straight-through gradients."""
        of = self._flat(self.learned), self._flat_start, self.steps()
        return self._named(_Quantise.apply(*of))  # type: ignore[no-untyped-call]

    def _named(self, flat: Tensor) -> dict[str, Tensor]:
        parts = flat.split(self.steps.maps.counts)
        return {n: x.view(self.steps.shapes[n]) for n, x in zip(self.learned, parts, strict=True)}

    def rates(self, axes: bool = False, tables: bool = True) -> dict[str, Tensor]:
        """Bits of the parameters by kind: what the real coder takes, differentiable.

        Args:
            axes: First look for the offsets of rows and columns that take the least bits.
            tables: First look for the tables that do.
        """
        if axes or tables or self._tables is None:
            self._choose(axes)
            self._tables = self._element_tables()
        vector, step_offsets = self.steps.vector, self.steps.offsets()
        offsets = self._offsets()
        row = torch.zeros((), dtype=torch.long, device=offsets.device)
        if step_offsets is not None:
            row = -step_offsets.index_select(0, self._coded)
            row = torch.cat([row, row.new_zeros(len(vector))])
        x = torch.cat([offsets.index_select(0, self._coded), vector])
        counts = [count for _, count in self._spans]
        parts = element_bits(x, row, self._tables).split(counts)
        known = dict.fromkeys(KINDS, 0.0)
        for name, code in self.codes.items():
            known[kind_of(name)] += code.header
        for (name, _), (_, rest) in self.vector_codes.items():
            known[kind_of(name)] += rest
        totals = {kind: offsets.new_full((), bits) for kind, bits in known.items()}
        for (kind, _), part in zip(self._spans, parts, strict=True):
            totals[kind] = totals[kind] + part.sum()
        if self.grids:
            totals["grid"] = totals["grid"] + self._grid_bits(offsets)
        return totals

    def _grid_bits(self, offsets: Tensor) -> Tensor:
        """Bits of the elements of the grids, without their steps."""
        units = self._named(self.steps() * (1 << STEP_UNIT_BITS))
        values = self._named(offsets)
        coarser, total = None, offsets.new_zeros(())
        for name in reversed(self.grids):
            grid, size = self.grids[name], units[name]
            coarse = activity(coarser, size.shape[1:]).to(size)
            bits, coarser = grid_bits(grid.prior, grid.base, grid.rest, values[name], size, coarse)
            total = total + bits + grid.header
        return total

    def _element_tables(self) -> Tables:
        """Tables of the coded elements and of the steps' offsets."""
        first, second, split = [], [], []
        for name, code in self.codes.items():
            offsets = code.scale_axes.at(self.matrices[name])
            first.append(code.tables[0] + offsets)
            second.append(code.tables[-1] + offsets)
            split.append(np.full(len(offsets), len(code.tables) == 2))
        for key, (part, _) in self.steps.parts.items():
            table, _ = self.vector_codes[key]
            for found, value in ((first, table), (second, table), (split, False)):
                found.append(np.full(part.stop - part.start, value))
        none = np.zeros(0, np.int64)
        parts = (np.concatenate([none, *p]).astype(np.int16) for p in (first, second, split))
        return Tables(*(torch.from_numpy(p).to(self._coded.device) for p in parts))

    @torch.no_grad()
    def _integers(self) -> dict[str, Tensor]:
        """The coded elements by name; grids in their shape."""
        integers = self._named(torch.floor(self._offsets() + 0.5).int())
        for name, values in integers.items():
            if name not in self.grids:
                flat = values.flatten()
                integers[name] = flat[self.masks[name]] if name in self.masks else flat
        return integers

    def _choose(self, axes: bool) -> None:
        """Tables, and offsets of rows and columns, for the values as they are."""
        for name, part in self.steps.parts:
            rounded = self.steps.part(name, part).ravel()
            table, bits = best_table(rounded)
            self.vector_codes[name, part] = table, vector_bits(rounded) - bits
        coarser, integers = None, self._integers()
        for name in reversed(self.grids):
            grid, whole = self.grids[name], integers[name].cpu().numpy().astype(np.int64)
            coded = CodedGrid(whole, self.steps.index(name), step_offsets=self.steps.blocks(name))
            coded = replace(coded, weights=changes_of(grid.prior))
            if whole.any():
                coded, _ = with_scales(coded, coarser)
                base = torch.from_numpy(coded.scale + coded.scale_offsets)
                grid.base.data.copy_(base.to(grid.base))
                grid.rest = coded.rest
                grid.header = 22 + vector_bits(coded.scale_offsets) + vector_bits(coded.weights)
            coarser = coded.values * coded.step_of()
        for name in self.learned:
            if name in self.grids:
                continue
            values, matrix = integers[name], self.matrices[name]
            step_axes, known = self.steps.axes(name), Axes()
            if not values.any():
                self.codes[name] = _Code((rare_table(len(values)),), known, 1.0)
                continue
            if axes:
                code = choose(values, matrix, self.steps.index(name), step_axes)
                tables, known = code.tables, code.scale_axes
            else:
                if name in self.codes:
                    known = self.codes[name].scale_axes
                tables = choose_tables(values, matrix, step_axes, known)
            header = plain_header(len(tables) > 1)
            if known:
                header += vector_bits(known.rows) + vector_bits(known.columns)
            self.codes[name] = _Code(tables, known, header)

    @torch.no_grad()
    def coded(self, model: SegmentModel) -> dict[str, CodedTensor | CodedGrid]:
        """What to code for every parameter, in the model's order."""
        tensors: dict[str, CodedTensor | CodedGrid] = {}
        integers, steps = self._integers(), self.steps
        for name, parameter in model.named_parameters():
            if kind_of(name) == "grid":
                tensors[name] = CodedGrid(np.zeros(parameter.shape, np.int64))
                if name in self.learned:
                    values = integers[name].cpu().numpy().astype(np.int64)
                    tensors[name] = CodedGrid(
                        values, steps.index(name), step_offsets=steps.blocks(name)
                    )
            elif name in self.learned:
                where = self.matrices[name], steps.index(name), steps.axes(name)
                tensors[name] = choose(integers[name], *where)
            else:
                tensors[name] = CodedTensor(np.zeros(len(self.matrices[name]), np.int32))
        grids = {name: t for name, t in tensors.items() if isinstance(t, CodedGrid)}
        if self.grids:
            priors = [copy.deepcopy(self.grids[name].prior).cpu() for name in grids]
            with torch.enable_grad():
                fit_priors(list(grids.values()), priors)
            tensors.update(zip(grids, choose_grids(list(grids.values()), priors), strict=True))
        return tensors
