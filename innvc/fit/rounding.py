"""Symbols chosen by rate and distortion, while they are coded."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.intra import ExactIntra
from innvc.bitstream.latent import RESIDUAL_LIMIT
from innvc.model.quantisation import ChosenBits, RateAwareRounding, worth_skipping


class Rounding:
    """Chooses symbols by rate and distortion.

    Args:
        latent: [G, C, H, W] in steps.
        weight: Bits a squared error of one step is worth, [G, C, 1, 1].
        intra: The prior of low-pass frames.
    """

    def __init__(self, latent: Tensor, weight: Tensor, intra: ExactIntra | None) -> None:
        self._latent = latent
        self._weight = weight.to(latent.dtype)
        self._round = RateAwareRounding().to(latent.device)
        self._bits = ChosenBits().to(latent)
        self._costs = torch.zeros_like(latent[0, :1]).repeat(3, 1, 1)
        self._decided = -1
        if intra is not None:
            self._round_blocks = RateAwareRounding()
            self._blocks = intra.layout.blocks(latent[0]).cpu()
            self._block_weight = intra.layout.blocks(self._weight[0])[:, :1, 0].cpu()

    def __call__(
        self, subband: int, rows: slice, places: Tensor, scale: Tensor, mean: Tensor
    ) -> np.ndarray:
        """Symbols of a subband frame's channels; counts what they cost until `skipped` is asked."""
        latent, weight = self._latent[subband, rows], self._weight[subband, rows]
        symbols = self._symbols(latent, scale, mean, weight, self._round)
        if subband == self._decided:
            return symbols
        chosen, wanted = torch.from_numpy(symbols).to(scale), latent - mean / 16
        bits = self._bits(chosen, scale, wanted)
        errors = weight * (wanted - chosen).square(), weight * wanted.square()
        cost = torch.stack([bits + errors[0], errors[1], chosen.abs()]).sum(1)
        self._costs = self._costs + cost * places
        return symbols

    def skipped(self, subband: int) -> np.ndarray:
        """Positions whose symbols cost more than they are worth; those of zeros alone, too."""
        coded, zero, sizes = self._costs
        self._decided, self._costs = subband, torch.zeros_like(self._costs)
        mask: np.ndarray = worth_skipping(coded, zero, sizes == 0).cpu().numpy()
        return mask

    def of_blocks(
        self, rows: slice, i: np.ndarray, j: np.ndarray, scale: np.ndarray, mean: np.ndarray
    ) -> np.ndarray:
        """Symbols of channels of some blocks of the low-pass frame."""
        latent = self._blocks[rows][:, i, j]
        scales, means = torch.from_numpy(scale), torch.from_numpy(mean)
        return self._symbols(latent, scales, means, self._block_weight[rows], self._round_blocks)

    @staticmethod
    def _symbols(
        latent: Tensor, scale: Tensor, mean: Tensor, weight: Tensor, rounding: RateAwareRounding
    ) -> np.ndarray:
        wanted = (latent - mean / 16).clamp(-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        symbols: np.ndarray = rounding(wanted, scale, weight).to(torch.int32).cpu().numpy()
        return symbols
