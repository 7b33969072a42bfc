"""The presets of the model nvrc: a field that is the picture, of a size that suits the rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace as changed

from innvc.config import FieldConfig, FitConfig, ModelConfig

if TYPE_CHECKING:
    from innvc.presets import Clip

STEPS = {"instant": 60, "fast": 800, "compact": 800, "medium": 4000, "slow": 30_000}
LARGEST_GRID = 1 << 20  # elements of the finest grid level


def make(
    name: str, clip: Clip, lambda_: float, paper: tuple[ModelConfig, FitConfig]
) -> tuple[ModelConfig, FitConfig]:
    """The configuration of a preset for a clip and a lambda.

    Args:
        paper: Of the preset "paper" for InnVC, whose field is NVRC's.
    """
    if name == "paper":
        config = ModelConfig(packing=1, base="identity", field=paper[0].field, field_role="picture")
        return config, changed(paper[1], learn=("field",), mask=(0.0, 0.0), batch_frames=1)
    fit = FitConfig(
        steps=STEPS[name],
        learn=("field",),
        batch_frames=2,
        crop=480,
        rate=1.0,
        warm_up=0.03,
        parameter_every=8,
        learn_steps=True,
        coarser_steps=3,
    )
    return ModelConfig(field=_field(clip, lambda_), field_role="picture"), fit


def _width(clip: Clip, lambda_: float) -> int:
    """Channels for which the weights take a small part of the bits that lambda asks for.

    Bits grow with the samples and about with the root of lambda, weights with the square of the
    width. 16 channels suit 16 frames of 352x288 at lambda 0.002.
    """
    share = clip.samples / (16 * 352 * 288) * (lambda_ / 0.002) ** 0.5
    width: int = 8 * round(2 * share**0.5)
    return min(512, max(8, width))


def _field(clip: Clip, lambda_: float) -> FieldConfig:
    """Three stages that end at a quarter of the resolution, and grids as fine as that.

    Short clips cannot pay for weights: their detail is in the grids. Larger ones have coarser grids
    and more weights, as NVRC does.
    """
    width = _width(clip, lambda_)
    depth = 1 if width < 48 else 2
    time = min(clip.frames, max(4, clip.frames // (4 if clip.frames <= 64 else 3)))
    rows, columns = -(-clip.height // 16), -(-clip.width // 16)
    finest = 2
    while finest and 4 * time * (rows * columns << 2 * finest) > LARGEST_GRID:
        finest -= 1
    return FieldConfig(
        grid_size=(time, rows << finest, columns << finest),
        grid_channels=4,
        grid_levels=3,
        channels=(width, width, width),
        depths=(depth, depth, depth),
        scales=(1, 2, 2),
        expansion=2,
        grid_stages=tuple(max(0, finest - level) for level in range(3)),
    )
