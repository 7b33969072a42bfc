"""Presets: the model and the fit, made for one clip.

Model size follows the clip: parameters pay only in proportion to the samples they are spread over.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from msgspec.structs import replace as changed

from innvc import nvrc_preset
from innvc.config import FieldConfig, FitConfig, ModelConfig, PriorConfig
from innvc.errors import UsageError
from innvc.model import start, starting_points
from innvc.model.model import SampleLayout
from innvc.model.post_filter import REGION
from innvc.switches import AS_PRESET, Switches

# Bytes of a segment's latent from which fitted tables save more than they cost: 2 to 3 kB, where
# the adaptive tables of smaller ones learn as much (docs/results.md).
TABLES_PAY = 400_000

# Bytes of a segment's packets from which `medium` tries a fit of the post-filter; `fast` does from
# those of TABLES_PAY on, with an eighth of the steps.
FILTER_PAYS = 60_000

# Steps of that fit: four for each region of a frame, in batches of four, and no more than these.
FILTER_STEPS = 4000

PATHS = 100  # in each of several rounds; more save little more (docs/results.md)

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


def make(
    name: str, clip: Clip, switches: Switches = AS_PRESET, lambda_: float = 1.0
) -> tuple[ModelConfig, FitConfig]:
    """The configuration of a preset for a clip.

    Args:
        lambda_: Decides the size of a field that is the picture.

    Raises:
        UsageError: there is no such preset, or the switches exclude each other.
    """
    switches.check()
    try:
        preset = PRESETS[name]
    except KeyError:
        raise UsageError(
            f"There is no preset '{name}'.", f"Choose one of {', '.join(PRESETS)}."
        ) from None
    if switches.model == "nvrc":
        return nvrc_preset.make(name, clip, lambda_, _paper(clip))
    return _switched(*preset(clip), clip, switches)


def _switched(
    config: ModelConfig, fit: FitConfig, clip: Clip, switches: Switches
) -> tuple[ModelConfig, FitConfig]:
    if switches.paths is not None:
        fit = changed(fit, paths=switches.paths)
    if switches.filter_steps is not None:
        fit = changed(fit, filter_steps=switches.filter_steps, filter_least_bytes=0)
        config = changed(config, own_filter=switches.filter_steps > 0)
    if not switches.mask:
        fit = changed(fit, mask=(0.0, 0.0))
    if not switches.modulation:
        config = changed(config, field=None)
    if switches.residual:
        config = changed(config, field=config.field or _field(clip), field_role="residual")
        fit = changed(fit, learn=tuple(dict.fromkeys([*fit.learn, "field"])))
    if not switches.coupling:
        config = changed(config, coupling=())
    if not switches.motion:
        config = changed(config, motion=False, mixed_flags=False)
    if not switches.context:
        prior = changed(config.prior, energy=False, reach=0, halves=0, intra=(0, 0))
        config = changed(config, prior=prior, start=0)  # the shipped start has these weights
    if switches.grid_context:
        if config.field is None:
            raise UsageError(
                "The preset has no field for --grid-context.",
                "Choose compact, slow or paper, or add --residual.",
            )
        config = changed(config, prior=changed(config.prior, grid=True))
    if switches.start is not None:
        config = changed(config, start=switches.start)
    if switches.base is not None and switches.base != config.base:
        config = _based(config, clip, switches.base)
    if not config.start or not switches.intra:  # the intra prior is nothing without training
        config = changed(config, prior=changed(config.prior, intra=(0, 0)))
    units = starting_points.scale_units(config.start) if switches.scale_network else 0
    config = changed(config, prior=changed(config.prior, scale_units=units))
    if not (switches.directions and any(config.prior.intra)):
        config = changed(config, prior=changed(config.prior, directions=False))
    if not config.start or not switches.post_filter:
        config = changed(config, post_filter=False, own_filter=False)
    if not (config.motion and switches.temporal_filter):
        config = changed(config, temporal_filter=False)
    if not switches.dependent:
        config = changed(config, dependent=False, trellis_states=8)
    elif switches.trellis_states is not None:
        config = changed(config, trellis_states=switches.trellis_states)
    if not (config.motion and switches.step_offsets):
        config = changed(config, step_offsets=False)
    # A field describes pictures, not differences of them.
    if not (config.motion and switches.prediction) or config.field is not None:
        config = changed(config, prediction=False)
    return config, fit


def _based(config: ModelConfig, clip: Clip, base: str) -> ModelConfig:
    """The configuration with other bases, whose channels come in another order."""
    groups = analytic_groups(clip.layout, config.packing, config.stages)
    if base == "identity":
        groups = start.even_groups(sum(groups), 20)
    layers = default_layers(len(groups))
    return changed(config, base=base, groups=groups, layers=layers, start=0)


def analytic_groups(layout: SampleLayout, packing: int, stages: int) -> tuple[int, ...]:
    """Channel groups of the analytic start: the anti-diagonals of the block transform."""
    transform = start.analytic_transform(
        layout.family, layout.shift_x, layout.shift_y, packing, stages
    )
    return start.dct_groups(transform[1])


def default_layers(groups: int) -> tuple[int, ...]:
    """Groups of each of four layers: the first few groups, then wider and wider."""
    ends = sorted({max(1, round(groups * share)) for share in (0.1, 0.25, 0.5, 1.0)})
    return tuple(b - a for a, b in zip([0, *ends[:-1]], ends, strict=True))


def _transform(
    clip: Clip, coupling: tuple[int, ...] = (), field: FieldConfig | None = None
) -> ModelConfig:
    groups = analytic_groups(clip.layout, 2, 4)
    layers = default_layers(len(groups))
    prior = PriorConfig(reach=6, halves=12, intra=(512, 192), skip=True, directions=True)
    return ModelConfig(
        groups=groups,
        layers=layers,
        prior=prior,
        start=starting_points.NEWEST,
        motion=True,
        mixed_flags=True,
        post_filter=True,
        temporal_filter=True,
        prediction=True,
        step_offsets=True,
        dependent=True,
        trellis_states=256,
        coupling=coupling,
        field=field,
    )


def _instant(clip: Clip) -> tuple[ModelConfig, FitConfig]:
    """The shipped transform and priors as they are; more steps fit the prior's level offsets."""
    fit = FitConfig(steps=0, learn=("prior.base_level",), straight_through=1.0, rate=0.5)
    return _transform(clip), fit


