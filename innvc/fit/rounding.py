"""Symbols chosen by rate and distortion, while they are coded."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.dependent import SymbolCoder
from innvc.bitstream.step_offsets import steps_of
from innvc.fit.trellis import Trellis
from innvc.model.contexts import RESIDUAL_LIMIT
from innvc.model.quantisation import ChosenBits, RateAwareRounding, worth_skipping


class Rounding:
    """Chooses symbols by rate and distortion.

    Args:
        latent: [G, C, H, W] in steps of the channels.
        weight: Bits a squared error of one step is worth, of the same shape.
        symbols: How they are coded.
        offsets: Step offsets [H, W] of the low-pass frame.
    """

    def __init__(
        self,
        latent: Tensor,
        weight: Tensor,
        symbols: SymbolCoder,
        offsets: np.ndarray,
    ) -> None:
        latent, weight = latent.cpu(), weight.cpu()
        # Steps of the positions, in those of the channels, [G, 1, H, W].
        self._step = torch.ones_like(latent[:, :1])
        self._step[0, 0] = torch.from_numpy(steps_of(offsets) / 16).to(latent)
        self._latent = latent
        self._weight = weight.to(latent.dtype) * self._step.square()
        self._round = RateAwareRounding()
        self._bits = ChosenBits().to(latent)
        self._planes, self._following = symbols.planes, symbols.following
        self._starts: set[int] = set()  # of groups
        self._begin(-1)

    def _begin(self, subband: int) -> None:
        self._subband, self._decided = subband, False
        self._costs = torch.zeros_like(self._latent[0, :1]).repeat(3, 1, 1)
        # What the last pass found: scale indexes, and values in steps less their means.
        self._seen = np.zeros((2, *self._latent.shape[1:]))
        self._trellis: Trellis | None = None

    def __call__(
        self, subband: int, rows: slice, places: np.ndarray, scale: np.ndarray, mean: np.ndarray
    ) -> np.ndarray:
        """Symbols of a subband frame's channels; notes what they cost until `skipped` is asked."""
        if subband != self._subband:
            self._begin(subband)
        weight = self._weight[subband, rows]
        wanted = self._latent[subband, rows] - torch.from_numpy(mean / 16)
        wanted = (wanted / self._step[subband]).clamp(-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        if self._planes is not None:
            self._starts.add(rows.start)
            self._seen[:, rows, places] = scale[:, places], wanted.numpy()[:, places]
        if self._trellis is not None:
            parts = (x[:, places] for x in (wanted.numpy(), scale, weight.numpy()))
            symbols: np.ndarray = np.zeros(wanted.shape, np.int32)
            symbols[:, places] = self._trellis.symbols(rows, places.ravel(), *parts)
            return symbols
        index = torch.from_numpy(scale).to(wanted)
        chosen = self._round(wanted, index, weight)
        if self._planes is None and not self._decided:
            bits = self._bits(chosen, index, wanted)
            errors = weight * (wanted - chosen).square(), weight * wanted.square()
            cost = torch.stack([bits + errors[0], errors[1], chosen.abs()]).sum(1)
            self._costs = self._costs + cost * torch.from_numpy(places)
        found: np.ndarray = chosen.to(torch.int32).numpy()
        return found

    def skipped(self, subband: int) -> np.ndarray:
        """Positions whose symbols cost more than they are worth; those of zeros alone, too."""
        coded, zero, sizes = self._costs
        empty, self._decided = sizes == 0, True
        if self._planes is not None:
            scale, x = self._seen.reshape(2, len(self._planes), -1)
            weight = self._weight[subband].flatten(1).numpy()
            starts = sorted(self._starts)
            self._trellis = None  # it is large
            self._trellis = Trellis(self._following, x, scale, weight, self._planes, starts)
            coded = torch.from_numpy(self._trellis.costs).to(zero).view_as(zero)
            zero = torch.from_numpy((weight * x**2).sum(0)).to(zero).view_as(zero)
            empty = coded >= zero
        mask: np.ndarray = worth_skipping(coded, zero, empty).numpy()
        return mask
