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

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from innvc.config import PriorConfig
from innvc.model.initial import fan_in_limit, uniform
from innvc.model.quantisation import SCALE_LEVELS, floor_ste, round_ste
from innvc.model.start import Frequencies

WEIGHT_BITS = 10  # weights are integers times 2^-10
VALUE_LIMIT = (1 << 19) - 1  # of |v|
LEVELS = 5  # lifting levels of G = 16, and the low-pass
HIDDEN_LIMIT = (1 << 15) - 1


@cache
def _log_thresholds() -> Tensor:
    """Least integers x with 8 log2(x / 8) >= k, k = 1..128, by exact comparison x^8 >= 8^8 2^k."""
    thresholds, x = [], 8
    for k in range(1, 129):
        while x**8 < 8**8 << k:
            x += max(1, x >> 12)
        while (x - 1) ** 8 >= 8**8 << k:
            x -= 1
        thresholds.append(x)
    return torch.tensor(thresholds, dtype=torch.float64)


class _LogMagnitude(torch.autograd.Function):
    """floor(8 log2(1 + a / 8)) of magnitudes a in sixteenths, by comparison with integers."""

    @staticmethod
    def forward(ctx, magnitude: Tensor, thresholds: Tensor) -> Tensor:
        x = magnitude + 8
        ctx.save_for_backward(x)
        return torch.bucketize(x.contiguous(), thresholds.to(x.dtype), right=True).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * (8 / np.log(2)) / x, None


@dataclass
class Context:
    """Log-magnitudes of one subband frame and of the mean over the 8 neighbours, and its values."""

    value: Tensor  # [N, C, H, W]
    own: Tensor
    around: Tensor


