"""What the fit minimises: rate and distortion of a batch (design section 4)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from innvc.fit.data import Batch
from innvc.fit.schedule import Schedule
from innvc.model.contexts import VALUE_LIMIT, Context
from innvc.model.intra import IntraPrior
from innvc.model.model import InnvcModel
from innvc.model.prior import LatentPrior
from innvc.model.quantisation import (
    ChosenBits,
    RateAwareRounding,
    dead_zone_round,
    noisy_round,
    soft_round,
    symbol_bits,
    through,
    worth_skipping,
)

WIDE_INDEX = 40.0  # of a table under which rounding is to the nearest symbol


class AnyBatch(Protocol):
    """What a step of the fit sees."""

    @property
    def positions(self) -> int:
        """Of the latent, in each of its frames."""


B = TypeVar("B", bound=AnyBatch)


class FitObjective(nn.Module, Generic[B]):
    """Rate and distortion of a batch; a module so that quantised parameters can be put in.

    Attributes:
        plane_weights: Share in the distortion of each channel of the data, sum 1.
    """

    def __init__(self, plane_weights: Tensor) -> None:
        super().__init__()
        self.plane_weights = plane_weights

    @abstractmethod
    def counted(self, batch: B) -> Tensor:
        """[N] frames whose rate and distortion the fit can change."""

    @abstractmethod
    def forward(
        self, batch: B, schedule: Schedule, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Bits of the latent and mean weighted squared error of the counted frames."""


