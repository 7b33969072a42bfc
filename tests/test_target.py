"""Aiming at a PSNR, a size or a bit rate."""

import json
import math
from fractions import Fraction

import pytest
from helpers import QUICK_OPTIONS, make_clip

import innvc
from innvc.errors import UsageError
from innvc.target import LAMBDAS, Search, Target, lambda_of, target_of
from innvc.video.formats import VideoInfo, pixel_format


def tried(target, start, most, curve):
    search = Search(target, start, target.slope, most)
    while (lambda_ := search.lambda_()) is not None:
        search.add(lambda_, curve(math.log10(lambda_)))
    return search


@pytest.mark.parametrize("psnr", [20.0, 35.0, 48.0, 60.0])
@pytest.mark.parametrize("start", [-2.0, 0.0, 1.0])
def test_a_smooth_curve_is_found_fast(psnr, start):
    found = tried(Target(psnr_y=psnr), start, 6, lambda x: 45 + 9 * x + x * x / 2)
    assert found.reached and len(found.tries) <= 5


@pytest.mark.parametrize("size", [3_000, 50_000, 2_000_000])
def test_sizes_of_a_curve_in_stairs(size):
    """Steps of 3 %, as the rounding of quantisation steps makes them."""
    found = tried(
        Target(bytes=size), 0.0, 8, lambda x: 5 + 0.3 * x + 0.013 * math.floor(8 * x / 0.3)
    )
    assert found.reached
    assert 0.98 * size <= 10 ** found.tries[found.best][1] <= size


def test_a_size_is_not_exceeded_where_it_cannot_be_met():
    found = tried(Target(bytes=1000), 0.0, 5, lambda x: 2.9 if x < 0.4 else 3.1)
    assert not found.reached and found.tries[found.best][1] == 2.9


def test_the_end_of_lambda():
    """A target beyond what lambda reaches ends at the last lambda."""
    found = tried(Target(psnr_y=90), 0.0, 9, lambda x: 48 + 5 * x)
    assert 10 ** found.tries[-1][0] == pytest.approx(LAMBDAS[1]) and not found.reached


def test_infinite_psnr():
    found = tried(Target(psnr_y=58), 1.0, 9, lambda x: 120.0 if x > 0.9 else 48 + 10 * x)
    assert not found.reached or found.tries[found.best][1] < 60


def test_a_bit_rate_is_a_size():
    info = VideoInfo(96, 80, pixel_format("yuv420p"), Fraction(25))
    assert target_of(info, 12, None, None, 150_000) == Target(bytes=9000)
    assert target_of(info, 12, None, 7, None) == Target(bytes=7)
    assert target_of(info, 12, None, None, None) is None
    for psnr, size, rate in ((None, None, 1.0), (9.0, None, None), (None, 0, None)):
        with pytest.raises(UsageError):
            target_of(info, 12, psnr, size, rate)


def test_quality():
    lambdas = [lambda_of(q) for q in range(101)]
    assert lambdas == sorted(lambdas) and LAMBDAS[0] < lambdas[0] < lambdas[-1] < LAMBDAS[1]
    assert lambda_of(50) == pytest.approx(0.28, abs=0.01)
    for wrong in (-1, 100.5, math.nan):
        with pytest.raises(UsageError):
            lambda_of(wrong)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("target") / "a.mkv", width=96, height=80, count=6)


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        (["--target-psnr", "40"], 39.9, 40.1),
        (["--target-psnr", "44"], 43.9, 44.1),
        (["--target-size", "5k"], 4900, 5000),
    ],
)
def test_targets_are_reached(source, tmp_path, call, options, low, high):
    out = tmp_path / "a.innv"
    line = "encode", source, "-o", out, "-p", "instant", "--gop", 3, "--json"
    code, said, err = call(*line, *options)
    assert code == 0, err
    result = json.loads(said)
    assert 1 <= result["passes"] <= 5 and out.stat().st_size == result["bytes"]
    if options[0] == "--target-psnr":
        aim = int(options[1])
        assert low <= result["psnr_y"] <= high and result["target_psnr"] == aim
        assert f"of {aim} dB" in err
    else:
        assert low <= result["bytes"] <= high == result["target_bytes"]
        assert f"{result['bytes']} of 5000 bytes" in err
    assert [p.name for p in tmp_path.iterdir()] == ["a.innv"]
    again = json.loads(call("compare", source, out, "--json")[1])
    assert again["psnr_y"] == result["psnr_y"]
    assert call("verify", out, "--pixels", "-q")[0] == 0


def test_a_fit_is_not_repeated(source, tmp_path):
    """Later passes code with the parameters that the first one fitted."""
    seen = []
    result = innvc.encode(
        source,
        tmp_path / "a.innv",
        preset="compact",
        steps=3,
        target_bytes=20_000,
        frames=(0, 3),
        progress=lambda state: seen.append(state) if state.fit else None,
    )
    assert result.passes > 1 and [state.done for state in seen] == [1, 2, 3] and result.steps == 3
    assert innvc.verify(tmp_path / "a.innv", pixels=True)


def test_what_cannot_be_reached_is_said(source, tmp_path, call):
    out = tmp_path / "a.innv"
    options = [*QUICK_OPTIONS, "--frames", "0:2", "--target-size", "20"]
    code, _, err = call("encode", source, "-o", out, *options)
    assert code == 0 and "20 bytes could not be reached" in err and out.exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--lambda", "1", "--quality", "50"],
        ["--target-psnr", "40", "--target-size", "1M"],
        ["--target-psnr", "5"],
        ["--target-size", "0"],
        ["--target-size", "ten"],
        ["--bitrate", "1Q"],
        ["--quality", "101"],
        ["--target-psnr", "40", "--model", "nvrc"],
    ],
)
def test_targets_that_cannot_be_meant(source, tmp_path, call, options):
    code, out, err = call("encode", source, "-o", tmp_path / "a.innv", *options)
    assert (code, out) == (2, "") and err.startswith("innvc: ") and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