class LatentPrior(nn.Module):
    """Scale index and mean for each latent symbol.

    Args:
        config: Which parts are on.
        groups: Channels of each ordered group.
        frequencies: Of the channels, for the analytic start; None starts without it.
        step_base: log2 of the quantisation step in 1/16 octave: how large symbols are without any
            context.
    """

    thresholds: Tensor
    group_of: Tensor

    def __init__(
        self,
        config: PriorConfig,
        groups: tuple[int, ...],
        frequencies: Frequencies | None,
        step_base: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.groups = groups
        self.step_base = step_base
        channels = sum(groups)
        group_of = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor(groups))
        self.register_buffer("group_of", group_of, persistent=False)
        self.register_buffer("thresholds", _log_thresholds(), persistent=False)
        self.base = nn.Parameter(torch.full((channels,), 12.0))
        self.base_level = nn.Parameter(torch.zeros(LEVELS))
        self.base_detail = nn.Parameter(torch.zeros(LEVELS, channels))
        self.base_slope = nn.Parameter(torch.zeros(LEVELS, channels))
        if config.energy:
            near, far = _proximity(frequencies, group_of.numpy())
            self.spectral = nn.Parameter(_to_unit(torch.from_numpy(0.22 * near)))
            self.surround = nn.Parameter(_to_unit(torch.from_numpy(0.13 * far)))
            self.predict_mean = nn.Parameter(torch.zeros(channels, channels))
        if config.temporal:
            # own and surround of the parent, own and surround of the sibling
            weights = _to_unit(torch.tensor([0.1, 0.05, 0.15, 0.1])).repeat(LEVELS, 1)
            weights[0, :2] = 0
            self.temporal = nn.Parameter(weights[..., None].repeat(1, 1, channels))
            self.temporal_mean = nn.Parameter(torch.zeros(LEVELS, 2, channels))
        if config.hidden:
            hidden = config.hidden * len(groups)
            limit = fan_in_limit(9 * channels, WEIGHT_BITS)
            first = uniform("prior.hidden_weight", (hidden, channels, 3, 3), limit, WEIGHT_BITS)
            self.hidden_weight = nn.Parameter(first)
            self.hidden_bias = nn.Parameter(torch.zeros(hidden))
            self.output_weight = nn.Parameter(torch.zeros(2 * channels, hidden))

    def context(self, value: Tensor) -> Context:
        """Features of decoded values [N, C, H, W] (sixteenths, within the limit)."""
        magnitude = value.abs()
        total = F.avg_pool2d(F.pad(magnitude, (1, 1, 1, 1)), 3, 1, divisor_override=1)
        mean = floor_ste((total - magnitude) / 8)
        return Context(value, self._log(magnitude), self._log(mean))

    def _log(self, magnitude: Tensor) -> Tensor:
        return _LogMagnitude.apply(magnitude, self.thresholds)

    def weights(self) -> dict[str, Tensor]:
        """The parameters as integers (float dtype), masked to the group order."""
        one = float(1 << WEIGHT_BITS)
        # Rounding keeps the evaluation exact whatever steps a file declares.
        scaled = {name: round_ste(p * one) for name, p in self.named_parameters()}
        earlier = (self.group_of[None] < self.group_of[:, None]).to(self.base.dtype)
        for name in ("spectral", "surround", "predict_mean"):
            if name in scaled:
                scaled[name] = scaled[name] * earlier
        if self.config.hidden:
            units = torch.arange(len(self.groups), device=earlier.device)
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
    ) -> tuple[Tensor, Tensor]:
        """Scale indexes and means of the channels `rows`.

        Args:
            weights: From `weights()`.
            rows: Channels of one group, or of all (in the fit).
            level: Lifting level of each subband frame, [N].
            current: Context of the earlier groups; channels from rows.start on are not read
                unless rows is all channels.
            parent, sibling: Contexts of decoded subband frames, zero where there is none.

        Returns:
            Scale indexes in 0..63 and means in sixteenths, [N, rows, H, W].
        """
        one = float(1 << WEIGHT_BITS)
        count = rows.stop - rows.start
        seen = slice(0, len(self.group_of) if count == len(self.group_of) else rows.start)
        bias = weights["base"][rows] + weights["base_level"][level][:, None]
        bias = bias + weights["base_detail"][level][:, rows]
        bias = bias - self.step_base * weights["base_slope"][level][:, rows]
        shape = current.value.shape
        scale = bias[:, :, None, None].expand(shape[0], count, shape[2], shape[3])
        mean = torch.zeros_like(scale)
        if self.config.energy and seen.stop:
            scale = scale + _product(weights["spectral"][rows, seen], current.own[:, seen])
            scale = scale + _product(weights["surround"][rows, seen], current.around[:, seen])
            mean = _product(weights["predict_mean"][rows, seen], current.value[:, seen])
        if self.config.temporal:
            t = weights["temporal"][level][:, :, rows, None, None]
            scale = scale + t[:, 0] * parent.own[:, rows] + t[:, 1] * parent.around[:, rows]
            scale = scale + t[:, 2] * sibling.own[:, rows] + t[:, 3] * sibling.around[:, rows]
            t = weights["temporal_mean"][level][:, :, rows, None, None]
            mean = mean + t[:, 0] * parent.value[:, rows] + t[:, 1] * sibling.value[:, rows]
        if self.config.hidden:
            scale_more, mean_more = self._hidden(weights, rows, seen, current.value)
            scale, mean = scale + scale_more, mean + mean_more
        scale = floor_ste(scale / one).clamp(0, SCALE_LEVELS - 1)
        mean = floor_ste(mean / one + 0.5).clamp(-VALUE_LIMIT, VALUE_LIMIT)
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
        return out.chunk(2, 1)

    @torch.no_grad()
    def largest_sum(self) -> float:
        """Bound on every integer that arises in `forward`; exactness needs it below 2^53."""
        w = {name: value.abs().double() for name, value in self.weights().items()}
        scale = w["base"] + w["base_level"].max() + w["base_detail"].amax(0)
        scale = scale + abs(self.step_base) * w["base_slope"].amax(0)
        mean = torch.zeros_like(scale)
        logs = len(self.thresholds)
        if self.config.energy:
            scale = scale + logs * (w["spectral"].sum(1) + w["surround"].sum(1))
            mean = mean + VALUE_LIMIT * w["predict_mean"].sum(1)
        if self.config.temporal:
            scale = scale + logs * w["temporal"].sum(1).amax(0)
            mean = mean + VALUE_LIMIT * w["temporal_mean"].sum(1).amax(0)
        worst = torch.stack([scale, mean])
        if self.config.hidden:
            first = VALUE_LIMIT * w["hidden_weight"].flatten(1).sum(1) + w["hidden_bias"]
            worst = worst + HIDDEN_LIMIT * w["output_weight"].sum(1).view(2, -1)
            return float(torch.maximum(worst.max(), first.max()))
        return float(worst.max())


def _to_unit(values: Tensor) -> Tensor:
    """The nearest weights that are multiples of 2^-10."""
    return (torch.round(values.double() * (1 << WEIGHT_BITS)) / (1 << WEIGHT_BITS)).float()


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("dc,nchw->ndhw", matrix, x)


def _proximity(
    frequencies: Frequencies | None, group_of: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Averaging weights over earlier groups: near and wide in frequency, less across planes."""
    channels = len(group_of)
    if frequencies is None:
        return np.zeros((channels, channels)), np.zeros((channels, channels))
    f = frequencies
    distance = np.subtract.outer(f.vertical, f.vertical) ** 2.0
    distance += np.subtract.outer(f.horizontal, f.horizontal) ** 2.0
    same = np.equal.outer(f.plane, f.plane)
    earlier = np.less.outer(group_of, group_of).T
    near = np.exp(-distance / 2) * np.where(same, 1, 0.5) * earlier
    far = np.exp(-distance / 18) * np.where(same, 1, 0.3) * earlier
    near, far = (m / (m.sum(1, keepdims=True) + 1e-6) for m in (near, far))
    return near, far
