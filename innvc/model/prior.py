"""The latent prior (paper section 3.6): one network, run by the fit, the encoder and the decoder.

It reads integers only and is evaluated in integers: weights are multiples of 2^-10, activations
clamped, nonlinearities a table of logarithms, ReLU, floor and clamp. The fit runs the same code in
float32 with straight-through gradients; encoder and decoder run it in integer-valued float64, where
every sum is exact whatever its order.

Values are "sixteenths": v = 16 q + mu for a symbol q and a mean of mu/16 steps. For each symbol the
prior gives a scale index (0..63, a quarter octave each) and mu. It is causal over the ordered
groups of channels: group g sees groups before g of its own subband frame, and groups up to g of two
subband frames decoded before: the parent (coarser level) and the sibling (same level).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from innvc.config import PriorConfig
from innvc.model.contexts import (
    LARGEST_LOG,
    VALUE_LIMIT,
    Context,
    beside,
    context_of,
    log_magnitude,
    log_table,
    proximity,
    second_half,
)
from innvc.model.initial import fan_in_limit, uniform
from innvc.model.quantisation import SCALE_LEVELS, floor_ste, round_ste
from innvc.model.start import Frequencies
from innvc.model.subbands import COARSEST_LEVEL

WEIGHT_BITS = 10  # weights are integers times 2^-10
LEVELS = COARSEST_LEVEL + 1  # lifting levels with parameters of their own, and the low-pass
HIDDEN_LIMIT = (1 << 15) - 1


class LatentPrior(nn.Module):
    """Scale index and mean for each latent symbol.

    Args:
        config: Which parts are on.
        groups: Channels of each ordered group.
        frequencies: Of the channels, for the analytic start; None starts without it.
        step_base: log2 of the quantisation step in 1/16 octave: how large symbols are without any
            context.
        grid_channels: Of all levels of the field's grid.
        layers: Groups of each layer: the scale network sees no later layer of other subband frames.
    """

    logarithms: Tensor
    group_of: Tensor
    unit_group: Tensor
    unit_sees: Tensor

    def __init__(
        self,
        config: PriorConfig,
        groups: tuple[int, ...],
        frequencies: Frequencies | None,
        step_base: int,
        grid_channels: int = 0,
        layers: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.groups = groups
        self.step_base = step_base
        channels = sum(groups)
        group_of = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor(groups))
        self.register_buffer("group_of", group_of, persistent=False)
        units = torch.arange(len(groups)).repeat_interleave(config.scale_units)
        ends = np.repeat(np.cumsum(layers or [len(groups)]), layers or [len(groups)])
        self.register_buffer("unit_group", units, persistent=False)
        self.register_buffer("unit_sees", torch.from_numpy(ends)[units], persistent=False)
        self.register_buffer("logarithms", log_table(), persistent=False)
        self.base = nn.Parameter(torch.full((channels,), 12.0))
        self.base_level = nn.Parameter(torch.zeros(LEVELS))
        self.base_detail = nn.Parameter(torch.zeros(LEVELS, channels))
        self.base_slope = nn.Parameter(torch.zeros(LEVELS, channels))
        if config.energy:
            near, far = proximity(frequencies, group_of.numpy())
            self.spectral = nn.Parameter(_to_unit(torch.from_numpy(0.22 * near)))
            self.surround = nn.Parameter(_to_unit(torch.from_numpy(0.13 * far)))
            self.predict_mean = nn.Parameter(torch.zeros(channels, channels))
        if config.temporal:
            # own and surround of the parent, own and surround of the sibling
            weights = _to_unit(torch.tensor([0.1, 0.05, 0.15, 0.1])).repeat(LEVELS, 1)
            weights[0, :2] = 0
            self.temporal = nn.Parameter(weights[..., None].repeat(1, 1, channels))
            self.temporal_mean = nn.Parameter(torch.zeros(LEVELS, 2, channels))
        if config.grid:
            self.grid_scale = nn.Parameter(torch.zeros(channels, grid_channels))
            self.grid_mean = nn.Parameter(torch.zeros(channels, grid_channels))
        if config.reach:
            self.reach = nn.Parameter(torch.zeros(4, channels, sum(groups[: config.reach])))
        if config.halves:
            halved = sum(groups[: config.halves])
            self.half_base = nn.Parameter(torch.zeros(halved))
            self.half_scale = nn.Parameter(torch.zeros(halved, halved))
            self.half_mean = nn.Parameter(torch.zeros(4, halved, halved))
        if config.scale_units:
            # own and surround of this subband frame, of the parent, the sibling and the low-pass
            self.scale_enter = nn.Parameter(torch.zeros(len(units), 8, channels))
            self.scale_bias = nn.Parameter(torch.zeros(LEVELS, len(units)))
            self.scale_leave = nn.Parameter(torch.zeros(channels, len(units)))
        if config.hidden:
            hidden = config.hidden * len(groups)
            limit = fan_in_limit(9 * channels, WEIGHT_BITS)
            first = uniform("prior.hidden_weight", (hidden, channels, 3, 3), limit, WEIGHT_BITS)
            self.hidden_weight = nn.Parameter(first)
            self.hidden_bias = nn.Parameter(torch.zeros(hidden))
            self.output_weight = nn.Parameter(torch.zeros(2 * channels, hidden))

    def context(self, value: Tensor) -> Context:
        """Features of decoded values [N, C, H, W] (sixteenths, within the limit)."""
        return context_of(value, self.logarithms)

    def masks(self) -> dict[str, Tensor]:
        """True where an element of a parameter is used: its column is decoded before its row."""
        column, row = self.group_of[None], self.group_of[:, None]
        masks = {}
        if self.config.energy:
            names = ("spectral", "surround", "predict_mean")
            masks = dict.fromkeys(names, column < row)
        if self.config.reach:
            masks["reach"] = (column < row)[:, : self.reach.shape[2]].expand_as(self.reach)
        if self.config.halves:
            halved = len(self.half_base)
            masks["half_scale"] = (column <= row)[:halved, :halved]
            masks["half_mean"] = masks["half_scale"].expand_as(self.half_mean)
        if self.config.scale_units:
            own = self.group_of < self.unit_group[:, None]
            others = self.group_of < self.unit_sees[:, None]
            masks["scale_enter"] = torch.stack(2 * [own] + 6 * [others], 1)
            masks["scale_leave"] = self.unit_group <= self.group_of[:, None]
        return masks

    def table_weights(self) -> dict[str, Tensor]:
        """Of the parameters as integers those that `outside` reads; they have no masks."""
        return self._integers("base", "temporal", "grid")

    def _integers(self, *prefixes: str) -> dict[str, Tensor]:
        one = float(1 << WEIGHT_BITS)
        # Rounding keeps the evaluation exact whatever steps a file declares.
        named = self.named_parameters()
        return {name: round_ste(p * one) for name, p in named if name.startswith(prefixes)}

    def weights(self) -> dict[str, Tensor]:
        """The parameters as integers (float dtype), masked to the group order."""
        scaled = self._integers("")
        for name, sees in self.masks().items():
            scaled[name] = scaled[name] * sees.to(self.base.dtype)
        if self.config.hidden:
            units = torch.arange(len(self.groups), device=self.base.device)
            units = units.repeat_interleave(self.config.hidden)
            sees = (self.group_of[None] < units[:, None]).to(self.base.dtype)
            scaled["hidden_weight"] = scaled["hidden_weight"] * sees[:, :, None, None]
            targets = self.group_of.repeat(2)
            sees = (units[None] <= targets[:, None]).to(self.base.dtype)
            scaled["output_weight"] = scaled["output_weight"] * sees
        return scaled

    def forward(
        self,
        weights: dict[str, Tensor],
        rows: slice,
        level: Tensor,
        current: Context,
        parent: Context,
        sibling: Context,
        low: Context,
        grid: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Scale indexes and means of the channels `rows`.

        Args:
            weights: From `weights()`.
            rows: Channels of one group, or of all (in the fit).
            level: Lifting level of each subband frame, [N].
            current: Context of the earlier groups; channels from rows.start on are not read
                unless rows is all channels.
            parent, sibling, low: Contexts of decoded subband frames, zero where there is none; the
                last of the packet's low-pass frame.
            grid: Integers of the field's grid [N, E, H, W], if they are a context.

        Returns:
            Scale indexes in 0..63 and means in sixteenths, [N, rows, H, W].
        """
        contexts = current, parent, sibling, low
        return self.indexes(*self.sums(weights, rows, level, *contexts, grid))

    def sums(
        self,
        weights: dict[str, Tensor],
        rows: slice,
        level: Tensor,
        current: Context,
        parent: Context,
        sibling: Context,
        low: Context,
        grid: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Those of scales and means, in 2^-10 of theirs; arguments are those of `forward`."""
        scale, mean = self.outside(weights, rows, level, parent, sibling, grid)
        more_scale, more_mean = self.inside(weights, rows, current)
        scale, mean = scale + more_scale, mean + more_mean
        if self.config.scale_units:
            contexts = current, parent, sibling, low
            scale = scale + self._by_units(weights, rows, level, contexts)
        if self.config.halves:
            scale, mean = self.second_half(weights, rows, current.value, scale, mean)
        return scale, mean

    def outside(
        self,
        weights: dict[str, Tensor],
        rows: slice,
        level: Tensor,
        parent: Context,
        sibling: Context,
        grid: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What does not depend on the subband frame itself; arguments are those of `forward`.

        Returns:
            Sums of scales and means, in 2^-10 of theirs, [N, rows, H, W].
        """
        bias = weights["base"][rows] + weights["base_level"][level][:, None]
        bias = bias + weights["base_detail"][level][:, rows]
        bias = bias - self.step_base * weights["base_slope"][level][:, rows]
        size = parent.value.shape[2:]
        scale = bias[:, :, None, None].expand(*bias.shape, *size)
        mean = torch.zeros_like(scale)
        if self.config.temporal:
            t = weights["temporal"][level][:, :, rows, None, None]
            scale = scale + t[:, 0] * parent.own[:, rows] + t[:, 1] * parent.around[:, rows]
            scale = scale + t[:, 2] * sibling.own[:, rows] + t[:, 3] * sibling.around[:, rows]
            t = weights["temporal_mean"][level][:, :, rows, None, None]
            mean = mean + t[:, 0] * parent.value[:, rows] + t[:, 1] * sibling.value[:, rows]
        if self.config.grid:
            assert grid is not None
            magnitude = log_magnitude(grid.abs(), self.logarithms)
            scale = scale + _product(weights["grid_scale"][rows], magnitude)
            mean = mean + _product(weights["grid_mean"][rows], grid)
        return scale, mean

    def inside(
        self, weights: dict[str, Tensor], rows: slice, current: Context
    ) -> tuple[Tensor | float, Tensor | float]:
        """What earlier groups add to the sums of `outside`; arguments are those of `forward`."""
        whole = rows.stop - rows.start == len(self.group_of)
        seen = slice(0, len(self.group_of) if whole else rows.start)
        scale: Tensor | float = 0.0
        mean: Tensor | float = 0.0
        if self.config.energy and seen.stop:
            scale = _product(weights["spectral"][rows, seen], current.own[:, seen])
            scale = scale + _product(weights["surround"][rows, seen], current.around[:, seen])
            mean = _product(weights["predict_mean"][rows, seen], current.value[:, seen])
        if self.config.reach and seen.stop:
            sources = min(seen.stop, self.reach.shape[2])
            kernel = weights["reach"][:, rows, :sources]
            neighbours = beside(current.value[:, :sources])
            mean = mean + torch.einsum("tdc,ntchw->ndhw", kernel, neighbours)
        if self.config.hidden:
            more_scale, more_mean = self._hidden(weights, rows, seen, current.value)
            scale, mean = scale + more_scale, mean + more_mean
        return scale, mean

    def _by_units(
        self,
        weights: dict[str, Tensor],
        rows: slice,
        level: Tensor,
        contexts: Sequence[Context],
    ) -> Tensor:
        """What the scale network adds to scales, in 2^-10 of theirs."""
        units = slice(0, int((self.unit_group <= self.group_of[rows][-1]).sum()))
        logs = torch.stack([log for c in contexts for log in (c.own, c.around)], 1)
        sums = weights["scale_enter"][units].flatten(1) @ logs.flatten(1, 2).flatten(2)
        sums = sums + weights["scale_bias"][level][:, units, None]
        hidden = floor_ste(F.relu(sums) / 2**4).clamp(max=HIDDEN_LIMIT)
        sums = floor_ste(weights["scale_leave"][rows, units] @ hidden / 2**6)
        found: Tensor = sums.unflatten(2, contexts[0].value.shape[2:])
        return found

    @staticmethod
    def indexes(scale: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Scale indexes and means from their sums."""
        one = float(1 << WEIGHT_BITS)
        scale = floor_ste(scale / one).clamp(0, SCALE_LEVELS - 1)
        mean = floor_ste(mean / one + 0.5).clamp(-VALUE_LIMIT, VALUE_LIMIT)
        return scale, mean

    def second_half(
        self, weights: dict[str, Tensor], rows: slice, value: Tensor, scale: Tensor, mean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sums with what the second half of the positions reads of the first, groups up to here."""
        halved = len(self.half_base)
        seen = slice(0, min(rows.stop, halved))
        rows = slice(rows.start, seen.stop)
        if rows.start >= halved:
            return scale, mean
        height, width = value.shape[-2:]
        places = second_half(height, width).flatten().nonzero()[:, 0].to(value.device)
        neighbours = beside(value[:, seen]).flatten(3)[..., places]  # [N, 4, C, P]
        magnitude = floor_ste(neighbours.abs().sum(1) / 4)
        near = log_magnitude(magnitude, self.logarithms)
        more_scale = torch.einsum("dc,ncp->ndp", weights["half_scale"][rows, seen], near)
        more_scale = more_scale + weights["half_base"][rows, None]
        more_mean = torch.einsum("tdc,ntcp->ndp", weights["half_mean"][:, rows, seen], neighbours)
        more = torch.stack([more_scale, more_mean])
        more = F.pad(more, (0, 0, 0, scale.shape[1] - more.shape[2]))
        both = torch.stack([scale, mean]).flatten(3).index_add(3, places, more)
        scale, mean = both.unflatten(3, (height, width))
        return scale, mean

    def _hidden(
        self, weights: dict[str, Tensor], rows: slice, seen: slice, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The masked convolution: 3x3 over earlier groups, ReLU, 1x1 over units up to here."""
        one = float(1 << WEIGHT_BITS)
        last = (
            len(self.groups) if seen.stop == len(self.group_of) else int(self.group_of[rows][0]) + 1
        )
        units = slice(0, last * self.config.hidden)
        kernel = weights["hidden_weight"][units, seen].flatten(1)
        sums = weights["hidden_bias"][units, None].expand(-1, value.shape[2] * value.shape[3])
        if seen.stop:
            sums = sums + kernel @ F.unfold(value[:, seen], 3, padding=1)
        hidden = floor_ste(F.relu(sums) / one).clamp(max=HIDDEN_LIMIT)
        channels = len(self.group_of)
        both = weights["output_weight"].view(2, channels, -1)[:, rows, units].flatten(0, 1)
        out = (both @ hidden).expand(len(value), -1, -1).unflatten(-1, value.shape[-2:])
        scale, mean = out.chunk(2, 1)
        return scale, mean

    @torch.no_grad()
    def largest_sum(self, weights: dict[str, Tensor]) -> float:
        """Bound on every integer that arises in `forward`; exactness needs it below 2^53."""
        w = {name: value.abs().double() for name, value in weights.items()}
        scale = w["base"] + w["base_level"].max() + w["base_detail"].amax(0)
        scale = scale + abs(self.step_base) * w["base_slope"].amax(0)
        mean = torch.zeros_like(scale)
        logs = LARGEST_LOG
        if self.config.energy:
            scale = scale + logs * (w["spectral"].sum(1) + w["surround"].sum(1))
            mean = mean + VALUE_LIMIT * w["predict_mean"].sum(1)
        if self.config.grid:
            scale = scale + logs * w["grid_scale"].sum(1)
            mean = mean + VALUE_LIMIT * w["grid_mean"].sum(1)
        if self.config.reach:
            mean = mean + VALUE_LIMIT * w["reach"].sum((0, 2))
        if self.config.halves:
            halved = len(self.half_base)
            scale[:halved] += w["half_base"] + logs * w["half_scale"].sum(1)
            mean[:halved] += VALUE_LIMIT * w["half_mean"].sum((0, 2))
        if self.config.temporal:
            scale = scale + logs * w["temporal"].sum(1).amax(0)
            mean = mean + VALUE_LIMIT * w["temporal_mean"].sum(1).amax(0)
        worst = torch.stack([scale, mean])
        if self.config.scale_units:
            entering = w["scale_bias"].amax(0) + logs * w["scale_enter"].sum((1, 2))
            leaving = HIDDEN_LIMIT * w["scale_leave"].sum(1)
            scale = scale + torch.maximum(leaving, entering.max())
        if self.config.hidden:
            first = VALUE_LIMIT * w["hidden_weight"].flatten(1).sum(1) + w["hidden_bias"]
            worst = worst + HIDDEN_LIMIT * w["output_weight"].sum(1).view(2, -1)
            return float(torch.maximum(worst.max(), first.max()))
        return float(worst.max())


def _to_unit(values: Tensor) -> Tensor:
    """The nearest weights that are multiples of 2^-10."""
    return (torch.round(values.double() * (1 << WEIGHT_BITS)) / (1 << WEIGHT_BITS)).float()


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    product: Tensor = torch.matmul(matrix, x.flatten(2)).unflatten(2, x.shape[2:])
    return product