class SymbolChoice(nn.Module):
    """The symbols that the encoder would choose, by rate and distortion.

    Args:
        error_weight: Bits that a squared error of each channel is worth [C].
        skip: Whether positions may be skipped.
    """

    def __init__(self, error_weight: Tensor, skip: bool) -> None:
        super().__init__()
        self.rounding = RateAwareRounding()
        self.bits = ChosenBits()
        self.error_weight = error_weight
        self.skip = skip

    def symbols(self, scaled: Tensor, steps: Tensor, scale: Tensor, mean: Tensor) -> Tensor:
        """Those of latents [N, C, H, W] in steps, whose sizes are `steps` [N, C, 1, 1]."""
        symbols: Tensor = self.rounding(scaled - mean / 16, scale, self._weight(steps))
        return symbols

    def forward(
        self,
        scaled: Tensor,
        steps: Tensor,
        scale: Tensor,
        mean: Tensor,
        temperature: float,
        never_skipped: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Their bits, and the values that are decoded from them.

        Args:
            temperature: Of the soft rounding, whose derivative is taken (straight-through).
            never_skipped: Frames [N] without skipped positions; None is no frame.
        """
        weight, wanted = self._weight(steps), scaled - mean / 16
        chosen = self.rounding(wanted, scale, weight)
        soft = soft_round(wanted, temperature)
        bits = self.bits(chosen, scale, soft)
        if self.skip:
            kept = ~self._skipped(chosen, bits.detach(), wanted.detach(), weight)
            if never_skipped is not None:
                kept = kept | never_skipped[:, None, None, None]
            chosen, soft, bits = chosen * kept, soft * kept, bits * kept
        return bits, through(chosen, soft) + mean / 16

    def _weight(self, steps: Tensor) -> Tensor:
        return self.error_weight[:, None, None] * steps.square()

    @staticmethod
    def _skipped(chosen: Tensor, bits: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
        """[N, 1, H, W] positions that the encoder would skip."""
        coded = (bits + weight * (wanted - chosen).square()).sum(1, keepdim=True)
        zero = (weight * wanted.square()).sum(1, keepdim=True)
        empty = ~(chosen != 0).any(1, keepdim=True)
        return worth_skipping(coded, zero, empty)


class Objective(FitObjective[Batch]):
    """That of the usual model.

    Args:
        fixed: The data are latents already: the transform is orthonormal and not fitted.
    """

    def __init__(
        self, model: InnvcModel, plane_weights: Tensor, lambda_: float, fixed: bool
    ) -> None:
        super().__init__(plane_weights)
        self.choice = choice_of(model, lambda_)
        self.model = model
        self.fixed = fixed

    def forward(
        self, batch: Batch, schedule: Schedule, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        model = self.model
        steps = model.steps(batch.level)
        scaled = self._analysis(batch) / steps
        active = self._active(len(scaled), schedule, generator)
        if schedule.hard:
            context = self.context(batch, scaled, steps, active)
            found = self._predict(batch, context)
            bits, value = self.choice(scaled, steps, *found, schedule.temperature, batch.half)
            value = value * active
        else:
            value = noisy_round(scaled, schedule.temperature, schedule.noise_shape, generator)
            value = value * active
            scale, mean = self._predict(batch, value)
            bits = symbol_bits(value - mean / 16, scale)
        # Frames that are only a context do not count.
        counted = self.counted(batch).to(bits.dtype)
        bits = (bits * active).sum((1, 2, 3)) @ counted
        error = self._synthesis(batch, value * steps) - batch.subbands
        error = counted @ error.square().mean((2, 3)) / counted.sum().clamp(min=1)
        return bits, (error * self.plane_weights).sum()

    @torch.no_grad()
    def context(self, batch: Batch, scaled: Tensor, steps: Tensor, active: Tensor) -> Tensor:
        """Values of a first pass, which the second one sees as contexts, as the decoder will."""
        scale, mean = self._predict(batch, dead_zone_round(scaled) * active)
        symbols = self.choice.symbols(scaled, steps, scale, mean)
        return (symbols + mean / 16) * active

    def counted(self, batch: Batch) -> Tensor:
        # The intra prior is not fitted, and without a fit of the transform neither is its latent.
        return batch.counted & ~batch.half if self.fixed else batch.counted

    def _predict(self, batch: Batch, value: Tensor) -> tuple[Tensor, Tensor]:
        value = (16 * value).clamp(-VALUE_LIMIT, VALUE_LIMIT)
        grid = self.model.grid_context(batch.window)
        return predict(self.model.prior, batch, value, self.model.intra, not self.fixed, grid)

    def _analysis(self, batch: Batch) -> Tensor:
        if self.fixed:
            return batch.subbands
        self._matrices = self.model.backbone.matrices()
        self._condition = self.model.condition(batch.window)
        half = batch.half if self.model.intra is not None else None
        return self.model.analysis(batch.subbands, self._matrices, self._condition, half)

    def _synthesis(self, batch: Batch, latent: Tensor) -> Tensor:
        if self.fixed:
            return latent
        half = batch.half if self.model.intra is not None else None
        return self.model.synthesis(latent, self._matrices, self._condition, half)

    def _active(self, frames: int, schedule: Schedule, generator: torch.Generator) -> Tensor:
        """[N, C, 1, 1] 1 where a channel's group is active: one draw a frame decides all groups."""
        group = self.model.prior.group_of
        draw = torch.rand(frames, 1, generator=generator, device=group.device)
        probability = (schedule.open_groups - group[None]).clamp(0, 1)
        return (probability > draw).to(torch.float32)[:, :, None, None]


def choice_of(model: InnvcModel, lambda_: float) -> SymbolChoice:
    """How an encoder of the model chooses symbols."""
    return SymbolChoice(lambda_ * model.error_shares(), model.config.prior.skip)


def contexts(
    prior: LatentPrior, batch: Batch, value: Tensor, intra: IntraPrior | None = None
) -> tuple[Context, Context, Context, Context]:
    """Of each frame of a batch its own context, the parent's, the sibling's and the low-pass's.

    Args:
        value: In sixteenths [N, C, H, W].
        intra: For the frames in half-size blocks.
    """
    half = batch.half.nonzero()[:, 0]
    if intra is not None and len(half):
        value = value.index_copy(0, half, intra.merged(value[half]))
    own = prior.context(value)
    zero = torch.zeros_like(value[:1])

    def taken(index: Tensor) -> Context:  # index -1 takes the zero frame
        parts = (own.value, own.own, own.around)
        return Context(*(torch.cat([part, zero])[index] for part in parts))

    return own, taken(batch.parent), taken(batch.sibling), taken(batch.low)


def predict(
    prior: LatentPrior,
    batch: Batch,
    value: Tensor,
    intra: IntraPrior | None = None,
    rates: bool = True,
    grid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The priors' scale indexes and means for all channels of a batch at once.

    Args:
        value, intra: As of `contexts`.
        rates: False leaves frames in half-size blocks without prediction, where only others are
            looked at.
        grid: What the prior reads of the field's grid.
    """
    every, half = slice(0, value.shape[1]), batch.half.nonzero()[:, 0]
    seen = contexts(prior, batch, value, intra)
    scale, mean = prior(prior.weights(), every, batch.statistics, *seen, grid)
    if intra is None or not len(half):
        return scale, mean
    if rates:
        of_half = intra(value[half])
    else:
        of_half = torch.full_like(scale[half], WIDE_INDEX), torch.zeros_like(mean[half])
    return scale.index_copy(0, half, of_half[0]), mean.index_copy(0, half, of_half[1])
