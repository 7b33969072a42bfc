"""Quantisation and rate of the parameters during the fit, and the integers that are coded."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.grids import CodedGrid
from innvc.bitstream.parameters import matrices
from innvc.bitstream.weights import Axes, CodedTensor
from innvc.fit.grid_code import choose_grids, fit_priors
from innvc.fit.parameter_code import choose
from innvc.model.grid_prior import GridPrior
from innvc.model.model import InnvcModel, kind_of
from innvc.model.parameter_layout import step_index
from innvc.model.quantisation import round_ste

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


class ParameterQuantiser:
    """Parameters as integer numbers of steps away from their start values.

    Args:
        model: At its start values.
        learn: Prefixes of the names that are fitted; all others stay.
    """

    def __init__(self, model: InnvcModel, learn: tuple[str, ...]) -> None:
        self.start = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.learned = {
            name: p for name, p in model.named_parameters() if name.startswith(tuple(learn))
        }
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self.learned)
        self.masks = model.coding_masks()

    def groups(self, rate: float) -> list[dict[str, object]]:
        """Optimiser groups: the learning rate is a share of each parameter's step."""
        return [
            {
                "params": [p],
                "lr": rate * _by_prefix(RELATIVE_RATES, name) * 2.0 ** -exponent_of(name),
            }
            for name, p in self.learned.items()
        ]

    def _offset(self, name: str, parameter: Tensor) -> Tensor:
        return (parameter - self.start[name]) * 2.0 ** exponent_of(name)

    def quantised(self) -> dict[str, Tensor]:
        """All learned parameters, rounded to their steps with straight-through gradients."""
        return {
            name: self.start[name] + round_ste(self._offset(name, p)) * 2.0 ** -exponent_of(name)
            for name, p in self.learned.items()
        }

    def rates(self) -> dict[str, Tensor]:
        """Bits of the parameters by kind: what the sparse code of `bitstream.parameters` takes.

        Differentiable: an element costs -log2(1 - p) at zero and rises linearly to the cost of a
        nonzero at one step, then with the logarithm. p is the share of nonzeros, held constant.
        """
        totals = {"grid": 0.0, "weights": 0.0, "side": 0.0}
        for name, parameter in self.learned.items():
            offset = self._offset(name, parameter).abs().flatten()
            if name in self.masks:
                offset = offset[self.masks[name]]
            with torch.no_grad():
                nonzero = (offset >= 0.5).float().mean().clamp(1 / len(offset), 0.75)
                first = 1 + torch.log2((1 - nonzero) / nonzero).clamp(min=0) + 0.5
                zero = -torch.log2(1 - nonzero)
            cost = first * offset.clamp(max=1) + 1.5 * torch.log2(offset.clamp(min=1))
            totals[kind_of(name)] = totals[kind_of(name)] + cost.sum() + zero * len(offset)
        return {kind: torch.as_tensor(total) for kind, total in totals.items()}

    @torch.no_grad()
    def coded(self, model: InnvcModel) -> dict[str, CodedTensor | CodedGrid]:
        """What to code for every parameter, in the model's order."""
        shapes = matrices(model)
        tensors: dict[str, CodedTensor | CodedGrid] = {}
        for name, parameter in model.named_parameters():
            steps = torch.zeros_like(parameter)
            if name in self.learned:
                steps = torch.floor(self._offset(name, parameter) + 0.5)
            index = step_index(exponent_of(name))
            if kind_of(name) == "grid":
                tensors[name] = CodedGrid(steps.cpu().numpy().astype(np.int64), index)
                continue
            values = steps.flatten()
            if name in self.masks:
                values = values[self.masks[name]]
            tensors[name] = choose(
                values.cpu().numpy().astype(np.int32), shapes[name], index, Axes()
            )
        grids = {name: t for name, t in tensors.items() if isinstance(t, CodedGrid)}
        priors = [GridPrior() for _ in grids]
        fit_priors(list(grids.values()), priors)
        tensors.update(zip(grids, choose_grids(list(grids.values()), priors), strict=True))
        return tensors
