"""What the fit minimises: rate and distortion of a batch (design section 4)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from innvc.fit.data import Batch
from innvc.fit.schedule import Schedule
from innvc.model.contexts import VALUE_LIMIT, Context
from innvc.model.field import Window
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
    def window(self) -> Window:
        """Where it lies."""


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


class Objective(FitObjective[Batch]):
    """That of the usual model.

    Args:
        fixed: The data are latents already: the transform is orthonormal and not fitted.
    """

    def __init__(
        self, model: InnvcModel, plane_weights: Tensor, lambda_: float, fixed: bool
    ) -> None:
        super().__init__(plane_weights)
        self.rounding = RateAwareRounding()
        self.chosen_bits = ChosenBits()
        self.error_weight = lambda_ * model.error_shares()
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
            bits, value = self._chosen(batch, scaled, steps, active, schedule)
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

    def _chosen(
        self, batch: Batch, scaled: Tensor, steps: Tensor, active: Tensor, schedule: Schedule
    ) -> tuple[Tensor, Tensor]:
        """Bits and values of the symbols that the encoder would choose.

        The first pass finds the symbols, the second sees them as contexts, as the decoder will.
        """
        weight = self.error_weight[:, None, None] * steps.square()
        with torch.no_grad():
            scale, mean = self._predict(batch, dead_zone_round(scaled) * active)
            symbol = self.rounding(scaled - mean / 16, scale, weight)
            context = (symbol + mean / 16) * active
        scale, mean = self._predict(batch, context)
        wanted = scaled - mean / 16
        chosen = self.rounding(wanted, scale, weight)
        # The derivative is that of soft rounding (straight-through).
        soft = soft_round(wanted, schedule.temperature)
        bits = self.chosen_bits(chosen, scale, soft)
        if self.model.config.prior.skip:
            kept = (
                ~self._skipped(chosen, bits.detach(), wanted.detach(), weight)
                | batch.half[:, None, None, None]
            )
            chosen, soft, bits = chosen * kept, soft * kept, bits * kept
        value = (through(chosen, soft) + mean / 16) * active
        return bits, value

    @staticmethod
    def _skipped(chosen: Tensor, bits: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
        """[N, 1, H, W] positions that the encoder would skip."""
        coded = (bits + weight * (wanted - chosen).square()).sum(1, keepdim=True)
        zero = (weight * wanted.square()).sum(1, keepdim=True)
        empty = ~(chosen != 0).any(1, keepdim=True)
        return worth_skipping(coded, zero, empty)

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
        value: In sixteenths [N, C, H, W].
        intra: For the frames in half-size blocks.
        rates: False leaves these frames without prediction, where only others are looked at.
        grid: What the prior reads of the field's grid.
    """
    whole = value
    half = batch.half.nonzero()[:, 0]
    if intra is not None and len(half):
        whole = value.index_copy(0, half, intra.merged(value[half]))
    context = prior.context(whole)
    zero = torch.zeros_like(value[:1])

    def taken(index: Tensor) -> Context:  # index -1 takes the zero frame
        parts = (context.value, context.own, context.around)
        return Context(*(torch.cat([part, zero])[index] for part in parts))

    every = slice(0, value.shape[1])
    others = taken(batch.parent), taken(batch.sibling), taken(batch.low)
    contexts = context, *others, grid
    scale, mean = prior(prior.weights(), every, batch.statistics, *contexts)
    if intra is None or not len(half):
        return scale, mean
    if rates:
        of_half = intra(value[half])
    else:
        of_half = torch.full_like(scale[half], WIDE_INDEX), torch.zeros_like(mean[half])
    return scale.index_copy(0, half, of_half[0]), mean.index_copy(0, half, of_half[1])
