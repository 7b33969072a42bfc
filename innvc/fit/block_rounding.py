"""Symbols and directions of a low-pass frame's blocks, chosen by rate and distortion."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.directions import NONE
from innvc.bitstream.intra import Blocks, ExactIntra
from innvc.bitstream.step_offsets import steps_of
from innvc.fit.symbol_costs import symbol_costs
from innvc.model.contexts import RESIDUAL_LIMIT
from innvc.model.motion import in_quarters
from innvc.model.quantisation import SCALE_LEVELS, RateAwareRounding

TRIED = 8  # directions of a block that are coded on trial


class BlockRounding:
    """Chooses symbols and directions (see `bitstream.intra.BlockChooser`).

    Args:
        intra: The prior of low-pass frames.
        latent: Of the low-pass frame, in steps of the channels [C, H, W].
        weight: Bits that a squared error of one step is worth, of the same shape.
        offsets: Step offsets [H, W].
    """

    def __init__(
        self, intra: ExactIntra, latent: Tensor, weight: Tensor, offsets: np.ndarray
    ) -> None:
        self._intra = intra
        self._round = RateAwareRounding()
        step = torch.from_numpy(in_quarters(steps_of(offsets) / 16))
        self._latent = intra.layout.blocks(latent).cpu() / step
        self._weight = intra.layout.blocks(weight).cpu().to(self._latent) * step.square()
        self._step = 16 * step

    def symbols(
        self, rows: slice, i: np.ndarray, j: np.ndarray, scale: np.ndarray, mean: np.ndarray
    ) -> np.ndarray:
        wanted = self._latent[rows][:, i, j] - torch.from_numpy(mean) / self._step[i, j]
        wanted = wanted.clamp(-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        weight = self._weight[rows][:, i, j]
        found: np.ndarray = self._round(wanted, torch.from_numpy(scale), weight).int().numpy()
        return found

    def directions(self, blocks: Blocks, bits: np.ndarray) -> np.ndarray:
        inside = np.flatnonzero(np.isfinite(bits[1:]).all(0))
        result = np.full(len(blocks.i), NONE)
        if not len(inside):
            return result
        promising = self._promising(blocks, inside, bits[1:, inside])
        # No direction, and the others, side by side.
        tried = np.concatenate([np.full((1, len(inside)), NONE), promising])
        cost = self._on_trial(blocks, np.tile(inside, len(tried)), tried.ravel())
        cost = cost.reshape(tried.shape) + bits[1 + tried, inside]
        result[inside] = tried[cost.argmin(0), np.arange(len(inside))]
        return result

    def _promising(self, blocks: Blocks, inside: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """The directions [TRIED, P] that cost least where the networks' scales are kept."""
        assert self._intra.directions is not None
        i, j = blocks.i[inside], blocks.j[inside]
        step = self._step[i, j].numpy()
        index = np.floor(blocks.scale[:, inside] / 2**16).clip(0, SCALE_LEVELS - 1)
        index = (index + blocks.offset[inside]).clip(0, SCALE_LEVELS - 1).astype(np.int32)
        total = bits.copy()
        for channels, means in self._intra.directions.predict_all(blocks.near[..., inside]):
            wanted = self._latent[channels][:, i, j].numpy() - means / step
            weight, scale = self._weight[channels][:, i, j].numpy(), index[channels][None]
            size = abs(wanted).astype(np.float32)
            nearest = np.floor(size + 0.5)
            best = np.float32(np.inf)
            for symbol in (nearest, np.maximum(nearest - 1, 0)):
                found = symbol_costs(symbol.astype(np.int32), scale) + weight * (size - symbol) ** 2
                best = np.minimum(best, found)
            total += best.sum(1)
        return np.argpartition(total, TRIED - 1, axis=0)[:TRIED]

    def _on_trial(self, blocks: Blocks, which: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Bits and weighted errors [n] of some of the blocks, each coded in a direction."""
        parts = blocks.near, blocks.first, blocks.scale, blocks.offset
        here = Blocks(blocks.i[which], blocks.j[which], *(part[..., which] for part in parts))
        total = np.zeros(len(which))

        def symbols(group: slice, index: np.ndarray, mean: np.ndarray) -> np.ndarray:
            nonlocal total
            found = self.symbols(group, here.i, here.j, index, mean)
            wanted = self._latent[group][:, here.i, here.j].numpy()
            error = wanted - mean / self._step[here.i, here.j].numpy() - found
            weight = self._weight[group][:, here.i, here.j].numpy()
            total += (symbol_costs(abs(found), index.astype(np.int32)) + weight * error**2).sum(0)
            return found

        first = self._intra.directed(here, direction)
        self._intra.within(first, here.scale, here.offset, symbols)
        return total
