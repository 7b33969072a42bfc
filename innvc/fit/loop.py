"""The fit of one segment: rate-distortion optimisation on random crops (design section 4)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from innvc.config import FitConfig
from innvc.fit.objective import AnyBatch, FitObjective
from innvc.fit.parameters import ParameterQuantiser
from innvc.fit.schedule import Schedule
from innvc.fit.state import FitState, capture, restore
from innvc.model.picture import SegmentModel

SEARCHES = 8  # for offsets of rows and columns along a fit that learns quantisation steps; else 1


@dataclass(frozen=True)
class Progress:
    """State of a fit after a step, for the log. Rates are in bits per plane-0 sample.

    Those of the latent, and the distortion, are of the frames that the fit can change.
    """

    step: int
    share: float  # of the fit, 0..1
    loss: float
    distortion: float  # weighted mean squared error in 8-bit code values
    latent: float
    grid: float
    weights: float
    side: float
    elapsed: float  # seconds

    @property
    def bpp(self) -> float:
        return self.latent + self.grid + self.weights + self.side

    @property
    def psnr_db(self) -> float:
        return 10 * math.log10(255**2 / max(self.distortion, 1e-9))


class Checkpoint(Protocol):
    """Where the state of a fit is kept."""

    def load(self) -> FitState | None:
        """The state that was left, or None."""

    def due(self) -> bool:
        """Whether it is time to save."""

    def save(self, state: FitState) -> None:
        """Keeps the state in place of the one before."""


B = TypeVar("B", bound=AnyBatch)
B_co = TypeVar("B_co", covariant=True)


class Data(Protocol[B_co]):
    """What batches are drawn from."""

    def batch(self, batch_frames: int, crop: int, generator: torch.Generator) -> B_co:
        """One of about that many frames, at a random crop with sides in latent positions."""


class _Descent:
    """Steps of one kind of loss, each with a running mean of its gradient's norm.

    Attributes:
        norm: That mean.
    """

    def __init__(
        self, optimiser: torch.optim.Optimizer, parameters: list[Tensor], clip: float
    ) -> None:
        self._optimiser = optimiser
        self._parameters = parameters
        self._clip = clip
        self.norm = 0.0

    def __call__(self, loss: Tensor) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        total = float(nn.utils.get_total_norm(gradients))
        if not math.isfinite(total):
            return
        norm = self.norm
        self.norm = total if norm == 0 else 0.95 * norm + 0.05 * min(total, 2 * norm)
        limit = self._clip * 2 * self.norm
        nn.utils.clip_grads_with_norm_(self._parameters, limit, torch.tensor(total))
        self._optimiser.step()


def fit(
    model: SegmentModel,
    data: Data[B],
    objective: FitObjective[B],
    lambda_: float,
    config: FitConfig,
    *,
    seed: int = 0,
    seconds: float | None = None,
    samples: int,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    checkpoint: Checkpoint | None = None,
) -> ParameterQuantiser:
    """Fits a model in place; may stop at any step and is valid there.

    Args:
        seconds: Ends the fit by time as well as by steps.
        samples: Plane-0 samples of the segment, over which parameter bits are spread.
        report: Called after every step.
        stop: Asked before every step.
        checkpoint: Where an earlier fit may have left off, and where this one leaves its state.

    Returns:
        The quantiser, which holds the integers to code.
    """
    device = objective.plane_weights.device
    generator = torch.Generator(device).manual_seed(seed)
    crops = torch.Generator().manual_seed(seed)
    quantiser = ParameterQuantiser(model, config.learn, config.learn_steps, config.coarser_steps)
    if not quantiser.learned or not config.steps:
        return quantiser
    objective.to(device)
    crop = max(1, round(config.crop / (model.stride * model.config.packing)))
    per_position = (model.stride * model.config.packing) ** 2  # plane-0 samples

    def counted(batch: B, schedule: Schedule, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Bits of the latent for each plane-0 sample, and distortion."""
        quantised = {f"model.{name}": value for name, value in quantiser.quantised().items()}
        bits, distortion = torch.func.functional_call(
            objective, quantised, (batch, schedule, noise)
        )
        positions = batch.positions * per_position
        return bits / (objective.counted(batch).sum().clamp(min=1) * positions), distortion

    if config.least_bytes:
        # Before there is an optimiser, which takes torch seconds to import.
        with torch.no_grad():
            batch = data.batch(config.batch_frames, crop, torch.Generator().manual_seed(seed))
            schedule = Schedule.at(0, config, len(model.config.groups))
            latent, _ = counted(batch, schedule, torch.Generator(device).manual_seed(seed))
        if latent.item() * samples < 8 * config.least_bytes:
            return quantiser
    groups = quantiser.groups(config.rate, config.steps)
    fused = device.type == "cuda"
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98), eps=1e-12, fused=fused)
    speeds = [group["lr"] for group in optimiser.param_groups]
    distortion_step = _Descent(optimiser, list(quantiser.learned.values()), config.clip)
    rate_step = _Descent(optimiser, list(quantiser.learned.values()), config.clip)
    # A search for tables takes time with the elements: about as long as a few steps of the fit.
    elements = sum(p.numel() for p in quantiser.learned.values())
    refresh = config.tables_every * max(1, elements >> 18)
    searches, most = 0, SEARCHES if config.learn_steps else 1

    def rates() -> dict[str, Tensor]:
        nonlocal searches
        search = share >= (searches + 1) / (most + 1)
        searches += search
        found = quantiser.rates(axes=search, tables=step % refresh == 0)
        return {kind: bits / samples for kind, bits in found.items()}

    began, step, share = time.monotonic(), 0, 0.0
    parameters: dict[str, float] = {}
    generators, descents = (generator, crops), (distortion_step, rate_step)
    state = checkpoint.load() if checkpoint else None
    if state is not None:
        restore(state, quantiser, optimiser, generators)
        step, share, searches = (state.numbers[n] for n in ("step", "share", "searches"))
        parameters = state.numbers["parameters"]
        began -= state.numbers["elapsed"]
        for descent, norm in zip(descents, state.numbers["norms"], strict=True):
            descent.norm = norm
    while step < config.steps and share < 1 and not stop():
        schedule = Schedule.at(share, config, len(model.config.groups))
        for group, speed in zip(optimiser.param_groups, speeds, strict=True):
            group["lr"] = speed * schedule.rate
        batch = data.batch(config.batch_frames, crop, crops)
        latent, distortion = counted(batch, schedule, generator)
        loss = latent + lambda_ * distortion
        # The parameters' rate counts in every step, or has steps of its own (NVRC).
        if config.parameter_every == 1:
            found = rates()
            loss = loss + sum(found.values())
            parameters = {kind: bits.item() for kind, bits in found.items()}
        distortion_step(loss)
        if config.parameter_every > 1 and step % config.parameter_every == 0:
            found = rates()
            rate_step(config.parameter_every * sum(found.values(), torch.zeros(())))
            parameters = {kind: bits.item() for kind, bits in found.items()}
        step += 1
        elapsed = time.monotonic() - began
        grid, weights, side = (parameters[kind] for kind in ("grid", "weights", "side"))
        share = step / config.steps
        if seconds is not None:
            share = max(share, elapsed / seconds)
        report(
            Progress(
                step,
                min(1.0, share),
                loss.item(),
                distortion.item(),
                latent.item(),
                grid,
                weights,
                side,
                elapsed,
            )
        )
        if checkpoint is not None and share < 1 and checkpoint.due():
            numbers = {
                "step": step,
                "share": share,
                "searches": searches,
                "parameters": parameters,
                "elapsed": time.monotonic() - began,
                "norms": [descent.norm for descent in descents],
            }
            checkpoint.save(capture(quantiser, optimiser, generators, numbers))
    return quantiser
