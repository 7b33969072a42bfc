"""The conditioning field: crops, sampling, portable start, and the count of the whole model."""

from __future__ import annotations

import zlib
from math import prod

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from innvc.config import FieldConfig, ModelConfig, PriorConfig
from innvc.errors import UnsupportedError
from innvc.fit.step_sizes import StepSizes
from innvc.model import initial
from innvc.model.complexity import count
from innvc.model.field import ConditioningField, Window
from innvc.model.grid_prior import WEIGHTS
from innvc.model.model import InnvcModel, SampleLayout, kind_of
from innvc.model.parameter_layout import block_counts
from innvc.model.start import even_groups, packed_geometry

SMALL = FieldConfig((5, 4, 6), 2, 3, (24, 16, 12, 8), (2, 2, 2, 1), (3, 2, 2, 2), local_channels=4)
PLAIN = FieldConfig((2, 3, 3), 1, 1, (8, 8, 6), (1, 3, 1), (1, 2, 2), expansion=2)


def random_field(config: FieldConfig) -> ConditioningField:
    """A field in float64 with features of order one everywhere."""
    field = ConditioningField(config).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return field


def window(height: int, width: int, *part: int) -> Window:
    time, level = torch.tensor([0.02, 0.4, 0.97]), torch.tensor([0, 4, 1])
    return Window(time, level, height, width, *(part or (0, 0, height, width)))


def cropped(maps: list[Tensor], top: int, left: int, rows: int, columns: int) -> list[Tensor]:
    parts = []
    for k, x in enumerate(maps):
        s = 1 << len(maps) - 1 - k
        parts.append(x[..., top * s : (top + rows) * s, left * s : (left + columns) * s])
    return parts


@pytest.mark.parametrize("config", [SMALL, PLAIN], ids=["small", "plain"])
@pytest.mark.parametrize(
    ("height", "width", "parts"),
    [
        (1, 1, [(0, 0, 1, 1)]),
        (13, 11, [(0, 0, 2, 2), (11, 9, 2, 2), (0, 8, 4, 3), (5, 4, 3, 2), (6, 0, 1, 11)]),
        (2, 9, [(1, 7, 1, 2), (0, 3, 2, 3)]),
    ],
)
@torch.no_grad()
def test_crop_has_the_features_of_the_picture(config, height, width, parts):
    field = random_field(config)
    whole = field(window(height, width))
    assert min(float(x.std()) for x in whole) > 1e-2
    for part in parts:
        crop = field(window(height, width, *part))
        for a, b in zip(crop, cropped(whole, *part), strict=True):
            assert a.shape == b.shape
            torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@torch.no_grad()
