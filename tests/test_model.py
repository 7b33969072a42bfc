"""The network: exact inverses on perturbed weights, the transform it starts as, an exact prior."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from innvc.config import FieldConfig, ModelConfig, PriorConfig
from innvc.model import lifting, quantisation, start, subbands
from innvc.model.contexts import Context, second_half
from innvc.model.field import Window
from innvc.model.layers import Modulation, Orthogonal, Subnet, bounded, squeeze, unsqueeze
from innvc.model.model import InnvcModel, SampleLayout
from innvc.model.prior import WEIGHT_BITS, LatentPrior
from innvc.video.formats import PIXEL_FORMATS, PixelFormat
from innvc.video.packing import pack, pad, unpack

FIELD = FieldConfig((3, 3, 4), 2, 2, (16, 12, 8, 8), (1, 1, 1, 1), (2, 2, 2, 2), local_channels=2)
FORMATS = ["gray", "yuv420p", "yuv422p10le", "yuv444p", "gbrp"]
GEOMETRIES = [(2, "dct"), (2, "identity"), (1, "identity")]
SAMPLE_RANGE = 255


def layout_of(form: PixelFormat) -> SampleLayout:
    return SampleLayout(form.family, form.shift_x, form.shift_y)


def build(form: PixelFormat, packing: int = 2, base: str = "dct", plain: bool = False):
    """A four-stage model with couplings and field, or with neither."""
    layout = layout_of(form)
    geometry = start.packed_geometry(form.family, form.shift_x, form.shift_y, packing)
    groups = start.even_groups(geometry.channels * 64, 20)
    config = ModelConfig(
        packing=packing,
        base=base,
        groups=groups,
        layers=(len(groups),),
        coupling=() if plain else (4, 8, 8),
        field=None if plain else FIELD,
        prior=PriorConfig(energy=False, temporal=False),
    )
    return InnvcModel(config, layout, 0)


LOG_SCALE, SHIFT = 0.3, 10.0  # standard deviations in every layer of the perturbed models


@torch.no_grad()
def perturb(model: InnvcModel, frames: Tensor) -> None:
    """Moves every parameter of the transform as a long fit would.

    Random weights, then the last layer of each subnet and modulation is scaled so that on these
    frames its log-scales and shifts have the standard deviations above.
    """
    generator = torch.Generator().manual_seed(3)
    for parameter in [*model.field.parameters(), *model.backbone.parameters()]:
        parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))

    def calibrate(module, inputs, output):
        last = module.linear if isinstance(module, Modulation) else module.leave
        halves = output.chunk(2, 1)
        gains = [
            wanted / half.std() for wanted, half in zip((LOG_SCALE, SHIFT), halves, strict=True)
        ]
        gain = torch.cat([g.expand(half.shape[1]) for g, half in zip(gains, halves, strict=True)])
        last.weight.mul_(gain[:, None, None, None])
        last.bias.mul_(gain)
        return output * gain[:, None, None]

    through(model, frames, calibrate)


def through(model: InnvcModel, frames: Tensor, hook) -> None:
    """Runs the forward pass with a hook on what gives log-scales and shifts."""
    modules = [m for m in model.modules() if isinstance(m, Subnet | Modulation)]
    handles = [module.register_forward_hook(hook) for module in modules]
    features = model.features(window_of(model, frames))
    model.backbone(lifting.forward(frames), model.backbone.matrices(), features)
    for handle in handles:
        handle.remove()


def frames_of(form: PixelFormat, width: int, height: int, count: int) -> list[list[np.ndarray]]:
    """Smooth moving shapes with noise, over the whole range of values."""
    rng = np.random.default_rng(5)
    frames = []
    for t in range(count):
        planes = []
        for p in range(form.planes):
            h, w = form.plane_size(p, width, height)
            y, x = np.mgrid[:h, :w]
            wave = np.sin((x + 2 * t) / (4 + p)) * np.cos(y / 5) + 0.2 * rng.standard_normal((h, w))
            values = np.clip(0.5 + 0.5 * wave, 0, 1) * form.peak
            planes.append(values.round().astype(form.dtype))
        frames.append(planes)
    return frames


def packed(frames: list[list[np.ndarray]], form: PixelFormat, packing: int, stride: int) -> Tensor:
    arrays = [pad(pack(planes, form, packing), stride, stride) for planes in frames]
    return torch.from_numpy(np.stack(arrays))


def window_of(model: InnvcModel, x: Tensor) -> Window:
    count, rows, columns = len(x), *(n // model.stride for n in x.shape[2:])
    level = torch.tensor([subbands.level_of(j, count) for j in range(count)])
    return Window((torch.arange(count) + 0.5) / count, level, rows, columns, 0, 0, rows, columns)


@torch.no_grad()
def round_trip(model: InnvcModel, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Latent and reconstruction of one group of frames, without quantisation."""
    matrices = model.backbone.matrices()
    features = model.features(window_of(model, frames))
    latent = model.backbone(lifting.forward(frames), matrices, features)
    return latent, lifting.inverse(model.backbone.inverse(latent, matrices, features))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("packing", "base"), GEOMETRIES)
