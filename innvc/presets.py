"""Presets: the model and the fit, made for one clip.

Model size follows the clip: parameters pay only in proportion to the samples they are spread over.
"""

from __future__ import annotations

from collections.abc import Callable

from innvc.config import FieldConfig, FitConfig, ModelConfig, PriorConfig
from innvc.errors import UsageError
from innvc.model import start, starting_points
from innvc.model.model import SampleLayout

Preset = Callable[["Clip"], tuple[ModelConfig, FitConfig]]


class Clip:
    """The facts of a segment that presets look at."""

    def __init__(self, layout: SampleLayout, width: int, height: int, frames: int) -> None:
        self.layout = layout
        self.width = width
        self.height = height
        self.frames = frames

    @property
    def samples(self) -> int:
        """Of plane 0, in the whole segment."""
        return self.width * self.height * self.frames


def make(name: str, clip: Clip) -> tuple[ModelConfig, FitConfig]:
    """The configuration of a preset for a clip.

    Raises:
        UsageError: there is no such preset.
    """
    try:
        preset = PRESETS[name]
    except KeyError:
        raise UsageError(
            f"There is no preset '{name}'.", f"Choose one of {', '.join(PRESETS)}."
        ) from None
    return preset(clip)


def analytic_groups(layout: SampleLayout, packing: int, stages: int) -> tuple[int, ...]:
    """Channel groups of the analytic start: the anti-diagonals of the block transform."""
    geometry = start.packed_geometry(layout.family, layout.shift_x, layout.shift_y, packing)
    return start.dct_groups(start.dct_bases(geometry, stages)[1])


def default_layers(groups: int) -> tuple[int, ...]:
    """Groups of each of four layers: the first few groups, then wider and wider."""
    ends = sorted({max(1, round(groups * share)) for share in (0.1, 0.25, 0.5, 1.0)})
    return tuple(b - a for a, b in zip([0, *ends[:-1]], ends, strict=True))


def _transform(clip: Clip, **more: object) -> ModelConfig:
    layout = clip.layout
    groups = analytic_groups(layout, 2, 4)
    first = starting_points.best_for((layout.family, layout.shift_x, layout.shift_y))
    return ModelConfig(groups=groups, layers=default_layers(len(groups)), start=first, **more)


def _instant(clip: Clip) -> tuple[ModelConfig, FitConfig]:
    fit = FitConfig(steps=20, learn=("prior.base_level", "step_level"), straight_through=1.0)
    return _transform(clip), fit


def _fast(clip: Clip) -> tuple[ModelConfig, FitConfig]:
    return _transform(clip), FitConfig(steps=200, learn=("prior", "step"), straight_through=1.0)


PRESETS: dict[str, Preset] = {"instant": _instant, "fast": _fast}
