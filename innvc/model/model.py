"""The whole model, built from its configuration: backbone, field, latent prior and steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from innvc.config import ModelConfig
from innvc.errors import UnsupportedError
from innvc.model import start, starting_points
from innvc.model.backbone import Backbone
from innvc.model.contexts import RESIDUAL_LIMIT
from innvc.model.field import ConditioningField, Window
from innvc.model.initial import initialise
from innvc.model.intra import BlockLayout, IntraPrior
from innvc.model.post_filter import PostFilter
from innvc.model.prior import LEVELS, LatentPrior
from innvc.model.start import Frequencies

STEP_UNIT = 16  # header step_base and step parameters are in 1/16 octave
DEPENDENT_STEP = 5  # by which steps are larger in dependent quantisation, in the same unit


@dataclass(frozen=True)
class SampleLayout:
    """The facts of a pixel format that the model needs."""

    family: str
    shift_x: int
    shift_y: int

    @property
    def weights(self) -> tuple[float, ...]:
        """Share of each plane in the distortion: 6:1:1, and equal for RGB."""
        if self.family == "gray":
            return (1.0,)
        return (0.75, 0.125, 0.125) if self.family == "yuv" else (1 / 3, 1 / 3, 1 / 3)

    def shares(self, planes: Sequence[int]) -> list[float]:
        """Share in the distortion of each channel of these planes, sum 1."""
        weights = [self.weights[p] if p < len(self.weights) else 0.0 for p in planes]
        return [w / planes.count(p) for w, p in zip(weights, planes, strict=True)]

    def density(self, plane: int) -> float:
        """Samples of a plane for each sample of plane 0."""
        chroma = plane > 0 and self.family == "yuv"
        return 0.5 ** (self.shift_x + self.shift_y) if chroma else 1.0


EVEN = 0.2  # octaves of lambda that do as much as 1/16 octave of the step, about


def step_base_of(lambda_: float, layout: SampleLayout) -> int:
    """Start of the plane-0 step for a lambda, log2 in 1/16 octave (design section 4).

    At high rate d(bits)/d(step) and lambda d(D)/d(step) balance at
    step^2 = 6 n / (w ln 2 lambda) for a plane of n samples a pixel and weight w.
    """
    return round(_step_base(lambda_, layout))


def even_lambda(lambda_: float, layout: SampleLayout) -> float:
    """The lambda to decide with, so that rate and quality change evenly with the one given.

    Where rounding made the step too coarse, a larger one makes up for it.
    """
    exact = _step_base(lambda_, layout)
    return lambda_ * 2 ** (EVEN * (round(exact) - exact))


def _step_base(lambda_: float, layout: SampleLayout) -> float:
    squared = 6 / (layout.weights[0] * math.log(2) * lambda_)
    return STEP_UNIT * 0.5 * math.log2(squared)


def finest_step_base(config: ModelConfig, layout: SampleLayout) -> int:
    """Least step_base at which the latent of any video fits the symbols' range.

    The largest latent is that of a flat white group: half the range times the gain of the
    orthonormal transforms over the block, the group and, for RGB, the planes. A quarter of the
    range is left for what the fit does to the steps.
    """
    gain = config.packing * 2 ** (config.stages - 1) * math.sqrt(config.gop)
    if layout.family == "rgb":
        gain *= math.sqrt(3)
    return math.ceil(STEP_UNIT * math.log2(255 / 2 * gain / (0.75 * RESIDUAL_LIMIT)))


@dataclass(frozen=True)
class Condition:
    """What the field says of subband frames; nothing at all is the latent path alone.

    Attributes:
        features: A map for each backbone stage, fine to coarse, for the modulation.
        samples: Prediction [N, C, H, W] of the packed samples.
    """

    features: Sequence[Tensor] | None = None
    samples: Tensor | None = None


class InnvcModel(nn.Module):
    """Transform and prior of one segment.

    Args:
        config: Architecture, from the header.
        layout: Plane layout, from the header's pixel format.
        step_base: log2 of the plane-0 step in 1/16 octave, from the header.
    """

    step_offset: Tensor

    def __init__(self, config: ModelConfig, layout: SampleLayout, step_base: int) -> None:
        super().__init__()
        self.config = config
        self.layout = layout
        self.step_base = step_base
        geometry = start.packed_geometry(
            layout.family, layout.shift_x, layout.shift_y, config.packing
        )
        frequencies, half, blocks = None, None, None
        if config.base == "dct":
            bases, frequencies = start.analytic_transform(
                layout.family, layout.shift_x, layout.shift_y, config.packing, config.stages
            )
            planes = frequencies.plane
            if any(config.prior.intra):
                half = start.analytic_transform(
                    layout.family,
                    layout.shift_x,
                    layout.shift_y,
                    config.packing,
                    config.stages - 1,
                )[1]
                blocks = BlockLayout(frequencies, half, bases[-1])
        else:
            bases, latent = [], geometry
            for stage in range(config.stages):
                latent = start.squeezed(latent) if stage else latent
                bases.append(np.eye(latent.channels))
            planes = np.array(latent.planes)
        residual = config.field_role == "residual"
        features = config.field.channels if config.field and not residual else ()
        self.backbone = Backbone(
            bases, config.coupling, tuple(reversed(features)), blocks.source if blocks else None
        )
        samples = geometry.channels if residual else 0
        self.field = ConditioningField(config.field, samples) if config.field else None
        grid = [len(level) for level in self.field.grid] if self.field is not None else []
        self.dependent_step = DEPENDENT_STEP if config.dependent else 0
        of_latent = step_base + self.dependent_step
        self.prior = LatentPrior(
            config.prior, config.groups, frequencies, of_latent, sum(grid), config.layers
        )
        self.intra = None
        if blocks is not None and half is not None:
            self.intra = IntraPrior(blocks, half, config.prior.intra, step_base)
        self.step = nn.Parameter(torch.zeros(len(planes)))  # log2, relative to the base
        self.step_level = nn.Parameter(torch.zeros(LEVELS))
        self.filter = None  # where its parameters are coded; else it is the starting point's
        if config.own_filter:
            self.filter = PostFilter(starting_points.post_filter(config.start))
        self.packed_planes = geometry.planes  # of each packed channel, 3 for zeros
        self.planes = planes  # of each latent channel (base dct, or before any mixing)
        self.register_buffer("step_offset", self.step_offsets(step_base), persistent=False)
        initialise(self)
        if config.start:
            self._begin_at(config.start, frequencies, half)

    @torch.no_grad()
    def _begin_at(
        self, number: int, frequencies: Frequencies | None, half: Frequencies | None
    ) -> None:
        parameters = dict(self.named_parameters())
        values = {}
        if frequencies is not None and self.config.stages == 4 and self.config.packing == 2:
            scales = self.config.prior.scale_units > 0
            values = starting_points.values_for(number, frequencies, half, scales)
        fits = values.keys() <= parameters.keys() and all(
            value.shape == parameters[name].shape for name, value in values.items()
        )
        if not fits or not values:
            raise UnsupportedError(
                f"Starting point {number} does not fit the file's model.",
                "The file was not made by innvc.",
            )
        for name, value in values.items():
            parameters[name].copy_(torch.from_numpy(value))

    def step_offsets(self, step_base: int) -> Tensor:
        """Start of each channel's log2 step: the plane-0 step, more for planes of less weight."""
        ratios = dict.fromkeys(range(4), 1.0)  # channels of zeros too
        for plane, weight in enumerate(self.layout.weights):
            relative = self.layout.density(plane) if self.config.packing == 2 else 1.0
            ratios[plane] = relative * self.layout.weights[0] / weight
        offsets = [step_base / STEP_UNIT + 0.5 * math.log2(ratios[int(p)]) for p in self.planes]
        return torch.tensor(offsets)

    def error_shares(self) -> Tensor:
        """[C] what a latent's squared error adds to the distortion of a plane-0 sample.

        Exact for an orthonormal transform that keeps the planes apart.
        """
        shares = []
        for plane in map(int, self.planes):
            weight = self.layout.weights[plane] if plane < len(self.layout.weights) else 0.0
            density = self.layout.density(plane) if self.config.packing == 2 else 1.0
            shares.append(weight / density)
        return torch.tensor(shares, device=self.step.device)

    @property
    def stride(self) -> int:
        """Packed samples a latent position covers in each direction."""
        return 1 << (self.config.stages - 1)

    def steps(self, level: Tensor, half: Tensor | None = None) -> Tensor:
        """Quantisation steps [N, C, 1, 1] in 8-bit code values for lifting levels [N].

        Args:
            half: [N] true for frames in half-size blocks, which are never quantised dependently.
        """
        octaves = self.step_offset + self.step + self.step_level[level][:, None]
        if self.dependent_step:
            more = torch.full_like(level, self.dependent_step)
            more = more if half is None else more * ~half
            octaves = octaves + more[:, None] / STEP_UNIT
        return torch.exp2(octaves)[:, :, None, None]

    def features(self, window: Window) -> Sequence[Tensor] | None:
        """The field's feature map for each backbone stage, fine to coarse; None without field."""
        return None if self.field is None else self.field(window)

    def grid_context(self, window: Window, dtype: torch.dtype = torch.float32) -> Tensor | None:
        """What the prior reads of the field's grid, [N, E, rows, columns]; None if nothing."""
        if not self.config.prior.grid or self.field is None:
            return None
        return self.field.nearest(window, dtype)

    def condition(self, window: Window) -> Condition:
        """What the field says of the subband frames of a window."""
        if self.field is None:
            return Condition()
        if self.config.field_role == "residual":
            return Condition(samples=self.field.samples(window))
        return Condition(features=self.field(window))

    def analysis(
        self,
        x: Tensor,
        matrices: list[Tensor],
        condition: Condition,
        half: Tensor | None = None,
    ) -> Tensor:
        """Subband frames [N, C, H, W] of packed samples to their latent.

        Args:
            half: [N] true for frames in half-size blocks (`intra.BlockLayout`).
        """
        if condition.samples is not None:
            x = x - condition.samples
        latent: Tensor = self.backbone(x, matrices, condition.features, half)
        return latent

    def synthesis(
        self,
        latent: Tensor,
        matrices: list[Tensor],
        condition: Condition,
        half: Tensor | None = None,
    ) -> Tensor:
        """The inverse of `analysis` under the same condition."""
        x = self.backbone.inverse(latent, matrices, condition.features, half)
        return x if condition.samples is None else x + condition.samples

    def coding_masks(self) -> dict[str, Tensor]:
        """Flat masks of parameters of which only some elements matter, and are coded."""
        masks = {f"prior.{name}": mask.flatten() for name, mask in self.prior.masks().items()}
        if self.intra is not None:
            masks |= {f"intra.{name}": mask.flatten() for name, mask in self.intra.masks().items()}
        return masks


def kind_of(name: str) -> str:
    """Which rate a parameter belongs to: "grid", "side" or "weights"."""
    if name.startswith("field.grid"):
        return "grid"
    return "side" if name.startswith("step") else "weights"
