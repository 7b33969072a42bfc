"""Parameters and multiply-accumulates of a configuration, counted without building it.

Multiply-accumulates are those of convolutions and matrix products for one frame and one direction
(analysis or synthesis); masked products count dense, as a plain implementation runs them.
Interpolation, normalisation and other work on single elements is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from innvc.config import FieldConfig, ModelConfig, PriorConfig
from innvc.model.model import SampleLayout
from innvc.model.prior import LEVELS
from innvc.model.start import packed_geometry


@dataclass(frozen=True)
class Complexity:
    """Counts by part of the model.

    Attributes:
        parameters: Elements of the learned tensors.
        macs: Multiply-accumulates for one frame.
    """

    parameters: dict[str, int]
    macs: dict[str, int]

    @property
    def total_parameters(self) -> int:
        return sum(self.parameters.values())

    @property
    def total_macs(self) -> int:
        return sum(self.macs.values())


def count(config: ModelConfig, layout: SampleLayout, width: int, height: int) -> Complexity:
    """Counts a model.

    Args:
        config: The architecture.
        layout: Plane layout of the video.
        width, height: Frame size in plane-0 samples; padded as the codec pads.
    """
    packed = packed_geometry(layout.family, layout.shift_x, layout.shift_y, config.packing)
    stride = config.packing << (config.stages - 1)
    rows, columns = -(-height // stride), -(-width // stride)
    parameters: dict[str, int] = {}
    macs: dict[str, int] = {}
    parts = [*_field(config.field, rows, columns)]
    parts += _head(config, packed.channels, rows * columns)
    if config.field_role != "picture":
        parts += _backbone(config, packed.channels, rows * columns)
        parts += _prior(config.prior, config.groups, rows * columns)
        parts += [("steps", sum(config.groups) + LEVELS, 0)]
    for part, elements, products in parts:
        parameters[part] = parameters.get(part, 0) + elements
        macs[part] = macs.get(part, 0) + products
    return Complexity(parameters, macs)


Counts = Iterator[tuple[str, int, int]]  # part, parameters, multiply-accumulates


def _field(config: FieldConfig | None, rows: int, columns: int) -> Counts:
    if config is None:
        return
    entering = [0] * len(config.channels)  # grid channels that each stage reads
    for level in range(config.grid_levels):
        time, height, width = (max(1, n >> level) for n in config.grid_size)
        channels = config.grid_channels << level
        entering[config.grid_stages[level] if config.grid_stages else 0] += channels
        yield "grid", channels * time * height * width, 0
    features, first = entering[0], config.channels[0]
    base = -(-rows // config.scales[0]) * -(-columns // config.scales[0])
    weights = 9 * features * first
    yield "stem", weights + first + LEVELS * first, weights * base
    before = first
    for index, channels in enumerate(config.channels):
        positions = (rows << index) * (columns << index)
        if config.local_channels:
            yield _local(config, index, before)
        if index and entering[index]:
            weights = entering[index] * before
            yield "entry", weights + before, weights * positions
        for _ in range(config.depths[index]):
            weights = _block(before, channels, config.expansion)
            yield "decoder", weights, weights * positions
            before = channels


def _head(config: ModelConfig, channels: int, positions: int) -> Counts:
    field = config.field
    if field is not None and config.field_role != "modulation":
        channels <<= 2 * (config.stages - len(field.channels))
        weights = field.channels[-1] * channels
        yield "head", weights + channels, weights * positions << 2 * (len(field.channels) - 1)


def _local(config: FieldConfig, index: int, out_channels: int) -> tuple[str, int, int]:
    phases = config.scales[index] ** 2
    channels = max(1, config.local_channels >> index)
    features = channels * ((1 << config.local_levels) - 1)
    tables = sum(
        max(1, config.grid_size[0] >> level) * phases * channels << level
        for level in range(config.local_levels)
    )
    weights = features * out_channels
    return "local", tables + weights + out_channels, weights * phases


def _block(channels: int, out_channels: int, expansion: int) -> int:
    """Weights of a ConvNeXt block: depthwise 3x3, expansion, projection."""
    return 9 * channels + expansion * out_channels * (channels + out_channels)


def _backbone(config: ModelConfig, channels: int, positions: int) -> Counts:
    """Stages fine to coarse; `channels` of the packed planes, `positions` of the latent."""
    for stage in range(config.stages):
        here = positions << 2 * (config.stages - 1 - stage)
        yield "mixing", channels * (channels - 1) // 2, channels * channels * here
        if config.field is not None and config.field_role == "modulation":
            weights = config.field.channels[config.stages - 1 - stage] * 2 * channels
            yield "modulation", weights + 2 * channels, weights * here
        width = config.coupling[stage] if stage < len(config.coupling) else 0
        if width:
            half = channels // 2
            for read, written in ((channels - half, half), (half, channels - half)):
                weights = read * width + _block(width, width, 4) + width * 2 * written
                yield "coupling", weights + width + 2 * written, weights * here
        channels *= 4


def _prior(config: PriorConfig, groups: Sequence[int], positions: int) -> Counts:
    channels = sum(groups)
    # base, base_level, base_detail, base_slope
    yield "prior", channels + LEVELS + 2 * LEVELS * channels, 0
    if config.energy:
        yield "prior", 3 * channels**2, 3 * channels**2 * positions
    if config.temporal:
        # four weights on magnitudes and two on values, of a single channel each
        yield "prior", 6 * LEVELS * channels, 6 * channels * positions
    if config.reach:
        weights = 4 * channels * sum(groups[: config.reach])
        yield "prior", weights, weights * positions
    if config.halves:
        halved = sum(groups[: config.halves])
        yield "prior", 5 * halved**2 + halved, 5 * halved**2 * (positions // 2)
    if config.hidden:
        hidden = config.hidden * len(groups)
        weights = 9 * channels * hidden + hidden * 2 * channels
        yield "prior", weights + hidden, weights * positions
