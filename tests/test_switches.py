"""The switches of an encode, and decoding a part of the model alone."""

import json

import numpy as np
import pytest
import torch
from helpers import DATA, psnr, read_frames, same, write_clip

import innvc as package
from innvc.bitstream.cut import cut_file
from innvc.bitstream.reader import Reader
from innvc.decoder import SegmentDecoder, layout_of
from innvc.errors import UsageError
from innvc.model import complexity
from innvc.model.model import InnvcModel
from innvc.presets import Clip, Switches, make
from innvc.video.formats import Frame

SLOW = ["--preset", "slow", "--steps", "3", "--gop", "4", "--json", "--quiet"]


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Four frames of 64x48 from a real clip."""
    frames = []
    for frame in read_frames(DATA / "street_cif.mkv", frames=(0, 4)):
        luma, *chroma = frame.planes
        planes = [luma[100:148, 120:184], *(c[50:74, 60:92] for c in chroma)]
        frames.append(Frame([np.ascontiguousarray(p) for p in planes]))
    return write_clip(tmp_path_factory.mktemp("street") / "street.mkv", frames), frames


@pytest.mark.parametrize(
    "switches, facts",
    [
        ([], {"field": True, "field_role": "modulation", "base": "dct", "start": 6}),
        (["--no-mask"], {"field": True, "field_role": "modulation"}),
        (["--no-modulation"], {"field": False}),
        (["--residual"], {"field": True, "field_role": "residual"}),
        (["--base", "identity"], {"base": "identity", "start": 0, "groups": 20}),
        (["--no-coupling", "--no-context"], {"coupling": [], "start": 0}),
        (["--no-intra"], {"start": 6, "post_filter": True, "intra_prior": False}),
        (["--no-scale-network"], {"start": 6, "scale_network": False}),
        (["--start", "5"], {"start": 5, "scale_network": False}),
        (["--no-directions"], {"intra_prior": True, "directions": False}),
        (["--no-filter"], {"start": 6, "post_filter": False, "temporal_filter": True}),
        (["--no-temporal-filter"], {"post_filter": True, "temporal_filter": False}),
        (["--filter-steps", "2"], {"post_filter": True, "own_filter": True}),
        (["--no-dependent"], {"start": 6, "dependent_quantisation": False}),
        (["--trellis-states", "32"], {"dependent_quantisation": True, "trellis_states": 32}),
    ],
)
def test_each_switch_encodes_decodes_and_verifies(street, tmp_path, call, switches, facts):
    source, frames = street
    file, decoded = tmp_path / "a.innv", tmp_path / "a.mkv"
    code, out, err = call("encode", source, "-o", file, *SLOW, *switches)
    assert code == 0, err
    result = json.loads(out)
    assert result["steps"] == 3 and result["steps_per_second"] > 0
    code, out, err = call("decode", file, "-o", decoded, "--exact", "--json", "--quiet")
    assert code == 0, err
    told = json.loads(out)
    assert told["frames_per_second"] == pytest.approx(4 / told["seconds"])
    measured = psnr(frames, read_frames(decoded), 0, 255)
    assert measured == pytest.approx(result["psnr_y"], abs=1e-6)
    # Pixels coded without a transform cost far more, but are as good at this lambda.
    assert measured > 40
    assert call("verify", file)[0] == 0
    code, out, _ = call("info", file, "--json")
    model = json.loads(out)["model"]
    assert code == 0 and facts.items() <= model.items()


def test_the_switches_change_the_configuration():
    clip = Clip(layout_of("yuv420p"), 352, 288, 16)
    config, fit = make("slow", clip)
    assert make("slow", clip, Switches(mask=False))[1].mask == (0.0, 0.0) != fit.mask
    assert config.field and make("slow", clip, Switches(modulation=False))[0].field is None
    assert config.coupling and make("slow", clip, Switches(coupling=False))[0].coupling == ()
    assert not make("slow", clip, Switches(context=False))[0].prior.energy
    assert any(config.prior.intra)
    for switches in (Switches(context=False), Switches(intra=False), Switches(start=0)):
        assert make("slow", clip, switches)[0].prior.intra == (0, 0)
    assert config.post_filter
    for switches in (Switches(context=False), Switches(post_filter=False), Switches(start=0)):
        assert not make("slow", clip, switches)[0].post_filter
    brought, learnt = make("fast", clip, Switches(residual=True))
    assert brought.field == config.field and "field" in learnt.learn
    assert config.start == 6 and make("slow", clip, Switches(start=0))[0].start == 0
    paper = make("paper", clip, Switches(base="dct"))[0]
    assert paper.base == "dct" and sum(paper.groups) == 256
    assert make("paper", clip, Switches(base="identity")) == make("paper", clip)


def test_complexity_counts_the_head_in_place_of_the_modulation():
    layout = layout_of("yuv420p")
    config, _ = make("slow", Clip(layout, 352, 288, 16), Switches(residual=True))
    parts = complexity.count(config, layout, 352, 288)
    parameters = InnvcModel(config, layout, 0).named_parameters()
    numbers = parts.total_parameters - parts.parameters["side"]
    assert numbers == sum(p.numel() for _, p in parameters)
    assert parts.macs["head"] == config.field.channels[-1] * 6 * 176 * 144
    assert "modulation" not in parts.macs


@pytest.fixture(scope="module", params=["modulation", "residual"])
def parts(request, street, tmp_path_factory):
    """A file with a field of some effect, and what `decode --only` makes of it."""
    folder = tmp_path_factory.mktemp(request.param)
    file = folder / "a.innv"
    switches = {"residual": request.param == "residual", "coupling": False, "motion": False}
    steps = 20 if switches["residual"] else 10
    package.encode(street[0], file, preset="slow", steps=steps, gop=4, lambda_=5.0, **switches)
    decoded = {}
    for part in ("field", "latent"):
        package.decode(file, folder / f"{part}.mkv", only=part)
        decoded[part] = read_frames(folder / f"{part}.mkv")
    with package.open(file) as reader:
        decoded["both"] = list(reader)
    return request.param, file, decoded


def test_parts_alone_are_less_than_both(street, parts):
    role, _, decoded = parts
    quality = {part: psnr(street[1], frames, 0, 255) for part, frames in decoded.items()}
    assert quality["both"] > max(quality["field"], quality["latent"])
    if role == "residual":  # a linear backbone: the parts add up to the picture, grey is zero
        for field, latent, both in zip(*decoded.values(), strict=True):
            total = field.planes[0].astype(int) + latent.planes[0] - 128
            inside = (field.planes[0] % 255 > 0) & (latent.planes[0] % 255 > 0)
            assert abs(np.clip(total, 0, 255) - both.planes[0])[inside].max() <= 1


def test_the_field_alone_is_the_file_without_its_latent(parts, tmp_path):
    _, file, decoded = parts
    with Reader(file) as source, open(tmp_path / "cut.innv", "wb") as target:
        cut_file(source, target, 0)
    with package.open(tmp_path / "cut.innv") as reader:
        assert same(list(reader), decoded["field"])
    with package.open(file, only="field") as reader:
        assert same([reader[2]], decoded["field"][2:3])


def test_the_latent_alone_is_the_file_with_its_field_at_rest(parts):
    role, file, decoded = parts
    with Reader(file) as reader:
        header, segment = reader.header, reader.segment(0)
        record, packet = reader.parameters(0), reader.packet(0, 0)
    decoder = SegmentDecoder(header, segment, record, torch.device("cpu"))
    model = decoder.model
    for module in [model.field.head] if role == "residual" else model.backbone.modulation:
        module.linear.weight.zero_()
        module.linear.bias.zero_()
    packed = decoder.synthesis(
        0,
        decoder.symbols(packet, None).values,
        decoder.motion(packet.motion, packet.subbands),
        packet.intra,
    )
    assert same(decoder.frames(0, packed.frames), decoded["latent"])


def test_without_a_field_the_latent_is_the_whole_picture(clip, tmp_path, call):
    _, encoded, _ = clip
    part = tmp_path / "part.mkv"
    assert call("decode", encoded, "-o", part, "--only", "latent", "--frames", "0:4")[0] == 0
    with package.open(encoded) as whole, package.open(encoded, only="latent") as latent:
        assert same(whole[:4], latent[:4]) and same(whole[:4], read_frames(part))


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--residual", "--no-modulation"], "removes"),
        (["--base", "haar"], "no base 'haar'"),
        (["--start", "9"], "no starting point 9"),
        (["--start", "5", "--no-context"], "Leave out --start"),
    ],
)
def test_switches_that_are_refused(street, tmp_path, call, arguments, sentence):
    code, out, err = call("encode", street[0], "-o", tmp_path / "a.innv", *SLOW, *arguments)
    assert code == 2 and out == "" and sentence in err and "Traceback" not in err
    assert not (tmp_path / "a.innv").exists()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--only", "field"], "no field"),
        (["--only", "sound"], "only 'sound'"),
        (["--only", "field", "--layers", "2"], "no layers"),
    ],
)
def test_parts_that_are_refused(clip, tmp_path, call, arguments, sentence):
    code, out, err = call("decode", clip[1], "-o", tmp_path / "a.y4m", *arguments)
    assert code == 2 and out == "" and sentence in err and "Traceback" not in err


def test_header_with_a_role_but_no_field(clip):
    from msgspec.structs import replace

    with Reader(clip[1]) as reader:
        header = reader.header
    broken = replace(header, model=replace(header.model, field_role="residual"))
    with pytest.raises(ValueError, match="no field"):
        broken.validate()


def test_unknown_base_is_a_usage_error_in_the_api(street, tmp_path):
    with pytest.raises(UsageError):
        package.encode(street[0], tmp_path / "a.innv", base="wavelet")
