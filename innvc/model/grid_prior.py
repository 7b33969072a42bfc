"""The context model of feature grids: scale index and mean for each element, in integers.

Built like the latent prior: weights are integers times 2^-10, activations clamped integers,
nonlinearities a table of logarithms, ReLU, floor and clamp, so that integer-valued float64 is exact
whatever the order of summation. The fit runs the same code in float32 with straight-through
gradients.

A level is coded in eight passes. Time slices come in four turns: every 8th, then those halfway
between, three times; in each turn first the positions of even y + x, then the odd ones. An element
sees the slices before and after it that earlier turns coded, its four neighbours in the slice if it
is odd, and the activity of the coarser level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from innvc.model.contexts import VALUE_LIMIT, log_magnitude, log_table
from innvc.model.initial import fan_in_limit, uniform
from innvc.model.prior import HIDDEN_LIMIT, WEIGHT_BITS
from innvc.model.quantisation import SCALE_LEVELS, floor_ste, round_ste

TURNS = (8, 4, 2, 1)  # distance of a turn's slices to those it sees; the first sees none
HIDDEN = 8
CONTEXT_LIMIT = 1 << 24  # of |value| in a context, in units of 2^-20
WEIGHT_LIMIT = 1 << 20  # of a weight, in units of 2^-10
_LOG_STARTS = (64, 64, 80, 40)  # of before, after, around, coarse, in units of 2^-10


class Slices(NamedTuple):
    """What the elements of one turn are, and what they see: values in units of 2^-20.

    Attributes:
        current: Values of the slices [C, n, H, W]; only even positions are read.
        before, after: Slices of earlier turns, zero where there is none.
        coarse: Mean magnitude of the coarser level, [n, H, W].
        steps: Quantisation steps, broadcasting to `current`.
    """

    current: Tensor
    before: Tensor
    after: Tensor
    coarse: Tensor
    steps: Tensor


class GridPrior(nn.Module):
    """Context model of one grid level; every channel alike, but for its base scale.

    Sums stay below 2^53 for any weights within 2^20 units: a scale sums 128 x 2^20 x 4 and
    2^15 x 2^20 x 8, a mean 2^19 x 2^20 x 3.
    """

    logarithms: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("logarithms", log_table(), persistent=False)
        passes, one = 2 * len(TURNS), float(1 << WEIGHT_BITS)
        limit = fan_in_limit(4, WEIGHT_BITS)
        self.bias = nn.Parameter(torch.zeros(passes))
        self.log = nn.Parameter((torch.tensor(_LOG_STARTS) / one).repeat(passes, 1))
        self.mean = nn.Parameter(torch.zeros(passes, 3))  # of before, after, around
        hidden = uniform("grid_prior.hidden", (HIDDEN, 4), limit, WEIGHT_BITS)
        self.hidden = nn.Parameter(hidden)
        self.hidden_bias = nn.Parameter(torch.zeros(HIDDEN))
        self.output = nn.Parameter(torch.zeros(HIDDEN))

    def weights(self) -> dict[str, Tensor]:
        """The parameters as integers (float dtype)."""
        return {n: round_ste(p * (1 << WEIGHT_BITS)) for n, p in self.named_parameters()}

    def forward(self, turn: int, slices: Slices, base: Tensor) -> tuple[Tensor, Tensor]:
        """Scale indexes, and means in whole steps, of all positions [C, n, H, W].

        Args:
            turn: 0..3.
            base: Scale index of each channel without context, [C].
        """
        scale, mean = self.contexts(turn, slices)
        return (scale + base[:, None, None, None]).clamp(0, SCALE_LEVELS - 1), mean

    def contexts(self, turn: int, slices: Slices) -> tuple[Tensor, Tensor]:
        """What the contexts add to the scale index, and means in whole steps, [C, n, H, W]."""
        w = self.weights()
        current = slices.current
        even = _even(current.shape[2], current.shape[3], current.device)
        seen = (current * even).clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT)
        values = (slices.before, slices.after, _neighbours(seen) / 4)
        around = _neighbours(seen.abs()) / 4
        magnitudes = (slices.before.abs(), slices.after.abs(), around, slices.coarse)
        logs = [self._log(self._scaled(x, slices.steps)) for x in magnitudes]

        def chosen(weight: Tensor) -> Tensor:  # [passes] to [H, W]
            return torch.where(even, weight[2 * turn], weight[2 * turn + 1])

        one = float(1 << WEIGHT_BITS)
        scale = chosen(w["bias"])
        mean = torch.zeros_like(current)
        for i, x in enumerate(logs):
            scale = scale + chosen(w["log"][:, i]) * x
        for i, x in enumerate(values):
            mean = mean + chosen(w["mean"][:, i]) * self._scaled(x, slices.steps)
        if w["output"].requires_grad or bool(w["output"].any()):
            for unit in range(HIDDEN):
                inner = w["hidden_bias"][unit]
                for i, x in enumerate(logs):
                    inner = inner + w["hidden"][unit, i] * x
                inner = floor_ste(torch.relu(inner) / one).clamp(max=HIDDEN_LIMIT)
                scale = scale + w["output"][unit] * inner
        # Means from sixteenths of a step to whole steps.
        return floor_ste(scale / one), floor_ste(mean / (16 * one) + 0.5)

    def _scaled(self, value: Tensor, steps: Tensor) -> Tensor:
        """Values in sixteenths of the element's step, towards minus infinity."""
        limited = value.clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT)
        return floor_ste(16 * limited / steps).clamp(-VALUE_LIMIT, VALUE_LIMIT)

    def _log(self, magnitude: Tensor) -> Tensor:
        return log_magnitude(magnitude, self.logarithms)


