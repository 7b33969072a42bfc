"""What a model takes, told from the header alone: parameters, and memory to decode."""

from __future__ import annotations

from innvc.config import FieldConfig, ModelConfig

LEVELS = 5  # lifting levels with parameters of their own, and the low-pass
FILTER = 36_704  # parameters of a post-filter that is the segment's own
LEAST_BLOCK = 1 << 14  # parameters that a block of the field counts as: it is never free

PROCESS_BYTES = 640 << 20  # of a process with torch, before any picture
PARAMETER_BYTES = 96  # while they are read: the float, its start, row, column, symbol, table
FRAME_BYTES = 320  # for each sample of the latent of one subband frame, while it is decoded
GROUP_BYTES = 96  # for each sample of all frames of a packet, and of the next one
MATRIX_BYTES = 64  # for each element of a stage's orthogonal matrix: it is solved for in float64


def parameter_count(model: ModelConfig, packed: int) -> int:
    """Parameters of a model; a block of the field counts as `LEAST_BLOCK` at least.

    Args:
        model: A valid configuration.
        packed: Channels of a packed frame.
    """
    total = 0
    if model.field_role != "picture":
        total += sum(_stage_parameters(model, packed, k) for k in range(model.stages))
        total += _prior_parameters(model) + FILTER * model.own_filter
    if model.field is not None:
        samples = 0
        if model.field_role != "modulation":
            samples = packed << 2 * (model.stages - len(model.field.channels))
        total += _field_parameters(model.field, samples)
    return total


def memory_bytes(model: ModelConfig, packed: int, width: int, height: int, frames: int) -> int:
    """A rough upper estimate of the memory that decoding takes, in bytes.

    Args:
        model: A valid configuration.
        packed: Channels of a packed frame.
        width, height: Of a frame, in luma samples.
        frames: Of the file.
    """
    stride = model.packing << (model.stages - 1)
    positions = -(-height // stride) * -(-width // stride)
    samples = positions * (packed << 2 * (model.stages - 1))
    group = min(model.gop, frames)
    total = PROCESS_BYTES + PARAMETER_BYTES * parameter_count(model, packed)
    total += samples * (FRAME_BYTES + GROUP_BYTES * group)
    if model.field_role != "picture":
        total += MATRIX_BYTES * sum((packed << 2 * k) ** 2 for k in range(model.stages))
        channels, prior = sum(model.groups), model.prior
        units = prior.hidden * len(model.groups)
        total += positions * (16 * units + (80 * channels if units else 0))
        total += positions * 16 * prior.scale_units * len(model.groups)
        total += positions * 32 * sum(model.groups[: prior.reach] + model.groups[: prior.halves])
        total += 32 * positions * sum(prior.intra)
        for stage, coupled in enumerate(model.coupling):
            total += 48 * coupled * (positions << 2 * (model.stages - 1 - stage))
    if model.field is not None:
        total += _field_bytes(model.field, positions, model.prior.grid)
    return total


def _stage_parameters(model: ModelConfig, packed: int, stage: int) -> int:
    channels = packed << 2 * stage
    total = channels * (channels - 1) // 2
    coupled = model.coupling[stage] if stage < len(model.coupling) else 0
    if coupled:
        half = channels // 2
        for before, after in ((channels - half, half), (half, channels - half)):
            total += coupled * (before + 1) + coupled * (9 + 8 * coupled)
            total += 2 * after * (coupled + 1)
    if model.field is not None and model.field_role == "modulation":
        total += 2 * channels * (model.field.channels[-1 - stage] + 1)
    return total


def _prior_parameters(model: ModelConfig) -> int:
    channels, prior = sum(model.groups), model.prior
    total = channels + LEVELS  # steps
    total += channels + LEVELS + 2 * LEVELS * channels
    if prior.energy:
        total += 3 * channels * channels
    if prior.temporal:
        total += 6 * LEVELS * channels
    if prior.grid and model.field is not None:
        total += 2 * channels * sum(_grid_channels(model.field))
    total += 4 * channels * sum(model.groups[: prior.reach])
    halved = sum(model.groups[: prior.halves])
    total += halved + 5 * halved * halved
    units = prior.hidden * len(model.groups)
    total += units * (9 * channels + 1 + 2 * channels)
    units = prior.scale_units * len(model.groups)
    total += units * (8 * channels + LEVELS + channels)
    values, scales = prior.intra
    if values:
        block = channels // 4
        total += values * (4 * block + values + block) + 5 * block * block
        total += 6 * block
        total += scales * (8 * block + 1 + block) + block * (9 * block + values)
    return total


def _field_parameters(field: FieldConfig, samples: int) -> int:
    time, height, width = field.grid_size
    total = 0
    entering = [0] * len(field.channels)
    stages = field.grid_stages or (0,) * field.grid_levels
    for level, channels in enumerate(_grid_channels(field)):
        sides = (max(1, n >> level) for n in (time, height, width))
        elements = channels
        for side in sides:
            elements *= side
        total += elements
        entering[stages[level]] += channels
    first = field.channels[0]
    total += LEVELS * first + first * (9 * entering[0] + 1)
    for stage, channels in enumerate(field.channels):
        before = field.channels[max(stage - 1, 0)]
        if stage and entering[stage]:
            total += before * (entering[stage] + 1)
        if field.local_channels:
            own = max(1, field.local_channels >> stage)
            for level in range(field.local_levels):
                total += max(1, time >> level) * field.scales[stage] ** 2 * (own << level)
            total += before * (own * ((1 << field.local_levels) - 1) + 1)
        wide = field.expansion * channels
        total += max(9 * before + wide * (before + channels), LEAST_BLOCK)
        more = max(9 * channels + 2 * wide * channels, LEAST_BLOCK)
        total += (field.depths[stage] - 1) * more
    return total + samples * (field.channels[-1] + 1)


def _grid_channels(field: FieldConfig) -> list[int]:
    return [field.grid_channels << level for level in range(field.grid_levels)]


def _field_bytes(field: FieldConfig, positions: int, context: bool) -> int:
    """Of the maps of all stages, which are kept, and of what a block has beside them."""
    stages = field.grid_stages or (0,) * field.grid_levels
    total = 0
    for channels, stage in zip(_grid_channels(field), stages, strict=True):
        total += 16 * channels * (positions << 2 * stage)
        total += 32 * channels * positions if context else 0
    largest = 0
    for stage, channels in enumerate(field.channels):
        before = field.channels[max(stage - 1, 0)]
        here = positions << 2 * stage
        total += 8 * channels * here
        largest = max(largest, here * (12 * field.expansion * channels + 24 * (before + channels)))
    return total + largest
