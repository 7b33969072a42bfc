"""Parameters and multiply-accumulates of a configuration, counted without building it.

Multiply-accumulates are those of convolutions and matrix products for one frame and one direction
(analysis or synthesis); masked products count dense, as a plain implementation runs them.
Interpolation, normalisation and other work on single elements is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from innvc.config import FieldConfig, ModelConfig, PriorConfig
from innvc.model import starting_points
from innvc.model.grid_prior import WEIGHTS as CONTEXT_WEIGHTS
from innvc.model.model import SampleLayout
from innvc.model.parameter_layout import block_counts, long_axes, matrix_of
from innvc.model.prior import LEVELS
from innvc.model.start import packed_geometry


@dataclass(frozen=True)
class Complexity:
    """Counts by part of the model.

    Attributes:
        parameters: Elements of the learned tensors; "side" is what describes their code.
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
        parts += _grid_context(config, rows * columns)
        parts += _intra(config, rows * columns)
        parts += _post_filter(config, layout, rows * columns)
        parts += [("steps", sum(config.groups) + LEVELS, 0)]
        parts += [_side(1, sum(config.groups)), _side(1, LEVELS)]
    for part, elements, products in parts:
        parameters[part] = parameters.get(part, 0) + elements
        macs[part] = macs.get(part, 0) + products
    return Complexity(parameters, macs)


def _side(rows: int, columns: int, elements: int | None = None) -> tuple[str, int, int]:
    """What describes the code of a matrix: step, table, and steps and scales of its long axes."""
    by_row, by_column = long_axes(rows, columns, rows * columns if elements is None else elements)
    return "side", 2 + 2 * (by_row * rows + by_column * columns), 0


