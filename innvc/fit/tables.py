"""The fit of the latent prior's tables alone: what it adds to the sums of all else.

Where neither the transform nor the prior's networks are fitted, the latents stay, and so does all
that the networks say of them, but for what other tables would make of their symbols. That is found
once, for a few crops; a step of the fit then only adds what the tables are multiplied with.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from innvc.config import FitConfig
from innvc.fit.data import SegmentData
from innvc.fit.objective import FitObjective, Objective, choice_of, contexts
from innvc.fit.schedule import Schedule
from innvc.model.contexts import VALUE_LIMIT, Context
from innvc.model.model import InnvcModel

TABLES = "prior.base", "prior.temporal"  # prefixes of the names of parameters
MOST_CROPS = 4
POSITIONS = 6144  # of a batch, of all its frames


@dataclass(frozen=True)
class TableBatch:
    """Positions of subband frames.

    Attributes:
        scaled: Latents [N, C, P, 1] in steps.
        steps: Their sizes [N, C, 1, 1].
        statistics: Lifting level whose statistics the prior takes for each frame, [N].
        parent, sibling: Contexts.
        scale, mean: Sums of all but the tables, in 2^-10 of scale indexes and sixteenths.
    """

    scaled: Tensor
    steps: Tensor
    statistics: Tensor
    parent: Context
    sibling: Context
    scale: Tensor
    mean: Tensor

    @property
    def positions(self) -> int:
        """Of the latent, in each frame."""
        return self.scaled.shape[2]

    def frame(self, i: int) -> TableBatch:
        """One frame of them."""

        def context(of: Context) -> Context:
            return Context(*(part[i : i + 1] for part in (of.value, of.own, of.around)))

        tensors = self.scaled, self.steps, self.statistics, self.scale, self.mean
        scaled, steps, statistics, scale, mean = (part[i : i + 1] for part in tensors)
        others = context(self.parent), context(self.sibling)
        return TableBatch(scaled, steps, statistics, *others, scale, mean)


class TableData:
    """Positions of a segment's subband frames, from a few random crops.

    Args:
        data: Latents of the segment.
        objective: For the model with the tables that the fit begins with.
        seed: Of the crops.
    """

    def __init__(self, data: SegmentData, objective: Objective, seed: int) -> None:
        self.data = data
        self._objective = copy.deepcopy(objective)
        self._seed = seed
        self._batches: dict[int, TableBatch] = {}

    def batch(self, batch_frames: int, crop: int, generator: torch.Generator) -> TableBatch:
        """That of one of the crops; see `SegmentData.batch`."""
        data = self.data
        whole = data.frames * data.height * data.width
        count = min(MOST_CROPS, -(-whole // (batch_frames * crop**2)))
        number = int(torch.randint(count, (), generator=generator))
        if number not in self._batches:
            crops = torch.Generator().manual_seed(self._seed + number)
            self._batches[number] = self._found(batch_frames, crop, crops)
        return self._batches[number]

    @torch.no_grad()
    def _found(self, batch_frames: int, crop: int, generator: torch.Generator) -> TableBatch:
        batch, model = self.data.batch(batch_frames, crop, generator), self._objective.model
        steps = model.steps(batch.level)
        scaled = batch.subbands / steps
        value = 16 * self._objective.context(batch, scaled, steps, torch.ones_like(steps))
        value = value.clamp(-VALUE_LIMIT, VALUE_LIMIT)
        seen = contexts(model.prior, batch, value, model.intra)
        weights, every = model.prior.weights(), slice(0, value.shape[1])
        scale, mean = model.prior.sums(weights, every, batch.statistics, *seen)
        _, parent, sibling, _ = seen
        tables = model.prior.outside(weights, every, batch.statistics, parent, sibling)
        frames = self._objective.counted(batch).nonzero()[:, 0]
        count = min(batch.positions, max(1, POSITIONS // max(1, len(frames))))
        places = torch.randperm(batch.positions, generator=generator)[:count].to(value.device)

        def taken(part: Tensor) -> Tensor:
            return part[frames].flatten(2)[:, :, places, None]

        def context(of: Context) -> Context:  # logarithms are small integers
            logs = (taken(part).to(torch.uint8) for part in (of.own, of.around))
            return Context(taken(of.value), *logs)

        return TableBatch(
            taken(scaled),
            steps[frames],
            batch.statistics[frames],
            context(parent),
            context(sibling),
            *(taken(whole - part) for whole, part in zip((scale, mean), tables, strict=True)),
        )


class TableObjective(FitObjective[TableBatch]):
    """Rate and distortion as those of `Objective`, of symbols that are hard from the beginning."""

    def __init__(self, model: InnvcModel, plane_weights: Tensor, lambda_: float) -> None:
        super().__init__(plane_weights)
        self.choice = choice_of(model, lambda_)
        self.model = model

    def counted(self, batch: TableBatch) -> Tensor:
        return torch.ones_like(batch.statistics, dtype=torch.bool)

    def forward(
        self, batch: TableBatch, schedule: Schedule, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        weights = self.model.prior.table_weights()
        # Frame by frame all stays in the cache.
        bits, error = torch.zeros((2, 1), device=batch.scaled.device)
        for i in range(len(batch.statistics)):
            of_frame = self._of(batch.frame(i), weights, schedule.temperature)
            bits, error = bits + of_frame[0], error + of_frame[1]
        return bits.sum(), error.sum() / max(1, len(batch.statistics))

    def _of(
        self, frame: TableBatch, weights: dict[str, Tensor], temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Bits of a frame, and its mean weighted squared error."""
        prior, every = self.model.prior, slice(0, frame.scaled.shape[1])
        others = frame.parent.single(), frame.sibling.single()
        scale, mean = prior.outside(weights, every, frame.statistics, *others)
        tables = prior.indexes(scale + frame.scale, mean + frame.mean)
        bits, value = self.choice(frame.scaled, frame.steps, *tables, temperature)
        error = ((value - frame.scaled) * frame.steps).square().mean((0, 2, 3))
        return bits.sum(), (error * self.plane_weights).sum()


def fits_tables_alone(config: FitConfig, names: Iterable[str]) -> bool:
    """Whether the fit is one of tables, of symbols that are hard from the beginning.

    Args:
        names: Of the model's parameters.
    """
    learned = [name for name in names if name.startswith(config.learn)]
    whole = config.straight_through == 1 and config.mask == (0.0, 0.0)
    return whole and all(name.startswith(TABLES) for name in learned)
