"""Presets: valid for every pixel format, and the paper's totals."""

import pytest
from helpers import DATA, crop, make_frames, psnr, read_frames, write_clip

import innvc
from innvc import presets
from innvc.bitstream.header import HeaderRecord, latent_channels
from innvc.bitstream.reader import Reader
from innvc.decoder import layout_of
from innvc.errors import UsageError
from innvc.model import complexity, starting_points
from innvc.presets import Clip
from innvc.video.formats import PIXEL_FORMATS


@pytest.mark.parametrize("pix_fmt", PIXEL_FORMATS)
@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_gives_a_valid_header(name, pix_fmt):
    for width, height, frames in ((1, 1, 1), (352, 288, 16), (1920, 1080, 60)):
        config, fit = presets.make(name, Clip(layout_of(pix_fmt), width, height, frames))
        header = HeaderRecord(
            width=width, height=height, pix_fmt=pix_fmt, frames=frames, model=config
        )
        header.validate()
        assert sum(config.groups) == latent_channels(pix_fmt, config)
        assert (fit.steps > 0 or name == "instant") and fit.learn


def test_the_paper_preset_has_the_papers_size():
    """15.38 M parameters and 868.82 GMAC for a 1080p frame (paper, table of complexity).

    Without what describes their code, of which NVRC has more, the parameters agree within 2 %.
    """
    layout = layout_of("yuv444p")
    config, _ = presets.make("paper", Clip(layout, 1920, 1080, 600))
    assert config.gop == 1
    total = complexity.count(config, layout, 1920, 1080)
    assert total.total_parameters == pytest.approx(15.38e6, rel=0.04)
    weights = total.total_parameters - total.parameters["side"]
    assert weights == pytest.approx(15.38e6 - 0.45e6, rel=0.02)
    assert total.total_macs == pytest.approx(868.82e9, rel=0.01)


def test_model_size_follows_the_clip():
    layout = layout_of("yuv420p")
    small, large = (
        complexity.count(presets.make("slow", Clip(layout, *size))[0], layout, *size[:2])
        for size in ((352, 288, 16), (1920, 1080, 120))
    )
    field = ("grid", "stem", "decoder")
    assert sum(large.parameters[p] for p in field) > 4 * sum(small.parameters[p] for p in field)


def test_the_filters_steps_follow_the_regions():
    def steps(*size, preset="medium"):
        return presets.make(preset, Clip(layout_of("yuv420p"), *size))[1].filter_steps

    assert steps(128, 128, 3) == 12
    assert steps(129, 128, 3) == steps(128, 129, 3) == 24
    assert steps(1920, 1080, 120) == presets.FILTER_STEPS
    assert steps(128, 128, 3, preset="fast") == 1
    assert steps(1920, 1080, 120, preset="fast") == presets.FILTER_STEPS // 8
    assert steps(128, 128, 3, preset="instant") == 0


def test_an_unknown_preset_is_refused_with_the_list():
    with pytest.raises(UsageError) as caught:
        presets.make("quick", Clip(layout_of("gray"), 8, 8, 1))
    assert all(name in caught.value.hint for name in presets.PRESETS)


def test_the_trained_start_is_unchanged_on_its_own_layout():
    """Mapping by frequency is the identity for 4:2:0, and every chroma format takes from it."""
    from innvc.model.start import analytic_transform

    newest = starting_points.NEWEST
    values, *trained = starting_points.load(newest)
    taken = starting_points.values_for(newest, *trained, True)
    assert taken.keys() == {n for n in values if not n.startswith("filter.")}
    for name, value in taken.items():
        assert (value == values[name]).all()
    full = starting_points.values_for(
        newest, *(analytic_transform("yuv", 0, 0, 2, stages)[1] for stages in (4, 3)), True
    )
    assert full["prior.base_slope"].shape[-1] == 768 and full["prior.spectral"].any()
    assert full["intra.linear"].shape == (192, 4, 192) and full["intra.linear"].any()
    units = 33 * starting_points.scale_units(newest)
    assert full["prior.scale_leave"].shape == (768, units) and full["prior.scale_leave"].any()


@pytest.mark.parametrize(
    ("name", "size"), [("fast", 48), ("medium", 48), ("slow", 48), ("paper", 16)]
)
def test_every_preset_makes_files_that_decode(name, size, tmp_path):
    """Field, couplings and the masked convolution too: fitted, coded, decoded by the API."""
    source, target = tmp_path / "in.y4m", tmp_path / "out.innv"
    frames = make_frames("yuv420p", size, size, 3)
    write_clip(source, frames)
    result = innvc.encode(source, target, preset=name, steps=2)
    assert result.steps == 2 and result.bytes == target.stat().st_size
    assert innvc.verify(target) >= 1
    with innvc.open(target) as video:
        decoded = list(video)
    assert psnr(frames, decoded, 0, 255) == pytest.approx(result.psnr_y, abs=1e-6)
    assert result.psnr_y > 35


def _coded(file):
    with Reader(file) as reader:
        return reader.parameters(0), [packet for *_, packet in reader.packets()]


def test_tables_are_fitted_where_that_can_pay(tmp_path, monkeypatch):
    source = tmp_path / "in.y4m"
    street = read_frames(DATA / "street_cif.mkv")[:5]
    write_clip(source, [crop(frame, 64, 64) for frame in street])
    files = {name: tmp_path / f"{name}.innv" for name in ("instant", "fast", "medium")}
    for name, file in files.items():
        assert innvc.encode(source, file, preset=name, paths=0).steps == 0
    first, *others = map(_coded, files.values())
    assert first == others[0] == others[1]  # the same but for the name
    assert innvc.plan(source, preset="medium").steps == 0
    assert innvc.plan(source, preset="medium", steps=60).steps == 60
    monkeypatch.setattr(presets, "TABLES_PAY", 1)
    assert innvc.encode(source, files["fast"], preset="fast", overwrite=True).steps == 25
    assert innvc.plan(source, preset="fast").steps == 25
