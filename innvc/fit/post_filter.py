"""The fit of the post-filter to a segment's decoded frames.

What a trained network knows of errors is what they have in common in many clips. Those of one clip
have more: the same edges, textures and noise in frame after frame. So the network's parameters are
fitted to frames that were decoded, by what is left of the errors and by what the parameters cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from innvc.bitstream.parameters import Coded
from innvc.config import FitConfig
from innvc.device import fast_dtype
from innvc.fit.loop import Progress, fit
from innvc.fit.objective import FitObjective
from innvc.fit.schedule import Schedule
from innvc.model.model import STEP_UNIT, InnvcModel
from innvc.model.planes import planes_of
from innvc.model.post_filter import GAIN_UNIT, HALO, REGION, FrameFilter

MOST_WINDOWS = 512
NAMES = "filter."  # prefix of the parameters
BATCH = 4  # windows
RATE = 0.25  # of the fit


@dataclass(frozen=True)
class Window:
    """A region of a decoded frame before the filters, or a batch of some at the same edges.

    Attributes:
        frames: Packed samples [N, C, h, w], with those of `HALO` rows and columns around it.
        inner: Rows and columns of the region in these.
        originals: What was coded [N, C, *inner].
        gains: Of the corrections [N, planes, K].
        positions: As `loop.fit` counts them: here bits are those of parameters alone.
    """

    frames: Tensor
    inner: tuple[slice, slice]
    originals: Tensor
    gains: Tensor
    positions: int = 1

    def like(self, other: Window) -> bool:
        """Whether both fit into a batch."""
        return self.inner == other.inner and self.frames.shape == other.frames.shape


class Windows:
    """Regions of a segment's decoded frames, or some of them by chance.

    Args:
        frames: Of the segment.
        size: Packed rows and columns that count; the others are padding.
        seed: Of the choice.
    """

    def __init__(self, frames: int, size: tuple[int, int], seed: int) -> None:
        self._size = size
        regions = [-(-n // REGION) for n in size]
        self._all = frames * regions[0] * regions[1]
        chosen = np.random.default_rng(seed).permutation(self._all)[:MOST_WINDOWS]
        self._places = [np.unravel_index(n, (frames, *regions)) for n in np.sort(chosen)]
        self.found: list[Window] = []

    @property
    def share(self) -> float:
        """Of all regions, those that were chosen."""
        return len(self._places) / self._all

    @property
    def filtered(self) -> float:
        """Of the chosen ones, those that are filtered at all."""
        return len(self.found) / len(self._places)

    @property
    def mean_positions(self) -> float:
        """Packed rows times columns of those, on the mean."""
        return sum(window.originals[0, 0].numel() for window in self.found) / len(self.found)

    def add(self, first: int, frames: Tensor, originals: Tensor, gains: np.ndarray | None) -> None:
        """Takes its regions of some frames [G, C, h, w], the first of which is frame `first`.

        Args:
            gains: Of the frames [G, planes, *regions, K]; None is none at all.
        """
        if gains is None:
            return
        for frame, row, column in self._places:
            n = frame - first
            if not 0 <= n < len(frames) or not gains[n, :, row, column].any():
                continue
            around, inner = [], []
            for place, count, whole in zip(
                (row, column), self._size, frames.shape[2:], strict=True
            ):
                start, stop = place * REGION, min(count, (place + 1) * REGION)
                before = min(start, HALO)
                around.append(slice(start - before, min(whole, stop + HALO)))
                inner.append(slice(before, before + stop - start))
            of_region = torch.from_numpy(gains[n, :, row, column] / GAIN_UNIT).to(frames)
            rows, columns = inner
            window = frames[n : n + 1, :, around[0], around[1]].clone()
            original = originals[n : n + 1, :, around[0], around[1]][:, :, rows, columns].clone()
            self.found.append(Window(window, (rows, columns), original, of_region[None]))

    def batch(self, batch_frames: int, crop: int, generator: torch.Generator) -> Window:
        """Some of them, at the edges that one by chance has; see `loop.Data`."""
        first = self.found[int(torch.randint(len(self.found), (), generator=generator))]
        alike = [window for window in self.found if window.like(first)]
        chosen = torch.randint(len(alike), (batch_frames,), generator=generator)
        windows = [alike[n] for n in chosen.tolist()]
        parts = zip(*((w.frames, w.originals, w.gains) for w in windows), strict=True)
        frames, originals, gains = (torch.cat(part) for part in parts)
        return Window(frames, first.inner, originals, gains)


class FilterObjective(FitObjective[Window]):
    """Squared errors behind the filter.

    Args:
        model: With the post-filter's parameters.
        frame_filter: With the same.
        plane_weights: Of the packed channels.
        unit: Of whole samples, in 8-bit code values.
        positions: Of a window, on the mean.
    """

    def __init__(
        self,
        model: nn.Module,
        frame_filter: FrameFilter,
        plane_weights: Tensor,
        unit: float,
        positions: float,
    ) -> None:
        super().__init__(plane_weights)
        self.model = model
        self._filter = frame_filter
        self._unit = unit
        self._positions = positions

    def counted(self, batch: Window) -> Tensor:
        return torch.ones(1)

    def forward(
        self, batch: Window, schedule: Schedule, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        errors = self._error(batch).square().sum((0, 2, 3)) * self.plane_weights
        return errors.new_zeros(1), errors.sum() / (len(batch.frames) * self._positions)

    def _error(self, batch: Window) -> Tensor:
        rows, columns = batch.inner
        errors = batch.frames[:, :, rows, columns] - batch.originals
        corrections = self._filter.corrections(batch.frames)
        of_planes = zip(self._filter.planes, batch.gains.unbind(1), corrections, strict=True)
        for channels, gains, found in of_planes:
            inner = found[..., rows, columns]
            errors[:, channels] += (gains[:, :, None, None, None] * inner).sum(1)
        return errors

    @torch.no_grad()
    def rounded_errors(self, windows: Sequence[Window]) -> Tensor:
        """Squared errors of rounded samples, sums [C]."""
        errors = ((self._error(window) / self._unit).round() * self._unit for window in windows)
        sums = (error.double().square().sum((0, 2, 3)) for error in errors)
        return sum(sums, torch.zeros(()))


def fit_filter(
    model: InnvcModel,
    windows: Windows,
    lambda_: float,
    steps: int,
    *,
    depth: int,
    seed: int,
    seconds: float | None,
    samples: int,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> tuple[Coded, float]:
    """Fits a model's own post-filter, which then has the values that are coded.

    Args:
        windows: At least one of them found.
        lambda_, steps: Of the fit.
        depth: Bits of a sample.
        seed, seconds, samples, report, stop: As of `loop.fit`.

    Returns:
        Its coded parameters, and the bits that the errors are worth by which frames are better.
    """
    assert model.filter is not None
    device = windows.found[0].frames.device
    shares = torch.tensor(model.layout.shares(model.packed_planes), device=device)
    step = 2.0 ** (model.step_base / STEP_UNIT)
    planes = planes_of(model.packed_planes)
    frame_filter = FrameFilter(model.filter, model.layout.family, planes, step)
    unit = 255 / ((1 << depth) - 1)
    objective = FilterObjective(model, frame_filter, shares, unit, windows.mean_positions)
    before = objective.rounded_errors(windows.found)
    model.filter.inside = fast_dtype(device)
    config = FitConfig(
        steps=steps,
        learn=(NAMES,),
        batch_frames=BATCH,
        rate=RATE,
        last_rate=0.0,  # else elements that are worth nothing stay
        straight_through=1.0,
        tables_every=32,
        learn_steps=True,
    )
    quantiser = fit(
        model,
        windows,
        objective,
        lambda_ * windows.filtered,
        config,
        seed=seed,
        seconds=seconds,
        samples=samples,
        report=report,
        stop=stop,
    )
    model.filter.inside = None
    with torch.no_grad():
        for name, value in quantiser.quantised().items():
            quantiser.learned[name].copy_(value)
    less = before - objective.rounded_errors(windows.found)
    # A packed position has four samples of the first plane.
    worth = 4 * lambda_ * float((shares.double() * less).sum()) / windows.share
    coded = quantiser.coded(model)
    return {name: coded[name] for name in quantiser.learned}, worth