def _block_side(channels: int, out_channels: int, expansion: int) -> Counts:
    yield _side(channels, 9)
    yield _side(expansion * out_channels, channels)
    yield _side(out_channels, expansion * out_channels)


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
        blocks = prod(block_counts((time, height, width)))
        yield "side", 2 + channels * (blocks + 1) + CONTEXT_WEIGHTS, 0
    features, first = entering[0], config.channels[0]
    base = -(-rows // config.scales[0]) * -(-columns // config.scales[0])
    weights = 9 * features * first
    yield "stem", weights + first + LEVELS * first, weights * base
    yield from (_side(first, 9 * features), _side(1, first), _side(LEVELS, first))
    before = first
    for index, channels in enumerate(config.channels):
        positions = (rows << index) * (columns << index)
        if config.local_channels:
            yield from _local(config, index, before)
        if index and entering[index]:
            weights = entering[index] * before
            yield "entry", weights + before, weights * positions
            yield from (_side(before, entering[index]), _side(1, before))
        for _ in range(config.depths[index]):
            weights = _block(before, channels, config.expansion)
            yield "decoder", weights, weights * positions
            yield from _block_side(before, channels, config.expansion)
            before = channels


def _head(config: ModelConfig, channels: int, positions: int) -> Counts:
    field = config.field
    if field is not None and config.field_role != "modulation":
        channels <<= 2 * (config.stages - len(field.channels))
        weights = field.channels[-1] * channels
        yield "head", weights + channels, weights * positions << 2 * (len(field.channels) - 1)
        yield from (_side(channels, field.channels[-1]), _side(1, channels))


def _local(config: FieldConfig, index: int, out_channels: int) -> Counts:
    phases = config.scales[index] ** 2
    channels = max(1, config.local_channels >> index)
    features = channels * ((1 << config.local_levels) - 1)
    for level in range(config.local_levels):
        time, width = max(1, config.grid_size[0] >> level), phases * channels << level
        yield "local", time * width, 0
        yield _side(time, width)
    weights = features * out_channels
    yield "local", weights + out_channels, weights * phases
    yield from (_side(out_channels, features), _side(1, out_channels))


def _block(channels: int, out_channels: int, expansion: int) -> int:
    """Weights of a ConvNeXt block: depthwise 3x3, expansion, projection."""
    return 9 * channels + expansion * out_channels * (channels + out_channels)


def _backbone(config: ModelConfig, channels: int, positions: int) -> Counts:
    """Stages fine to coarse; `channels` of the packed planes, `positions` of the latent."""
    for stage in range(config.stages):
        here = positions << 2 * (config.stages - 1 - stage)
        yield "mixing", channels * (channels - 1) // 2, channels * channels * here
        yield _side(channels, channels, channels * (channels - 1) // 2)
        if config.field is not None and config.field_role == "modulation":
            features = config.field.channels[config.stages - 1 - stage]
            weights = features * 2 * channels
            yield "modulation", weights + 2 * channels, weights * here
            yield from (_side(2 * channels, features), _side(1, 2 * channels))
        width = config.coupling[stage] if stage < len(config.coupling) else 0
        if width:
            half = channels // 2
            for read, written in ((channels - half, half), (half, channels - half)):
                weights = read * width + _block(width, width, 4) + width * 2 * written
                yield "coupling", weights + width + 2 * written, weights * here
                yield from (_side(width, read), _side(1, width))
                yield from _block_side(width, width, 4)
                yield from (_side(2 * written, width), _side(1, 2 * written))
        channels *= 4


def _intra(config: ModelConfig, positions: int) -> Counts:
    """Its work for one frame of a group of `gop`: it runs for the low-pass frame alone."""
    units, scales = config.prior.intra
    channels = sum(config.groups) // 4
    if not units:
        return
    weights = units * (4 * channels + units + channels) + channels * 5 * channels  # values
    weights += channels * 6 + scales * (8 * channels + 1) + channels * scales  # scales
    weights += channels * (8 * channels + units + channels)
    yield "intra", weights, weights * 4 * positions // config.gop
    yield from (_side(units, 4 * channels), _side(units, units), _side(channels, units))
    yield from (_side(channels, 4 * channels), _side(channels, channels), _side(1, channels))
    yield from (_side(1, channels), _side(channels, 4), _side(scales, 8 * channels))
    yield from (_side(1, scales), _side(channels, scales), _side(channels, 8 * channels))
    yield from (_side(channels, units), _side(channels, channels))


def _post_filter(config: ModelConfig, layout: SampleLayout, positions: int) -> Counts:
    """Its parameters may be the starting point's, not the file's."""
    if config.post_filter:
        tensors = starting_points.post_filter(config.start)
        products = sum(tensors[name].size for name in ("enter", "middle", "leave"))
        times = 3 if layout.family == "rgb" else 1
        if config.own_filter:
            yield "post_filter", sum(tensor.size for tensor in tensors.values()), 0
            for name, tensor in tensors.items():
                matrix = matrix_of(f"filter.{name}", tensor.shape)
                yield _side(matrix.rows, matrix.columns)
        yield "post_filter", 0, times * products * positions << 2 * (config.stages - 1)


def _grid_context(config: ModelConfig, positions: int) -> Counts:
    if config.prior.grid and config.field is not None:
        read = sum(config.field.grid_channels << n for n in range(config.field.grid_levels))
        weights = 2 * sum(config.groups) * read
        yield "prior", weights, weights * positions
        yield from 2 * [_side(sum(config.groups), read)]


def _prior(config: PriorConfig, groups: Sequence[int], positions: int) -> Counts:
    channels = sum(groups)
    # base, base_level, base_detail, base_slope
    yield "prior", channels + LEVELS + 2 * LEVELS * channels, 0
    yield from (_side(1, channels), _side(1, LEVELS), *2 * [_side(LEVELS, channels)])
    if config.energy:
        yield "prior", 3 * channels**2, 3 * channels**2 * positions
        yield from 3 * [_side(channels, channels)]
    if config.temporal:
        # four weights on magnitudes and two on values, of a single channel each
        yield "prior", 6 * LEVELS * channels, 6 * channels * positions
        yield from (_side(4 * LEVELS, channels), _side(2 * LEVELS, channels))
    if config.reach:
        read = sum(groups[: config.reach])
        yield "prior", 4 * channels * read, 4 * channels * read * positions
        yield _side(4 * channels, read)
    if config.halves:
        halved = sum(groups[: config.halves])
        yield "prior", 5 * halved**2 + halved, 5 * halved**2 * (positions // 2)
        yield from (_side(1, halved), _side(halved, halved), _side(4 * halved, halved))
    if config.scale_units:
        units = config.scale_units * len(groups)
        weights = 9 * channels * units
        yield "prior", weights + LEVELS * units, weights * positions
        yield from (_side(8 * units, channels), _side(LEVELS, units), _side(channels, units))
    if config.hidden:
        hidden = config.hidden * len(groups)
        weights = 9 * channels * hidden + hidden * 2 * channels
        yield "prior", weights + hidden, weights * positions
        yield from (_side(hidden, 9 * channels), _side(1, hidden), _side(2 * channels, hidden))