def test_upsampled_features_are_those_of_the_plain_decoder():
    """A whole picture through torch's own operations, without spans and cuts."""
    field = random_field(SMALL)
    height, width = 6, 9  # multiples of the first scale
    where = window(height, width)
    levels = []
    axes = [torch.tensor([0.02, 0.4, 0.97]).double()]
    axes += [(torch.arange(n).double() + 0.5) / n for n in (height // 3, width // 3)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flip(-1)[None] * 2 - 1
    for grid in field.grid:
        levels.append(F.grid_sample(grid[None], points, "bilinear", "border", align_corners=False))
    x = field.stem(torch.cat(levels, 1)[0].transpose(0, 1))
    x = x + field.level[where.level][:, :, None, None]
    maps = []
    for stage in field.stages:
        x = F.interpolate(stage.norm(x), scale_factor=stage.scale, mode="bilinear")
        rows, columns = x.shape[2:]
        local = []
        for table in stage.local.tables:
            at = (where.time.double() * len(table) - 0.5).clamp(0, len(table) - 1)
            hat = (1 - (at[:, None] - torch.arange(len(table))).abs()).clamp(min=0)
            local.append((hat @ table).view(3, stage.scale, stage.scale, -1))
        phases = stage.local.linear(torch.cat(local, 3)).permute(0, 3, 1, 2)
        x = x + phases.repeat(1, 1, rows // stage.scale, columns // stage.scale)
        x = stage.blocks(x)
        maps.insert(0, x)
    for a, b in zip(field(where), maps, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_feature_maps_line_up_with_the_backbone():
    maps = ConditioningField(SMALL)(window(5, 4))
    assert [x.shape for x in maps] == [
        (3, c, 5 * s, 4 * s) for c, s in ((8, 8), (12, 4), (16, 2), (24, 1))
    ]


def test_gradient_reaches_every_parameter():
    field = ConditioningField(SMALL)
    initial.initialise(field)
    maps = field(window(4, 6))
    sum((x * torch.randn_like(x)).sum() for x in maps).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_runs_in_bfloat16_and_returns_float32():
    field = ConditioningField(SMALL)
    initial.initialise(field)
    exact = field(window(4, 6))
    with torch.autocast("cpu", torch.bfloat16):
        maps = field(window(4, 6))
    for a, b in zip(maps, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.1 * b.norm()


@pytest.mark.parametrize("scales", [(2, 2, 2), (2, 2, 2, 3)])
def test_scales_that_do_not_fit_are_refused(scales):
    with pytest.raises(UnsupportedError):
        ConditioningField(FieldConfig((1, 1, 1), 1, 1, (4, 4, 4, 4), (1, 1, 1, 1), scales))


LAYOUT = SampleLayout("yuv", 1, 1)


def model_of(
    field: FieldConfig | None,
    coupling: tuple[int, ...] = (),
    prior: PriorConfig | None = None,
    layout: SampleLayout = LAYOUT,
    stages: int = 4,
    packing: int = 2,
) -> ModelConfig:
    geometry = packed_geometry(layout.family, layout.shift_x, layout.shift_y, packing)
    groups = even_groups(geometry.channels << 2 * (stages - 1), 5)
    return ModelConfig(
        packing=packing,
        stages=stages,
        groups=groups,
        layers=(len(groups),),
        coupling=coupling,
        field=field,
        prior=prior or PriorConfig(),
    )


STEM_CHECKSUM = 101203354


def test_start_is_the_same_everywhere():
    config = model_of(SMALL, (4, 6, 8), PriorConfig(hidden=3))
    torch.manual_seed(1)
    first = InnvcModel(config, LAYOUT, 0)
    torch.manual_seed(2)
    second = InnvcModel(config, LAYOUT, 0).state_dict()
    for name, value in first.state_dict().items():
        assert torch.equal(value, second[name]), name
    for name, value in first.named_parameters():
        steps = value.double() * 2.0**initial.UNIT_BITS
        assert torch.equal(steps, steps.round()), name
    grid = dict(first.named_parameters())["field.grid.0"]
    assert 9e-4 < float(grid.detach().abs().max()) <= 1e-3
    # Known values: a change here makes older files undecodable.
    stem = first.field.stem.weight.detach().numpy() * 2.0**16
    assert zlib.crc32(stem.astype("<i4").tobytes()) == STEM_CHECKSUM


def test_draws_depend_on_the_name_alone():
    small = InnvcModel(model_of(PLAIN, (4, 4), stages=3), LAYOUT, 0)
    more = InnvcModel(model_of(SMALL, (4, 4, 4)), LAYOUT, 0)
    name = "backbone.coupling.0.first.enter.weight"
    assert torch.equal(small.get_parameter(name), more.get_parameter(name))
    other = small.get_parameter(name.replace("first", "second"))
    assert not torch.equal(small.get_parameter(name), other)


def test_field_changes_nothing_at_the_start():
    model = InnvcModel(model_of(SMALL, (4, 6, 8)), LAYOUT, 0)
    x = torch.randn(3, 6, 16, 24) * 40
    matrices = model.backbone.matrices()
    with_field = model.backbone(x, matrices, model.features(window(2, 3)))
    assert torch.equal(with_field, model.backbone(x, matrices))


def test_grid_parameters_are_of_their_own_kind():
    model = InnvcModel(model_of(SMALL, (4, 6, 8)), LAYOUT, 0)
    grids = {name for name, _ in model.named_parameters() if kind_of(name) == "grid"}
    assert grids == {f"field.grid.{level}" for level in range(3)}


CONFIGS = {
    "bare": (model_of(None), LAYOUT),
    "scales": (model_of(None, prior=PriorConfig(scale_units=3)), LAYOUT),
    "small": (model_of(SMALL, (4, 6, 8), PriorConfig(hidden=3)), LAYOUT),
    "plain": (model_of(PLAIN, (0, 5), PriorConfig(energy=False), stages=3), LAYOUT),
    "paper-like": (
        model_of(SMALL, (2, 4, 8), PriorConfig(False, False, 4), SampleLayout("rgb", 0, 0), 4, 1),
        SampleLayout("rgb", 0, 0),
    ),
    "grey": (
        model_of(None, (3, 3, 3), PriorConfig(False, True), SampleLayout("gray", 0, 0)),
        SampleLayout("gray", 0, 0),
    ),
}


def side_numbers(model):
    """Numbers that describe the code of a model's parameters."""
    total = 0
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if kind_of(name) == "grid":
            blocks = block_counts(shape[1:])
            total += 2 + shape[0] * (prod(blocks) + 1) + WEIGHTS
        else:
            total += 2 + 2 * len(StepSizes({name: parameter}, {name: 0}, learn=True).vector)
    return total


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_count_is_that_of_the_built_model(name):
    config, layout = CONFIGS[name]
    model = InnvcModel(config, layout, 0)
    counted = count(config, layout, 64, 40)
    side = counted.parameters["side"]
    assert counted.total_parameters == side + sum(p.numel() for p in model.parameters())
    assert side == side_numbers(model)
    grids = sum(p.numel() for n, p in model.named_parameters() if kind_of(n) == "grid")
    assert counted.parameters.get("grid", 0) == grids
    # One frame through field and backbone, then through the prior.
    rows, columns = (-(-n // (config.packing * model.stride)) for n in (40, 64))
    matrices = model.backbone.matrices()
    channels = len(matrices[0])
    x = torch.zeros(1, channels, rows * model.stride, columns * model.stride)
    zero = torch.zeros(1, dtype=torch.long)
    where = Window(zero / 2, zero, rows, columns, 0, 0, rows, columns)
    with FlopCounterMode(display=False) as flops:
        y = model.backbone(x, matrices, model.features(where))
    macs = dict(counted.macs)
    prior = macs.pop("prior")
    assert flops.get_total_flops() == 2 * sum(macs.values())
    context = model.prior.context(y)
    with FlopCounterMode(display=False) as flops:
        everything = slice(0, y.shape[1])
        model.prior(model.prior.weights(), everything, zero, *4 * [context])
    if config.prior.temporal:  # element by element, which the counter does not see
        prior -= 6 * y.numel()
    assert flops.get_total_flops() == 2 * prior


def test_uniform_draws_fill_the_range():
    values = initial.uniform("any", (20000,), 65).numpy() * 2.0**16
    assert set(np.unique(values)) == set(range(-65, 66))
    assert abs(values.mean()) < 1.5
