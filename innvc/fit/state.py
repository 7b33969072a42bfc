"""The whole state of a fit between two steps, as tensors and numbers, to go on from later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from innvc.fit.parameters import ParameterQuantiser


@dataclass(frozen=True)
class FitState:
    """What a later process needs to take the very steps that this one would have taken.

    Attributes:
        tensors: By name, on any device.
        numbers: What JSON can hold; floats keep all their bits.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


def capture(
    quantiser: ParameterQuantiser,
    optimiser: torch.optim.Optimizer,
    generators: Sequence[torch.Generator],
    numbers: dict[str, Any],
) -> FitState:
    """The state of these, and `numbers` of the loop itself."""
    tensors = {f"value.{name}": p.detach() for name, p in quantiser.state_tensors()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in moments.items()}
    tensors |= {f"generator.{i}": g.get_state() for i, g in enumerate(generators)}
    tensors |= {f"offsets.{name}": value for name, value in quantiser.offsets().items()}
    return FitState(tensors, {**numbers, "quantiser": quantiser.numbers()})


def restore(
    state: FitState,
    quantiser: ParameterQuantiser,
    optimiser: torch.optim.Optimizer,
    generators: Iterable[torch.Generator],
) -> None:
    """Puts all of them, made as for a new fit, into the state.

    Raises:
        KeyError, ValueError, RuntimeError: it is the state of another fit.
    """
    moments: dict[int, dict[str, Tensor]] = {}
    offsets = {}
    for name, value in state.tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "adam":
            index, _, moment = rest.partition(".")
            moments.setdefault(int(index), {})[moment] = value
        elif kind == "offsets":
            offsets[rest] = value
    quantiser.restore(state.numbers["quantiser"], offsets)
    with torch.no_grad():
        for name, parameter in quantiser.state_tensors():
            parameter.copy_(state.tensors[f"value.{name}"])
    whole = optimiser.state_dict()
    optimiser.load_state_dict({**whole, "state": moments})
    for number, generator in enumerate(generators):
        generator.set_state(state.tensors[f"generator.{number}"].cpu())
