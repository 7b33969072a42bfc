"""The model nvrc: the field is the picture, its file has no latent."""

import json

import numpy as np
import pytest
import torch
from helpers import DATA, innvc, psnr, read_frames, same, write_clip
from msgspec.structs import replace

import innvc as package
from innvc import presets
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.reader import Reader
from innvc.config import FieldConfig, ModelConfig
from innvc.decoder import layout_of
from innvc.errors import UsageError
from innvc.model import complexity
from innvc.model.picture import PictureModel, frame_window
from innvc.presets import Clip, Switches
from innvc.video.formats import PIXEL_FORMATS, Frame


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Nineteen frames of 64x48 of a real clip, forth and back; its file; what the process said."""
    folder = tmp_path_factory.mktemp("nvrc")
    frames = []
    for frame in read_frames(DATA / "street_cif.mkv", frames=(0, 6)):
        luma, *chroma = frame.planes
        planes = [luma[100:148, 120:184], *(c[50:74, 60:92] for c in chroma)]
        frames.append(Frame([np.ascontiguousarray(p) for p in planes]))
    frames = [*frames, *frames[::-1], *frames, frames[-1]]
    source = write_clip(folder / "street.mkv", frames)
    options = ["--model", "nvrc", "--lambda", "0.02", "--steps", "100", "--json", "--quiet"]
    process = innvc("encode", source, "-o", folder / "a.innv", *options)
    assert process.returncode == 0, process.stderr
    return source, frames, folder / "a.innv", json.loads(process.stdout)


def test_round_trip_in_processes(file, tmp_path):
    source, frames, encoded, result = file
    assert result["model"] == "nvrc" and result["bytes"] == encoded.stat().st_size
    process = innvc("decode", encoded, "-o", tmp_path / "a.mkv", "--quiet")
    assert process.returncode == 0, process.stderr
    decoded = read_frames(tmp_path / "a.mkv")
    measured = psnr(frames, decoded, 0, 255)
    assert measured == pytest.approx(result["psnr_y"], abs=1e-6)
    # It has learnt more than the mean of each plane.
    means = [np.mean([f.planes[p].mean() for f in frames]) for p in range(3)]
    flat = [
        Frame([np.full_like(p, round(m)) for p, m in zip(f.planes, means, strict=True)])
        for f in frames
    ]
    assert measured > psnr(frames, flat, 0, 255) + 3


def test_info_verify_and_compare(file, call):
    source, _, encoded, result = file
    code, out, _ = call("info", encoded, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["model"]["field_role"] == "picture"
    parts = {k: v for k, v in facts["bytes"].items() if isinstance(v, int)}
    assert sum(parts.values()) == result["bytes"] and parts["latent"] == 0 < parts["weights"]
    code, out, _ = call("verify", encoded, "--json")
    assert code == 0 and json.loads(out)["packets"] == 2  # of 16 and 3 frames
    code, out, _ = call("compare", source, encoded, "--json")
    assert code == 0 and json.loads(out)["psnr_y"] == pytest.approx(result["psnr_y"])


def test_frames_alone_and_in_order_are_the_same(file, call, tmp_path):
    encoded = file[2]
    with package.open(encoded) as reader:
        every = list(reader)
    assert call("decode", encoded, "-o", tmp_path / "b.mkv", "--frames", "15:18")[0] == 0
    assert same(read_frames(tmp_path / "b.mkv"), every[15:18])
    with package.open(encoded) as reader:
        assert same([reader[18], reader[3]], [every[18], every[3]])
    with package.open(encoded, only="field") as reader:
        assert same(reader[:2], every[:2])


def test_damage_is_found(file, call, tmp_path):
    data = bytearray(file[2].read_bytes())
    data[len(data) // 2] ^= 4  # in PARM
    broken = tmp_path / "broken.innv"
    broken.write_bytes(data)
    for command in (["verify", broken], ["decode", broken, "-o", tmp_path / "a.y4m"]):
        code, _, err = call(*command)
        assert code == 4 and "Traceback" not in err


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--residual"], "no backbone"),
        (["--no-mask"], "no backbone"),
        (["--gop", "4"], "no groups of frames"),
    ],
)
def test_options_of_the_other_model_are_refused(file, call, tmp_path, arguments, sentence):
    options = ["-o", tmp_path / "a.innv", "--model", "nvrc", *arguments]
    code, out, err = call("encode", file[0], *options)
    assert code == 2 and out == "" and sentence in err and "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--layers", "1"], ["--only", "latent"]])
def test_there_is_no_latent_to_decode(file, call, tmp_path, arguments):
    code, _, err = call("decode", file[2], "-o", tmp_path / "a.y4m", *arguments)
    assert code == 2 and "no latent" in err


def test_an_unknown_model_is_refused(file, tmp_path):
    with pytest.raises(UsageError, match="no model 'hinerv'"):
        package.encode(file[0], tmp_path / "a.innv", model="hinerv")


@pytest.mark.parametrize("pix_fmt", PIXEL_FORMATS)
@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_gives_a_valid_header(name, pix_fmt):
    for width, height, frames in ((1, 1, 1), (352, 288, 16), (1920, 1080, 60)):
        for lambda_ in (1e-4, 1.0):
            clip = Clip(layout_of(pix_fmt), width, height, frames)
            config, fit = presets.make(name, clip, Switches("nvrc"), lambda_)
            header = HeaderRecord(
                width=width, height=height, pix_fmt=pix_fmt, frames=frames, model=config
            )
            header.validate()
            assert fit.steps > 0 and fit.learn == ("field",)


@pytest.mark.parametrize("name", ["fast", "paper"])
def test_complexity_counts_what_the_model_has(name):
    layout = layout_of("yuv420p")
    config, _ = presets.make(name, Clip(layout, 352, 288, 16), Switches("nvrc"))
    parts = complexity.count(config, layout, 352, 288)
    numbers = parts.total_parameters - parts.parameters["side"]
    assert numbers == sum(p.numel() for p in PictureModel(config, layout).parameters())
    assert not {"mixing", "prior", "steps"} & set(parts.macs)


FIELD = FieldConfig((4, 16, 24), 2, 3, (8, 8, 8), (1, 2, 1), (2, 2, 2), 2, 4, 2, (2, 1, 0))


def test_a_crop_of_the_picture_is_the_picture_there():
    """Grid levels that enter later stages, local grids and a squeezed head, at every corner."""
    config = ModelConfig(field=FIELD, field_role="picture")
    model = PictureModel(config, layout_of("yuv420p")).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    size = (9, 13)
    whole = model(frame_window([1, 5], 7, size, torch.device("cpu")))
    assert whole.shape == (2, 6, 72, 104)
    for part in ((0, 0, 3, 4), (5, 8, 4, 5), (4, 1, 1, 9)):
        cropped = model(frame_window([1, 5], 7, size, torch.device("cpu"), part))
        top, left, rows, columns = (8 * n for n in part)
        expected = whole[..., top : top + rows, left : left + columns]
        assert torch.allclose(cropped, expected, atol=1e-9)


@pytest.mark.parametrize(
    "field, sentence",
    [
        (replace(FIELD, grid_stages=(1, 0)), "differ in number"),
        (replace(FIELD, grid_stages=(2, 1, 1)), "the first among them"),
        (replace(FIELD, grid_stages=(3, 1, 0)), "not its stages"),
        (replace(FIELD, channels=(8,) * 5, depths=(1,) * 5, scales=(2,) * 5), "5 stages"),
        (None, "no field"),
    ],
)
def test_headers_that_contradict_themselves(file, field, sentence):
    with Reader(file[2]) as reader:
        header = reader.header
    broken = replace(header, model=replace(header.model, field=field))
    with pytest.raises(ValueError, match=sentence):
        broken.validate()


def test_a_picture_has_no_latent_channels(file):
    with Reader(file[2]) as reader:
        header = reader.header
    broken = replace(header, model=replace(header.model, groups=(384,), layers=(1,)))
    with pytest.raises(ValueError, match="latent channels are 0"):
        broken.validate()