def _fast(clip: Clip) -> tuple[ModelConfig, FitConfig]:
    """The shipped transform; in large segments the latent prior's tables and the post-filter
    are fitted.
    """
    return _with_filter(clip, _of_tables(25), 8, TABLES_PAY)


def _medium(clip: Clip) -> tuple[ModelConfig, FitConfig]:
    """As fast, for longer; details are chosen once more by what rounded samples err."""
    return _with_filter(clip, _of_tables(60, PATHS), 1, FILTER_PAYS)


def _with_filter(
    clip: Clip, fit: FitConfig, part: int, least_bytes: int
) -> tuple[ModelConfig, FitConfig]:
    """With a fit of the post-filter that has a part of the most steps."""
    regions = clip.frames * math.prod(-(-n // (2 * REGION)) for n in (clip.height, clip.width))
    steps = min(FILTER_STEPS, 4 * regions) // part
    fit = changed(fit, filter_steps=steps, filter_least_bytes=least_bytes)
    return changed(_transform(clip), own_filter=True), fit


def _of_tables(steps: int, paths: int = 0) -> FitConfig:
    learn = ("prior.base", "prior.temporal")
    return FitConfig(
        steps=steps,
        learn=learn,
        straight_through=1.0,
        rate=0.3,
        least_bytes=TABLES_PAY,
        paths=paths,
    )


# The latent prior without its scale network, which is large and trained on many clips.
_PRIOR = tuple(
    f"prior.{name}"
    for name in (
        "base", "spectral", "surround", "predict_mean", "temporal", "grid", "reach", "half",
    )
)  # fmt: skip


def _compact(clip: Clip) -> tuple[ModelConfig, FitConfig]:
    """Every part of the method in small: what a CPU fits in a minute or two, for comparisons."""
    config = _transform(clip, coupling=(4, 8, 16), field=_field(clip))
    fit = FitConfig(
        steps=150,
        learn=(*_PRIOR, "step", "backbone", "field"),
        mask=(0.1, 0.4),
        crop=96,
        batch_frames=8,
        learn_steps=True,
    )
    return config, fit


def _slow(clip: Clip) -> tuple[ModelConfig, FitConfig]:
    """With conditioning field and couplings; for a GPU."""
    config = _transform(clip, coupling=(8, 16, 32), field=_field(clip))
    # The transform is good from the start: the field needs less time alone than the paper's 40 %.
    fit = FitConfig(
        steps=20_000,
        learn=(*_PRIOR, "step", "backbone", "field"),
        mask=(0.05, 0.25),
        crop=256,
        learn_steps=True,
    )
    return config, fit


def _field(clip: Clip) -> FieldConfig:
    """A field whose parameters are about one for 300 samples of the clip."""
    widths = [w for w in (16, 24, 32, 48, 64, 96, 128) if 60 * w * w <= clip.samples / 300]
    width = max(widths, default=16)
    latent_height, latent_width = -(-clip.height // 16), -(-clip.width // 16)
    grid = (max(1, clip.frames // 3), max(1, latent_height // 2), max(1, latent_width // 2))
    return FieldConfig(
        grid_size=grid,
        grid_channels=1,
        grid_levels=3,
        channels=(width, width * 3 // 4, width // 2, width // 4),
        depths=(2, 2, 1, 1),
        scales=(2, 2, 2, 2),
        expansion=2,
    )


def _paper(clip: Clip) -> tuple[ModelConfig, FitConfig]:
    """The paper's configuration as far as can be inferred: 14.8 M parameters, 867 GMAC at 1080p.

    The paper has 15.38 M and 868.82 GMAC. Its parameter coding is NVRC's, with 0.45 M numbers in
    addition (0.34 M of them context models of the grids), where ours has 0.08 M.

    Full resolution with a zero channel, identity bases, groups of one frame, no contexts but the
    masked convolution.
    """
    config = ModelConfig(
        packing=1,
        base="identity",
        gop=1,
        groups=start.even_groups(256, 20),
        layers=default_layers(20),
        coupling=(8, 16, 64),
        prior=PriorConfig(energy=False, temporal=False, hidden=24),
        field=FieldConfig(
            grid_size=(200, -(-clip.height // 24), -(-clip.width // 24)),
            grid_channels=4,
            grid_levels=4,
            channels=(512, 256, 128, 64),
            depths=(3, 3, 3, 1),
            scales=(3, 2, 2, 2),
            expansion=4,
            local_channels=16,
        ),
    )
    # 360 epochs of one step a frame, batches of one frame's area in the paper.
    fit = FitConfig(
        steps=360 * clip.frames,
        learn=("prior", "step", "backbone", "field"),
        mask=(0.4, 0.8),
        batch_frames=9,  # of 480x480: a frame of 1080p
        crop=480,
        parameter_every=8,
        learn_steps=True,
    )
    return config, fit


PRESETS: dict[str, Preset] = {
    "instant": _instant,
    "fast": _fast,
    "medium": _medium,
    "compact": _compact,
    "slow": _slow,
    "paper": _paper,
}
