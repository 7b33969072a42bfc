"""The prior of low-pass frames: each block is predicted from blocks beside and above it.

A low-pass frame is an average picture, and takes half of the bits of many a file. Its blocks are
half as large as those of the details (`BlockLayout`) and are coded in wavefronts, so
that a block sees all coefficients of four decoded neighbours. A network without biases reads their
values and predicts the block's; another reads their log-magnitudes and predicts scales. Inside of a
block the groups of channels see the groups before, as in the latent prior.

Everything is integer arithmetic, as there: parameters are multiples of 2^-10, values are sixteenths
of a step. `forward` evaluates all blocks at once, for the fit; `bitstream/intra.py` codes.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from innvc.model.contexts import VALUE_LIMIT, log_magnitude, log_table
from innvc.model.quantisation import SCALE_LEVELS, floor_ste, round_ste
from innvc.model.start import Frequencies, group_keys

WEIGHT_BITS = 10  # parameters are integers times 2^-10
HIDDEN_LIMIT = (1 << 24) - 1  # of the value network's units, in 256ths
SCALE_LIMIT = (1 << 15) - 1  # of the scale network's units, in 64ths
NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1))  # left, above, above left, above right
INITIAL_INDEX = 14  # of all tables, before any training


class BlockLayout:
    """Where the coefficients of the half-size blocks lie among the latent's channels.

    Channel (plane, v, h) of a latent position holds coefficient (v // 2, h // 2) of the block at
    row v % 2 and column h % 2 of the position, so that plane and about the frequency agree.

    Args:
        whole, half: Frequencies of the latent, and of a backbone with one stage less.
        base: Matrix of the last stage (start.py).

    Attributes:
        channels: Of a block.
        channel: [C, 2, 2] the latent's channel of each coefficient.
        source: [4C] the last stage's input channel of each latent channel.
        merge: [4C, 4C] integers times 2^-10: latent of half-size blocks to that of whole ones.
    """

    def __init__(self, whole: Frequencies, half: Frequencies, base: np.ndarray) -> None:
        self.channels = len(half.plane)
        place = {key: i for i, key in enumerate(zip(*whole, strict=True))}
        self.channel = torch.tensor(
            [
                [[place[p, 2 * v + y, 2 * h + x] for x in (0, 1)] for y in (0, 1)]
                for p, v, h in zip(*half, strict=True)
            ]
        )
        order = np.lexsort((half.horizontal, half.vertical, half.plane))  # that of stages between
        rank = np.argsort(order)
        self.source = torch.empty(4 * self.channels, dtype=torch.long)
        for y in (0, 1):
            for x in (0, 1):
                self.source[self.channel[:, y, x]] = torch.from_numpy(4 * rank + 2 * y + x)
        self.merge = np.floor(base[:, self.source.numpy()] * (1 << WEIGHT_BITS) + 0.5)

    def blocks(self, latent: Tensor) -> Tensor:
        """[..., 4C, H, W] to a coefficient map of the blocks [..., C, 2H, 2W]."""
        x = latent[..., self.channel.to(latent.device), :, :]  # [..., C, 2, 2, H, W]
        x = x.movedim((-4, -3), (-3, -1))  # [..., C, H, 2, W, 2]
        return x.flatten(-2).flatten(-3, -2)

    def latent(self, blocks: Tensor) -> Tensor:
        """The inverse of `blocks`."""
        x: Tensor = blocks.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))  # [..., C, H, 2, W, 2]
        x = x.movedim((-3, -1), (-4, -3)).flatten(-5, -3)
        return x[..., self.channel.flatten().argsort().to(blocks.device), :, :]


class IntraPrior(nn.Module):
    """Scale index and mean for each coefficient of a low-pass frame's blocks.

    Args:
        layout: Of the blocks.
        frequencies: Of a block's channels.
        units: Of the value network's two layers, and of the scale network's.
        step_base: log2 of the quantisation step in 1/16 octave.
    """

    logarithms: Tensor
    merge: Tensor

    def __init__(
        self,
        layout: BlockLayout,
        frequencies: Frequencies,
        units: tuple[int, int],
        step_base: int,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.frequencies = frequencies
        self.step_base = step_base
        channels, hidden, scales = layout.channels, *units
        groups = np.unique(group_keys(frequencies), return_inverse=True)[1]
        self.group_of = torch.from_numpy(groups)
        self.groups: tuple[int, ...] = tuple(np.bincount(groups).tolist())
        flat = (frequencies.vertical == 0) & (frequencies.horizontal == 0)
        self.flat = torch.from_numpy(np.flatnonzero(flat))  # the blocks' averages
        self.register_buffer("logarithms", log_table(), persistent=False)
        self.register_buffer("merge", torch.from_numpy(layout.merge), persistent=False)

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape))

        self.enter = zeros(hidden, 4, channels)
        self.middle = zeros(hidden, hidden)
        self.leave = zeros(channels, hidden)
        self.linear = zeros(channels, 4, channels)
        self.within = zeros(channels, channels)
        self.base = nn.Parameter(torch.full((channels,), float(INITIAL_INDEX)))
        self.slope = zeros(channels)
        self.absent = zeros(channels, 4)
        self.scale_enter = zeros(scales, 8, channels)
        self.scale_bias = zeros(scales)
        self.scale_leave = zeros(channels, scales)
        self.scale_linear = zeros(channels, 8, channels)
        self.scale_hidden = zeros(channels, hidden)
        self.scale_within = zeros(channels, channels)

    def masks(self) -> dict[str, Tensor]:
        """True where an element of a parameter is used: its column is decoded before its row."""
        return dict.fromkeys(("within", "scale_within"), self.group_of < self.group_of[:, None])

    def weights(self) -> dict[str, Tensor]:
        """The parameters as integers (float dtype), masked, neighbours and channels as one axis."""
        weights = {n: round_ste(p * (1 << WEIGHT_BITS)) for n, p in self.named_parameters()}
        for name, sees in self.masks().items():
            weights[name] = weights[name] * sees.to(self.base)
        return {n: w.flatten(1) if w.dim() == 3 else w for n, w in weights.items()}

    def merged(self, value: Tensor) -> Tensor:
        """The latent of whole blocks [N, 4C, H, W] (sixteenths) from that of half-size ones."""
        product = torch.einsum("dc,nchw->ndhw", self.merge.to(value), value)
        product = floor_ste(product / (1 << WEIGHT_BITS) + 0.5)
        return product.clamp(-VALUE_LIMIT, VALUE_LIMIT)

    def forward(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Scale indexes and means in sixteenths, [N, 4C, H, W], of low-pass frames of known values.

        Args:
            value: Their latent in sixteenths.
        """
        w = self.weights()
        blocks = self.layout.blocks(value)
        height, width = blocks.shape[-2:]
        near, there = beside(blocks), beside(torch.ones_like(blocks[:1, :1]))
        average = self._average(near[:, 0, self.flat], near[:, 1, self.flat], there)
        near = torch.stack(list(near.unbind(1)), 1)
        near[:, :, self.flat] = (near[:, :, self.flat] - average[:, None]) * there
        x = near.flatten(1, 2).flatten(2)  # [N, 4C, P]
        h = floor_ste(F.relu(w["enter"] @ x) / 2**12).clamp(max=HIDDEN_LIMIT)
        h = floor_ste(F.relu(h + (w["middle"] @ h) / 2**16)).clamp(max=HIDDEN_LIMIT)
        first = floor_ste((w["linear"] @ x + w["leave"] @ h) / 2**16 + 0.5)
        first = first.unflatten(2, (height, width))
        first = first.index_add(1, self.flat.to(first.device), average)
        first = first.clamp(-VALUE_LIMIT, VALUE_LIMIT)
        residual = blocks - first
        magnitudes = torch.cat([beside(blocks), beside(residual)], 1)
        logs = self._log(magnitudes).flatten(1, 2).flatten(2)
        s = F.relu(w["scale_enter"] @ logs + w["scale_bias"][:, None])
        s = floor_ste(s / 2**10).clamp(max=SCALE_LIMIT)
        scale = w["scale_leave"] @ s + w["scale_linear"] @ logs
        scale = scale + w["scale_hidden"] @ self._log(floor_ste(h / 32))
        scale = scale.unflatten(2, (height, width))
        scale = scale + torch.einsum("dc,nchw->ndhw", w["scale_within"], self._log(residual))
        fixed = w["base"] - self.step_base * w["slope"]
        lacking = torch.einsum("dk,nkhw->ndhw", w["absent"], 1 - there[:, :, 0])
        scale = scale + 64 * (fixed[:, None, None] + lacking)
        scale = floor_ste(scale / 2**16).clamp(0, SCALE_LEVELS - 1)
        more = torch.einsum("dc,nchw->ndhw", w["within"], residual)
        mean = (first + floor_ste(more / 2**16 + 0.5)).clamp(-VALUE_LIMIT, VALUE_LIMIT)
        return self.layout.latent(scale), self.layout.latent(mean)

    @staticmethod
    def _average(left: Tensor, above: Tensor, there: Tensor) -> Tensor:
        """Of the left and the upper block what is there, rounded down; zero without both."""
        count = (there[:, 0] + there[:, 1]).clamp(min=1)
        return floor_ste((left + above) / count)

    def _log(self, value: Tensor) -> Tensor:
        return log_magnitude(value.abs().clamp(max=VALUE_LIMIT), self.logarithms)


def beside(x: Tensor) -> Tensor:
    """The four decoded neighbours of each block, zero outside: [N, 4, C, H, W]."""
    height, width = x.shape[-2:]
    wide = F.pad(x, (1, 1, 1, 0))
    parts = [wide[..., 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in NEIGHBOURS]
    return torch.stack(parts, 1)