def test_inverse_is_exact_on_perturbed_weights(name, packing, base):
    form = PIXEL_FORMATS[name]
    model = build(form, packing, base)
    frames = frames_of(form, 37, 27, 2)
    x = packed(frames, form, packing, model.stride)
    perturb(model, x)
    latent, back = round_trip(model, x)
    assert float((back - x).abs().max()) < 1e-4 * SAMPLE_RANGE
    for planes, array in zip(frames, back.numpy(), strict=True):
        restored = unpack(array, form, 37, 27, packing)
        assert all(np.array_equal(a, b) for a, b in zip(planes, restored, strict=True))
    latent, back = round_trip(model.double(), x.double())
    assert float((back - x).abs().max()) < 1e-9 * SAMPLE_RANGE
    assert latent.isfinite().all() and float(latent.std()) > 1


@torch.no_grad()
def test_perturbed_scales_really_differ_from_one():
    """The weights of the test above are no formality."""
    form = PIXEL_FORMATS["yuv420p"]
    model = build(form)
    x = packed(frames_of(form, 37, 27, 2), form, 2, model.stride)
    perturb(model, x)
    outputs = []
    through(model, x, lambda module, inputs, output: outputs.append(output))
    assert len(outputs) == 3 * 2 + 4
    for output in outputs:
        log_scale, shift = output.chunk(2, 1)
        assert float(bounded(log_scale).std()) == pytest.approx(LOG_SCALE, rel=0.3)
        assert float(shift.std()) == pytest.approx(SHIFT, rel=0.2)
    for matrix, layer in zip(model.backbone.matrices(), model.backbone.mixing, strict=True):
        assert float((matrix - layer.base).norm() / layer.base.norm()) > 0.3


@pytest.mark.parametrize("group", [1, 2, 4, 8, 16])
def test_groups_of_every_length_come_back(group):
    form = PIXEL_FORMATS["gray"]
    model = build(form, 1, "identity")
    width, height = (1, 1) if group == 1 else (19, 5)
    x = packed(frames_of(form, width, height, group), form, 1, model.stride)
    perturb(model, x)
    assert float((round_trip(model, x)[1] - x).abs().max()) < 1e-4 * SAMPLE_RANGE
    back = round_trip(model.double(), x.double())[1]
    assert float((back - x).abs().max()) < 1e-9 * SAMPLE_RANGE


