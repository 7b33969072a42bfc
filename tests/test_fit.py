"""The fit: schedule, masking, batches, and that what is fitted is what is coded."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from innvc import packet_encoder, presets
from innvc.bitstream import parameters
from innvc.bitstream.header import HeaderRecord
from innvc.config import FieldConfig, FitConfig, ModelConfig
from innvc.decoder import SegmentDecoder, layout_of
from innvc.encoder import EncodeSettings, SegmentEncoder
from innvc.fit import tables
from innvc.fit.data import SegmentData
from innvc.fit.grouping import Still, choose_groups, even_groups, key_packets
from innvc.fit.objective import Objective
from innvc.fit.parameters import ParameterQuantiser
from innvc.fit.schedule import Schedule
from innvc.metrics import plane_mse
from innvc.model import lifting, subbands
from innvc.model.model import InnvcModel, SampleLayout, step_base_of
from innvc.model.picture import PictureModel
from innvc.presets import analytic_groups
from innvc.video.formats import Frame
from innvc.video.source import open_source

CLIP = Path(__file__).parent / "data" / "street_cif.mkv"
TABLES = FitConfig(steps=6, learn=("prior.base", "prior.temporal"), straight_through=1.0, rate=0.3)


def crop(count: int, size: int = 96) -> list[Frame]:
    """The middle of the bundled clip's frames; beyond its six it runs backwards and forwards."""
    with open_source(str(CLIP)) as source:
        frames = [
            [p[64 // s :, 96 // s :] for p, s in zip(f.planes, (1, 2, 2), strict=True)]
            for f in source
        ]
    there_and_back = frames + frames[-2:0:-1]
    chosen = [there_and_back[i % len(there_and_back)] for i in range(count)]

    def cut(plane: np.ndarray, shrink: int) -> np.ndarray:
        return np.ascontiguousarray(plane[: size // shrink, : size // shrink])

    return [Frame([cut(f[0], 1), cut(f[1], 2), cut(f[2], 2)]) for f in chosen]


def encoder(
    frames: list[Frame],
    fit: FitConfig,
    lambda_: float = 0.3,
    gop: int | None = None,
    dependent: bool = True,
    start: int | None = None,
    motion: bool = True,
):
    height, width = frames[0].planes[0].shape
    layout = layout_of("yuv420p")
    switches = presets.Switches(dependent=dependent, start=start, motion=motion)
    config, _ = presets.make("fast", presets.Clip(layout, width, height, len(frames)), switches)
    header = HeaderRecord(
        width=width,
        height=height,
        pix_fmt="yuv420p",
        frames=len(frames),
        step_base=step_base_of(lambda_, layout),
        model=config,
    )
    settings = EncodeSettings(fit, lambda_, gop)
    return SegmentEncoder(header, frames, 0, settings, torch.device("cpu"))


def test_groups_open_in_order_between_the_ends_of_the_mask():
    config = FitConfig(steps=1, learn=(), mask=(0.4, 0.8))
    opened = [Schedule.at(t, config, 20).open_groups for t in np.linspace(0, 1, 101)]
    assert opened[40] == 0 and opened[60] == pytest.approx(10) and opened[80] == 20
    assert all(a <= b for a, b in zip(opened, opened[1:], strict=False))


def test_an_active_group_has_all_earlier_groups():
    made = encoder(crop(2), TABLES)
    objective = Objective(made.model, made.plane_weights(), 0.3, fixed=True)
    config = FitConfig(steps=1, learn=(), mask=(0.0, 1.0))
    schedule = Schedule.at(0.505, config, len(made.model.config.groups))
    active = objective._active(200, schedule, torch.Generator().manual_seed(0))[:, :, 0, 0]
    group = made.model.prior.group_of
    last = torch.stack([group[row.bool()].max() for row in active])
    assert torch.equal(active.bool(), group[None] <= last[:, None])
    assert len(last.unique()) == 2  # one draw for each sample decides about the group at the edge


def test_the_schedule_ends_with_uniform_noise_and_hard_rounding():
    config = FitConfig(steps=1, learn=(), straight_through=0.2)
    first, last = Schedule.at(0, config, 4), Schedule.at(0.8, config, 4)
    assert (first.temperature, first.noise_shape, first.hard) == (0.5, 2.0, False)
    assert (last.temperature, last.noise_shape, last.hard) == (0.3, 1.0, True)


def test_groups_are_aligned_and_end_at_key_intervals():
    assert even_groups(21, 16, 256) == [(0, 10), (10, 11)]
    assert [size for _, size in even_groups(21, 4, 6)] == [3, 3, 3, 3, 3, 3, 3]
    assert [size for _, size in even_groups(9, 8, 6)] == [6, 3]
    assert key_packets([3, 3, 3, 3, 3], 6) == [0, 2, 4]


def sizes(frames: torch.Tensor) -> list[int]:
    groups = choose_groups(frames, 16, 256, Still, lambda subbands: subbands)
    return [len(group.subbands) for group in groups]


def test_a_cut_and_motion_get_short_groups():
    generator = torch.Generator().manual_seed(1)
    still = 50 * torch.randn(1, 6, 4, 4, generator=generator)
    other = 50 * torch.randn(1, 6, 4, 4, generator=generator)
    assert sizes(still.expand(16, -1, -1, -1)) == [16]
    cut = torch.cat([still.expand(8, -1, -1, -1), other.expand(8, -1, -1, -1)])
    assert sizes(cut) == [8, 8]
    moving = torch.zeros(8, 8, 4, 4)
    moving[range(8), range(8)] = 50  # nothing in one frame is in the next
    assert sizes(moving) == [1] * 8


def test_batch_contexts_are_those_of_the_decoder():
    frames = torch.arange(14.0)[:, None, None, None].expand(-1, 1, 4, 4)
    packets = [lifting.forward(part) for part in frames.split([8, 4, 2])]
    data = SegmentData(packets, [0, 2], 1)
    batch = data.assemble([1, 2], (0, 0, 4, 4))
    # A context-only low-pass frame of packet 0 comes first; packet 2 is a key packet.
    assert batch.counted.tolist() == [False] + [True] * 6
    assert batch.sibling[1] == 0 and batch.sibling[5] == -1
    for index, (packet, j) in enumerate([(1, j) for j in range(4)] + [(2, j) for j in range(2)], 1):
        offset, size = index - j, data.sizes[packet]
        up, side = subbands.parent_of(j, size), subbands.sibling_of(j, size)
        assert batch.parent[index] == (-1 if up is None else offset + up)
        if j:
            assert batch.sibling[index] == (-1 if side is None else offset + side)
        assert batch.level[index] == subbands.level_of(j, data.sizes[packet])
    low = lifting.forward(frames[:8])[0]
    assert torch.equal(batch.subbands[0], low)


def test_a_fit_of_tables_sees_what_the_whole_prior_says(monkeypatch):
    """Rate, distortion and gradients of the same crop, with other tables than those of the start.

    Symbols that the prior reads are those of the start, in the fit of tables alone.
    """
    made = encoder(crop(8, 160), TABLES)
    made.data.intra = [True] * len(made.data.packets)
    weights, generator = made.plane_weights(), torch.Generator()
    whole = Objective(made.model, weights, 0.3, fixed=True)
    data = tables.TableData(made.data, whole, seed=3)
    monkeypatch.setattr(tables, "POSITIONS", 1 << 20)
    batch = data.batch(16, 6, generator)
    crop_of_it = made.data.batch(16, 6, torch.Generator().manual_seed(3))
    assert batch.positions == crop_of_it.positions < made.data.height * made.data.width
    assert len(batch.statistics) == whole.counted(crop_of_it).sum() < len(crop_of_it.level)
    steps = made.model.steps(crop_of_it.level)
    scaled, active = crop_of_it.subbands / steps, torch.ones_like(steps)
    kept = whole.context(crop_of_it, scaled, steps, active)
    monkeypatch.setattr(whole, "context", lambda *arguments: kept)
    alone = tables.TableObjective(made.model, weights, 0.3)
    schedule, found = Schedule.at(0.5, TABLES, len(made.model.config.groups)), []
    quantiser = ParameterQuantiser(made.model, TABLES.learn)
    moved(quantiser, 3)
    for objective, part in ((whole, crop_of_it), (alone, batch)):
        made.model.zero_grad()
        bits, distortion = objective(part, schedule, generator)
        (bits + distortion).backward()
        gradients = {name: p.grad.clone() for name, p in quantiser.learned.items()}
        found.append((bits.item(), distortion.item(), gradients))
    (bits, distortion, gradients), (of_tables, error, slopes) = found
    assert of_tables == pytest.approx(bits, rel=1e-5)
    assert error == pytest.approx(distortion, rel=1e-5)
    for name, slope in slopes.items():
        assert torch.allclose(slope, gradients[name], rtol=1e-3, atol=1e-3 * slope.abs().max())


@pytest.mark.parametrize(
    "changed, alone",
    [
        ({}, True),
        ({"learn": ("prior.base_level",)}, True),
        ({"learn": ("prior.base", "prior.spectral")}, False),
        ({"straight_through": 0.2}, False),
        ({"mask": (0.1, 0.4)}, False),
    ],
)
def test_what_is_a_fit_of_tables(changed, alone):
    made = encoder(crop(2), msgspec.structs.replace(TABLES, **changed))
    assert isinstance(made._problem()[0], tables.TableData) == alone


def test_parameters_at_their_start_cost_almost_nothing():
    made = encoder(crop(1), TABLES)
    quantiser = ParameterQuantiser(made.model, ("prior", "step"))
    assert sum(rate.item() for rate in quantiser.rates().values()) < 60
    assert not any(t.values.any() for t in quantiser.coded(made.model).values())


def cost(made: SegmentEncoder, frames: list[Frame]) -> float:
    """Bits a sample of plane 0 and lambda times the distortion, of what is coded and decoded."""
    record = made.fit(lambda progress: None, lambda: False)
    decoder = SegmentDecoder(made.header, made.segment, record, torch.device("cpu"))
    coded = len(record.side) + len(record.grid) + len(record.weights)
    decoded, before = [], None
    for packet in made.packets(record):
        coded += len(packet.data)
        picture, before = decoder.decode(packet, before)
        decoded += decoder.frames(packet.number, picture.frames)
        coded += len(packet.motion) + len(packet.gains) + len(packet.prediction or b"")
    errors = [
        np.mean([plane_mse(a.planes[p], b.planes[p]) for a, b in zip(frames, decoded, strict=True)])
        for p in range(3)
    ]
    distortion = 0.75 * errors[0] + 0.125 * (errors[1] + errors[2])
    return 8 * coded / (len(frames) * frames[0].planes[0].size) + 0.5 * distortion


@pytest.mark.parametrize(
    "start, dependent, motion, count, size, ratio",
    [
        (0, False, True, 8, 96, 0.96),
        (0, True, True, 8, 96, 0.96),
        (5, False, True, 8, 96, 0.9995),
        (None, True, False, 16, 224, 0.999),
    ],
)
def test_fitting_lowers_rate_and_distortion_of_the_decoded_file(
    start, dependent, motion, count, size, ratio
):
    """Much from the analytic start; beside adaptive tables, a trained one leaves little.

    In a small picture that is less than what the coded parameters take; with motion in one of 224
    samples, too.
    """
    frames = crop(count, size)
    fits = [msgspec.structs.replace(TABLES, steps=steps) for steps in (0, 40)]
    parts = 0.5, None, dependent, start, motion
    before, after = (cost(encoder(frames, f, *parts), frames) for f in fits)
    assert after < ratio * before


def test_a_fit_that_does_not_pay_is_left_out():
    wild, none = (msgspec.structs.replace(TABLES, **c) for c in ({"rate": 30.0}, {"steps": 0}))
    made, plain = encoder(crop(4), wild), encoder(crop(4), none)
    seen = []
    record = made.fit(seen.append, lambda: False)
    unfitted = plain.fit(lambda progress: None, lambda: False)
    assert len(seen) == wild.steps and record == unfitted
    assert list(made.packets(record)) == list(plain.packets(unfitted))


def test_what_was_coded_to_compare_is_not_coded_again(monkeypatch):
    """Of parameters that were compared, details are only chosen once more."""
    calls, code = [], packet_encoder.code_packet

    def counted(*arguments, **more):
        calls.append(arguments)
        return code(*arguments, **more)

    monkeypatch.setattr(packet_encoder, "code_packet", counted)
    refined = msgspec.structs.replace(TABLES, paths=10)
    made, other = encoder(crop(4), refined, gop=4), encoder(crop(4), refined, gop=4)
    record = made.fit(lambda progress: None, lambda: False)
    assert len(calls) == 2  # with the parameters of the start and with the fitted ones
    packets = list(made.packets(record))
    assert len(calls) == 3
    assert list(other.packets(record)) == packets
    assert len(calls) == 5


def test_what_is_fitted_is_what_is_coded():
    """The rate of the fit's last phase on whole frames is the rate of the file's details.

    The low-pass frame's is not fitted. The fit sees independent quantisation.
    """
    made = encoder(crop(4, 128), TABLES, gop=4, dependent=False)
    seen = []
    record = made.fit(seen.append, lambda: False)
    (packet,) = made.packets(record)
    coded = 8 * sum(map(sum, packet.lengths[1:])) / (3 * 128 * 128)
    assert coded == pytest.approx(seen[-1].latent, rel=0.03)


def test_a_fit_stops_when_asked_and_is_valid():
    made = encoder(crop(2), TABLES)
    calls = iter([False, False, True])
    seen = []
    record = made.fit(seen.append, lambda: next(calls))
    assert len(seen) == 2
    assert sum(len(p.data) for p in made.packets(record)) > 0


def moved(quantiser: ParameterQuantiser, size: float, seed: int = 0) -> None:
    """Every learned parameter some steps away from its start, rows unlike each other."""
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in quantiser.learned.items():
            change = random.laplace(0, size, parameter.shape)
            change *= np.exp(random.normal(0, 0.7, (len(parameter), *[1] * (parameter.dim() - 1))))
            steps = quantiser.steps.of(name)
            parameter += torch.from_numpy(change).float() * steps


@pytest.mark.parametrize("learn_steps", [False, True])
@pytest.mark.parametrize("size", [0.2, 2.0])
def test_the_rate_of_the_parameters_is_that_of_the_file(size, learn_steps):
    """Of every kind, within a few percent and the bytes that a string is rounded up to."""
    config = ModelConfig(
        groups=analytic_groups(SampleLayout("yuv", 1, 1), 2, 4),
        layers=(46,),
        coupling=(8, 8, 16),
        field=FieldConfig((4, 9, 11), 2, 2, (16, 12, 8, 8), (1, 1, 1, 1), (2, 2, 2, 2), 2),
    )
    model = InnvcModel(config, SampleLayout("yuv", 1, 1), 0)
    quantiser = ParameterQuantiser(model, ("step", "backbone.c", "field"), learn_steps)
    if learn_steps:
        for (name, _), (part, _) in quantiser.steps.parts.items():
            vector, random = quantiser.steps.vector.data[part], np.random.default_rng(len(name))
            vector += torch.from_numpy(random.integers(-3, 4, vector.shape)).float()
    moved(quantiser, size)
    estimate = quantiser.rates(axes=True)
    coded = quantiser.coded(model)
    record = parameters.write_record(coded, model)
    for kind, bits in estimate.items():
        real = 8 * len(getattr(record, kind))
        assert bits.item() == pytest.approx(real, rel=0.05, abs=150), kind
    again = InnvcModel(config, SampleLayout("yuv", 1, 1), 0)
    parameters.read_record(record, again)
    decoded = dict(again.named_parameters())
    for name, value in quantiser.quantised().items():
        assert torch.allclose(decoded[name], value, rtol=0, atol=1e-5), name


def test_the_rate_pulls_towards_the_start_and_towards_coarser_steps():
    model = encoder(crop(1), TABLES).model
    quantiser = ParameterQuantiser(model, ("prior.base_detail",), learn_steps=True)
    moved(quantiser, 3.0)
    sum(quantiser.rates().values()).backward()
    ((name, parameter),) = quantiser.learned.items()
    away = (parameter - quantiser.start[name]).detach()
    assert (parameter.grad * away >= 0).all() and parameter.grad.abs().sum() > 0
    assert quantiser.steps.base.grad < 0
    before = sum(quantiser.rates().values()).item()
    quantiser.steps.base.data += 4
    assert sum(quantiser.rates().values()).item() < before - 0.5 * parameter.numel()


def test_context_models_learn_from_the_rate():
    config = FieldConfig((16, 12, 12), 1, 1, (8, 8), (1, 1), (2, 2))
    model = PictureModel(
        ModelConfig(stages=2, field=config, field_role="picture"), SampleLayout("gray", 0, 0)
    )
    quantiser = ParameterQuantiser(model, ("field.grid",))
    smooth = torch.cumsum(torch.randn(16, 12, 12, generator=torch.Generator().manual_seed(1)), 0)
    with torch.no_grad():
        quantiser.learned["field.grid.0"] += smooth * quantiser.steps.of("field.grid.0")
    optimiser = torch.optim.Adam(quantiser.grids["field.grid.0"].prior.parameters(), lr=0.01)
    seen = []
    for _ in range(60):
        loss = quantiser.rates()["grid"]
        seen.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert seen[-1] < 0.9 * seen[0]