WEIGHTS = sum(p.numel() for p in GridPrior().parameters())


def turn_slices(turn: int, count: int) -> range:
    """The time slices of a turn, of `count`."""
    if turn == 0:
        return range(0, count, TURNS[0])
    return range(TURNS[turn], count, 2 * TURNS[turn])


def gather(turn: int, grid: Tensor, coarse: Tensor, steps: Tensor) -> Slices:
    """The slices of a turn and what they see.

    Args:
        grid: Values [C, T, H, W] in units of 2^-20; what is not coded yet is not read, but for odd
            positions of the turn itself, which `GridPrior` leaves out.
        coarse: [T, H, W], from `activity`.
        steps: [C, T, H, W] in units of 2^-20.
    """
    where = turn_slices(turn, grid.shape[1])
    own = slice(where.start, grid.shape[1], where.step)
    current = grid[:, own]
    before = after = torch.zeros_like(current)
    if turn and len(where):
        distance = TURNS[turn]
        before = grid[:, 0 : grid.shape[1] - distance : 2 * distance]
        later = grid[:, 2 * distance :: 2 * distance]
        missing = current.shape[1] - later.shape[1]
        after = torch.cat([later, torch.zeros_like(current[:, :missing])], 1)
    return Slices(current, before, after, coarse[own], steps[:, own])


def activity(coarser: Tensor | None, shape: Sequence[int]) -> Tensor:
    """Mean magnitude [T, H, W] of the coarser level [C, T', H', W'], nearest position; else 0.

    Position i of an axis lies in the coarser level at min(floor(i / 2), n - 1).
    """
    if coarser is None:
        return torch.zeros(shape, dtype=torch.float64)
    total = coarser.abs().clamp(max=CONTEXT_LIMIT).sum(0)
    mean = floor_ste(total / len(coarser))
    for axis, size in enumerate(shape):
        index = torch.arange(size, device=mean.device) // 2
        mean = mean.index_select(axis, index.clamp(max=mean.shape[axis] - 1))
    return mean


def _even(height: int, width: int, device: torch.device) -> Tensor:
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    return (y[:, None] + x) % 2 == 0


def _neighbours(x: Tensor) -> Tensor:
    """The sum over the four neighbours in a slice, zero outside."""
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    rows = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    return rows + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
