"""Symbols chosen by rate and distortion, while they are coded."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.dependent import SymbolCoder
from innvc.bitstream.step_offsets import steps_of
from innvc.fit.refinement import Refinement
from innvc.fit.trellis import Trellis
from innvc.model.contexts import RESIDUAL_LIMIT
from innvc.model.quantisation import ChosenBits, RateAwareRounding, worth_skipping

# So much more than else errors count against values that were found before.
NEAR = 16
ROUNDS = 3  # of better symbols: each moves the means of channels that follow, and of neighbours


@dataclass(frozen=True)
class Choices:
    """What was chosen for a packet.

    Attributes:
        symbols: Of each subband frame [C, H, W], where they are kept.
        skipped: Positions without symbols [H, W] of each subband frame that has such.
    """

    symbols: dict[int, np.ndarray] = field(default_factory=dict)
    skipped: dict[int, np.ndarray] = field(default_factory=dict)


class Rounding:
    """Chooses symbols by rate and distortion.

    Args:
        latent: [G, C, H, W] in steps of the channels.
        weight: Bits a squared error of one step is worth, of the same shape.
        symbols: How they are coded.
        offsets: Step offsets [H, W] of the low-pass frame.
        keep: Keeps the symbols, for another one that begins with them.
        refinement: Finds better values for some frames; the others stay as they were `before`.

    Attributes:
        choices: Of the last pass.
    """

    def __init__(
        self,
        latent: Tensor,
        weight: Tensor,
        symbols: SymbolCoder,
        offsets: np.ndarray,
        keep: bool = False,
        refinement: Refinement | None = None,
        before: Choices | None = None,
    ) -> None:
        latent, weight = latent.cpu(), weight.cpu()
        # Steps of the positions, in those of the channels, [G, 1, H, W].
        self._step = torch.ones_like(latent[:, :1])
        self._step[0, 0] = torch.from_numpy(steps_of(offsets) / 16).to(latent)
        self._latent = self._aims = latent
        self._weight = weight.to(latent.dtype) * self._step.square()
        self._refinement, self._before = refinement, before
        self._keep = keep or refinement is not None
        self.choices = Choices()
        if refinement is not None:
            again = refinement.details
            self._latent = latent.clone()
            self._latent[again] = refinement.values[again].to(latent)
            self._weight[again] *= NEAR
        self._round = RateAwareRounding()
        self._bits = ChosenBits().to(latent)
        self._planes, self._following = symbols.planes, symbols.following
        self._starts: set[int] = set()  # of groups
        self._better: np.ndarray | None = None  # symbols
        self._subband = -1
        self._begin(-1)

    def _begin(self, subband: int) -> None:
        if self._better is not None and self._refinement is not None:
            _, _, mean, places = self._parts()
            self._refinement.settle(self._subband, self._better, mean, places)
        self._subband, self._decided, self._rounds = subband, False, 0
        self._costs = torch.zeros_like(self._latent[0, :1]).repeat(3, 1, 1)
        # What the last pass found: scale indexes, and values in steps less their means.
        self._seen = np.zeros((2, *self._latent.shape[1:]))
        self._trellis: Trellis | None = None
        self._better = None

    def __call__(
        self, subband: int, rows: slice, places: np.ndarray, scale: np.ndarray, mean: np.ndarray
    ) -> np.ndarray:
        """Symbols of a subband frame's channels; notes what they cost until `skipped` is asked."""
        before = self._before
        if before is not None and self.known(subband) is not None:
            return before.symbols[subband][rows]
        found = self._found(subband, rows, places, scale, mean)
        if self._keep:
            kept = self.choices.symbols
            if subband not in kept:
                kept[subband] = np.zeros(self._latent.shape[1:], np.int32)
            kept[subband][rows, places] = found[:, places]
        return found

    def _found(
        self, subband: int, rows: slice, places: np.ndarray, scale: np.ndarray, mean: np.ndarray
    ) -> np.ndarray:
        if subband != self._subband:
            self._begin(subband)
        weight = self._weight[subband, rows]
        wanted = self._latent[subband, rows] - torch.from_numpy(mean / 16)
        wanted = (wanted / self._step[subband]).clamp(-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        if self._planes is not None:
            self._starts.add(rows.start)
            self._seen[:, rows, places] = scale[:, places], wanted.numpy()[:, places]
        if self._better is not None:
            return self._better[rows]
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

    def known(self, subband: int) -> np.ndarray | None:
        """Skipped positions [H, W] of frames that stay as they were before."""
        if self._before is None or self._refinement is None or subband in self._refinement.details:
            return None
        return self._before.skipped.get(subband)

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
        self.choices.skipped[subband] = mask
        return mask

    def improve(self, subband: int) -> bool:
        """Looks for better symbols; whether a pass is wanted that tells what their means are."""
        if self._refinement is None:
            return False
        self._trellis = None  # it is large
        self._better = self._refinement(subband, self.choices.symbols[subband], *self._parts())
        self._rounds += 1
        return self._rounds < ROUNDS

    def _parts(self) -> tuple[np.ndarray, ...]:
        """Scale indexes, what is to be coded, means, and places, as `Refinement` takes them."""
        scale, x = self._seen
        mean = self._latent[self._subband].numpy() - x
        aim = self._aims[self._subband].numpy() - mean
        return scale.astype(int), aim, mean, ~self.choices.skipped[self._subband]