@pytest.mark.parametrize("group", range(1, 17))
def test_lifting_without_motion(group):
    x = torch.randn(group, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = lifting.forward(x)
    torch.testing.assert_close(lifting.inverse(found), x)
    if group & (group - 1) == 0:  # orthonormal
        torch.testing.assert_close(found.square().sum(), x.square().sum())
    still = lifting.forward(torch.ones(group, 3, dtype=torch.float64))
    torch.testing.assert_close(still[0], torch.full((3,), group**0.5, dtype=torch.float64))
    assert not still[1:].any()


@pytest.mark.parametrize("group", [1, 2, 3, 5, 6, 10, 12, 17, 32])
def test_frames_need_no_details_that_follow(group):
    x = torch.randn(group, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lifter, taken = lifting.Haar(), []
    found = lifting.forward(x, lifter)

    def given():
        for subband in found / lifter.gains(found):
            taken.append(subband)
            yield subband

    last = len(subbands.details(group, 1)) if group > 1 else 0  # of the finest level
    for number, frame in enumerate(lifting.inverse_frames(given(), group, lifter)):
        torch.testing.assert_close(frame, x[number])
        needed = last if group <= 3 else min(last, number // 2 + 1 + number % 2)
        assert len(taken) == group - last + needed


@pytest.mark.parametrize("group", range(1, 33))
def test_contexts_are_kept_as_long_as_they_are_read(group):
    for j in range(group):
        read = subbands.read_after(j, group)
        for later in range(j + 1, group):
            assert {subbands.parent_of(later, group), subbands.sibling_of(later, group)} <= read
    assert subbands.read_after(group - 1, group) == set()


@pytest.mark.parametrize("group", range(1, 17))
def test_subbands_describe_the_frames_they_say(group):
    impulses = lifting.forward(torch.eye(group, dtype=torch.float64))
    levels = [subbands.level_of(j, group) for j in range(group)]
    assert levels == [0, *sorted(levels[1:], reverse=True)]
    for j in range(group):
        first, end = subbands.span_of(j, group)
        assert impulses[j].nonzero().flatten().tolist() == list(range(first, end))
        parent, sibling = subbands.parent_of(j, group), subbands.sibling_of(j, group)
        if parent is not None:
            assert parent < j and levels[parent] in (0, levels[j] + 1)
            a, b = subbands.span_of(parent, group)
            assert (a <= first and end <= b) or (group & (group - 1) and b == first)
        if sibling is not None:
            assert levels[sibling] == levels[j]
            # The two beside a middle frame both describe it.
            middle = subbands.is_centred(subbands.low_counts(group)[levels[j] - 1])
            assert subbands.span_of(sibling, group)[1] == first * (1 + middle)


@pytest.mark.parametrize("scale", [0.0, 0.3, 3.0])
@torch.no_grad()
def test_mixing_is_orthonormal(scale):
    bases, _ = start.dct_bases(start.packed_geometry("yuv", 1, 1, 2), 3)
    layer = Orthogonal(bases[2]).double()
    layer.skew.normal_(generator=torch.Generator().manual_seed(0)).mul_(scale)
    layer.requires_grad_(False)
    q = layer.matrix()
    torch.testing.assert_close(q @ q.T, torch.eye(len(q)).double(), rtol=0, atol=1e-10)
    if scale == 0:
        torch.testing.assert_close(q, torch.from_numpy(bases[2]), rtol=0, atol=0)


def test_squeeze_order_is_the_geometry():
    geometry = start.squeezed(start.squeezed(start.packed_geometry("gray", 0, 0, 2)))
    image = torch.arange(256.0).view(1, 1, 16, 16)
    x = squeeze(squeeze(squeeze(image)))
    at = 16 * np.array(geometry.rows) + np.array(geometry.columns)
    assert x[0, :, 0, 0].tolist() == at.tolist()
    assert torch.equal(unsqueeze(x), squeeze(squeeze(image)))


@pytest.mark.parametrize("name", ["gray", "yuv420p", "yuv422p", "yuv444p"])
@torch.no_grad()
def test_starts_as_the_block_dct_of_the_planes(name):
    form = PIXEL_FORMATS[name]
    model = build(form, plain=True).double()
    planes = frames_of(form, 32, 16, 1)[0]
    x = torch.from_numpy(pack(planes, form, 2))[None].double()
    latent = model.backbone(x, model.backbone.matrices())[0, :, 0, 1].numpy()  # the second block
    geometry = start.packed_geometry(form.family, form.shift_x, form.shift_y, 2)
    frequencies = start.dct_bases(geometry, 4)[1]
    facts = zip(
        latent, frequencies.plane, frequencies.vertical, frequencies.horizontal, strict=True
    )
    for value, plane, v, h in facts:
        rows, columns = form.plane_size(plane, 16, 16)
        block = planes[plane][:, columns:].astype(float) - 128
        down = np.cos(np.pi * (np.arange(rows) + 0.5) * v / rows) * (2 if v else 1) ** 0.5
        along = np.cos(np.pi * (np.arange(columns) + 0.5) * h / columns) * (2 if h else 1) ** 0.5
        expected = down @ block @ along / math.sqrt(rows * columns)
        assert value == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_rgb_start_gathers_grey_in_one_plane():
    form = PIXEL_FORMATS["gbrp"]
    model = build(form, plain=True).double()
    plane = frames_of(form, 16, 16, 1)[0][0]
    x = torch.from_numpy(pack([plane] * 3, form, 2))[None].double()
    latent = model.backbone(x, model.backbone.matrices())
    torch.testing.assert_close(latent.square().sum(), x.square().sum())
    frequencies = start.dct_bases(start.packed_geometry("rgb", 0, 0, 2), 4)[1]
    assert float(latent[:, torch.from_numpy(frequencies.plane > 0)].abs().max()) < 1e-9


@pytest.mark.parametrize(("channels", "count"), [(256, 20), (384, 20), (5, 20)])
def test_even_groups(channels, count):
    groups = start.even_groups(channels, count)
    assert sum(groups) == channels and max(groups) - min(groups) <= 1
    assert channels != 256 or groups == (13,) * 16 + (12,) * 4


# --- The latent prior


def prior_of(config: PriorConfig) -> LatentPrior:
    """A prior of 24 channels with every weight moved by a few steps."""
    bases, frequencies = start.dct_bases(start.packed_geometry("yuv", 1, 1, 2), 2)
    groups = start.dct_groups(frequencies)
    layers = 2, len(groups) - 2
    prior = LatentPrior(config, groups, frequencies, -20, layers=layers)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in prior.parameters():
            steps = torch.randint(-30, 31, parameter.shape, generator=generator)
            parameter.add_(steps * 2.0**-WEIGHT_BITS)
    return prior


def values(seed: int, frames: int = 3, channels: int = 24) -> Tensor:
    """Sixteenths as they arise: small ones, and a few large."""
    rng = np.random.default_rng(seed)
    drawn = (
        rng.laplace(size=(frames, channels, 5, 4)) * np.geomspace(400, 4, channels)[:, None, None]
    )
    return torch.from_numpy(np.round(drawn))


PRIORS = [
    PriorConfig(),
    PriorConfig(energy=False, temporal=True),
    PriorConfig(energy=True, temporal=False, hidden=3),
    PriorConfig(hidden=2),
    PriorConfig(reach=3, halves=4),
    PriorConfig(temporal=False, reach=99, halves=99),
    PriorConfig(halves=4, scale_units=3),
]
LEVEL = torch.tensor([0, 4, 2])


def groups_of(prior: LatentPrior) -> list[slice]:
    ends = np.cumsum([0, *prior.groups]).tolist()
    return [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def evaluate(prior: LatentPrior, rows: slice, *contexts: Context) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return prior(prior.weights(), rows, LEVEL, *contexts)


@pytest.mark.parametrize("config", PRIORS)
def test_prior_is_the_same_in_float32_and_float64(config):
    prior = prior_of(config)
    contexts = [prior.context(values(seed).float()) for seed in range(4)]
    single = evaluate(prior, slice(0, 24), *contexts)
    prior = prior.double()
    contexts = [prior.context(values(seed)) for seed in range(4)]
    double = evaluate(prior, slice(0, 24), *contexts)
    for a, b in zip(single, double, strict=True):
        assert torch.equal(a.double(), b)
    assert len(double[0].unique()) > 10  # not all clamped
    assert double[1].any()


@pytest.mark.parametrize("config", PRIORS)
def test_prior_sees_earlier_groups_only(config):
    """Each group as the decoder evaluates it, against the fit's evaluation of all at once."""
    prior = prior_of(config).double()
    contexts = [prior.context(values(seed)) for seed in range(4)]
    others = [prior.context(values(seed)) for seed in range(10, 14)]
    scale, mean = evaluate(prior, slice(0, 24), *contexts)
    second = second_half(5, 4)
    for rows in groups_of(prior):
        # Of a group in two passes the second half of the positions reads the first half.
        two = rows.stop <= sum(prior.groups[: config.halves])
        for places in (~second, second) if two else (torch.ones_like(second),):
            mixed = []
            for number, (context, other) in enumerate(zip(contexts, others, strict=True)):
                known = rows.stop if number else rows.start  # of others, of current
                if number and config.scale_units:  # their layer
                    known = sum(prior.groups[:2]) if rows.stop <= sum(prior.groups[:2]) else 24
                parts = []
                for field in ("value", "own", "around"):
                    part = getattr(other, field).clone()
                    part[:, :known] = getattr(context, field)[:, :known]
                    if number == 0 and field == "value" and places is second:
                        part[:, rows, ~second] = context.value[:, rows, ~second]
                    parts.append(part)
                mixed.append(Context(*parts))
            everything = evaluate(prior, slice(0, 24), *mixed)
            for given in (contexts, mixed):
                group_scale, group_mean = evaluate(prior, rows, *given)
                assert torch.equal(group_scale[..., places], scale[:, rows, places])
                assert torch.equal(group_mean[..., places], mean[:, rows, places])
            assert torch.equal(everything[0][:, rows, places], scale[:, rows, places])
            assert torch.equal(everything[1][:, rows, places], mean[:, rows, places])
    if config.halves:  # and the first half is really read
        blind = Context(contexts[0].value * second, contexts[0].own, contexts[0].around)
        without = evaluate(prior, slice(0, 24), blind, *contexts[1:])
        assert not torch.equal(without[0][..., second], scale[..., second])
        assert not torch.equal(without[1][..., second], mean[..., second])


@pytest.mark.parametrize("config", PRIORS)
def test_prior_weights_are_integers(config):
    prior = prior_of(config).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(2.0**-15)  # a step finer than the weights' own
        for name, weight in prior.weights().items():
            assert torch.equal(weight, weight.round()), name
    assert prior.largest_sum(prior.weights()) < 2.0**53


def test_log_magnitudes_are_exact():
    prior = prior_of(PriorConfig())
    magnitude = torch.arange(0, 1 << 19, 7, dtype=torch.float64).view(1, 1, 1, -1)
    expected = np.floor(8 * np.log2(1 + magnitude.numpy() / 8) + 1e-12)
    assert np.array_equal(prior.context(magnitude).own.numpy(), expected)
    assert torch.equal(prior.context(magnitude.float()).own.double(), prior.context(magnitude).own)


# --- Stand-ins for rounding


@pytest.mark.parametrize("temperature", [0.5, 0.3, 0.1])
def test_soft_rounding_is_monotone_and_keeps_integers(temperature):
    x = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    soft = quantisation.soft_round(x, temperature)
    assert (soft.diff() > 0).all()
    assert float((soft - x).abs().max()) < 0.5
    kept = torch.arange(-6, 7) / 2.0
    torch.testing.assert_close(quantisation.soft_round(kept, temperature), kept)
    # Up to the shift by half the noise's width, the conditional mean undoes soft rounding.
    back = quantisation.soft_round_mean(soft + 0.5, temperature) - 0.5
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)
    mean = quantisation.soft_round_mean(x, temperature)
    assert mean.isfinite().all() and (mean.diff() > -1e-9).all()


def test_rate_aware_rounding_takes_the_cheaper_neighbour():
    """Against a search over the nearest symbol and the one towards zero, with its own bits."""
    generator = torch.Generator().manual_seed(3)
    x = 6 * torch.randn(4000, generator=generator, dtype=torch.float64)
    scale = torch.randint(64, x.shape, generator=generator).double()
    weight = torch.rand(x.shape, generator=generator, dtype=torch.float64) * 10
    chosen = quantisation.RateAwareRounding()(x, scale, weight)
    nearest = torch.sign(x) * torch.floor(x.abs() + 0.5)
    candidates = torch.stack([nearest, nearest - nearest.sign()])
    cost = quantisation.symbol_bits(candidates, scale) + weight * (x - candidates).square()
    best = candidates.gather(0, cost.argmin(0)[None])[0]
    assert torch.equal(chosen, best)
    assert (chosen != nearest).sum() > 100


def test_bits_of_chosen_symbols_are_those_of_the_formula():
    generator = torch.Generator().manual_seed(5)
    symbol = torch.randn(3000, generator=generator).mul(40).round()
    symbol[:3] = torch.tensor([0.0, 900.0, -4000.0])
    scale = torch.randint(64, symbol.shape, generator=generator).float().requires_grad_()
    residual = (symbol + torch.rand(symbol.shape, generator=generator) - 0.5).requires_grad_()
    bits = quantisation.ChosenBits()(symbol, scale, residual)
    expected = quantisation.symbol_bits(symbol.double(), scale.double())
    torch.testing.assert_close(bits.double(), expected, rtol=1e-4, atol=1e-4)
    wanted = torch.autograd.grad(expected.sum(), scale)[0]
    found = torch.autograd.grad(bits.sum(), (scale, residual))
    torch.testing.assert_close(found[0], wanted, rtol=1e-4, atol=1e-4)
    # The slopes for the residual add up to the bits of the largest symbol.
    line = torch.linspace(0, 6, 6001)[:-1].requires_grad_()
    index = torch.full_like(line, 20.0)
    bits = quantisation.ChosenBits()(line.detach().floor(), index, line)
    total = torch.autograd.grad(bits.sum(), line)[0].mean() * 6
    ends = quantisation.symbol_bits(torch.tensor([0.0, 6.0]), torch.tensor(20.0))
    assert float(total) == pytest.approx(float(ends[1] - ends[0]), rel=1e-2)


def test_through_has_the_value_of_one_and_the_slope_of_the_other():
    x = torch.tensor([0.3, 1.7], requires_grad=True)
    y = quantisation.through(torch.tensor([0.0, 2.0]), 3 * x)
    y.sum().backward()
    assert y.tolist() == [0.0, 2.0]
    assert x.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("shape", [1.0, 1.5, 2.0])
def test_kumaraswamy_noise_has_its_moments_and_mode(shape):
    generator = torch.Generator().manual_seed(0)
    noise = quantisation.kumaraswamy_noise(torch.zeros(200_000), shape, generator).double()
    assert noise.isfinite().all() and float(noise.abs().max()) <= 0.5
    b = (2**shape * (shape - 1) + 1) / shape
    m1, m2 = (
        b * math.gamma(1 + n / shape) * math.gamma(b) / math.gamma(1 + n / shape + b)
        for n in (1, 2)
    )
    assert float(noise.mean()) == pytest.approx(m1 - 0.5, abs=2e-3)
    assert float(noise.std()) == pytest.approx(math.sqrt(m2 - m1**2), rel=1e-2)
    if shape > 1:
        counts = torch.histc(noise, 20, -0.5, 0.5)
        assert int(counts.argmax()) in (8, 9, 10, 11)


@pytest.mark.parametrize("index", [0, 8, 20, 40])
def test_symbol_bits_are_those_of_a_distribution(index):
    symbols = torch.arange(-3000, 3001, dtype=torch.float64)
    bits = quantisation.symbol_bits(symbols, torch.tensor(float(index)))
    assert bits.isfinite().all()
    inside = bits < 21
    assert float(torch.exp2(-bits[inside]).sum()) == pytest.approx(1, abs=2e-3)
    assert (bits.diff()[3000:] >= 0).all()  # grows with the magnitude
