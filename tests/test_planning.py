"""What an encode would take, and the preset for a clip and a time."""

import json
from types import SimpleNamespace

import pytest
from helpers import innvc as run
from helpers import make_clip

import innvc
from innvc import planning
from innvc.errors import UsageError


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("plan") / "a.mkv", "yuv420p", 32, 16, 5)


def test_a_dry_run_writes_nothing_and_says_what_it_would_take(clip, tmp_path):
    before = set(clip.parent.iterdir())
    command = "encode", clip, "-o", tmp_path / "a.innv", "--dry-run"
    plan = json.loads(run(*command, "--steps", "40", "--json", check=True).stdout)
    assert (plan["width"], plan["height"], plan["frames"], plan["steps"]) == (32, 16, 5, 40)
    assert plan["preset"] == "fast" and plan["passes"] == 1 and plan["timed_frames"] == 2
    assert plan["seconds"] == pytest.approx(sum(plan["phases"].values()))
    assert plan["phases"].pop("filter") == 0  # fitted in large segments alone
    assert all(seconds > 0 for seconds in plan["phases"].values())
    assert plan["encode_bytes"] > 1 << 26 < plan["decode_bytes"]
    command = "encode", clip, "--dry-run"
    report = run(*command, "--target-psnr", "40", "--preset", "instant", check=True).stdout
    for text in (b"32x16 yuv420p, 5 frames", b"of 0 steps", b"up to 5"):
        assert text in report
    assert not list(tmp_path.iterdir()) and set(clip.parent.iterdir()) == before


def test_more_steps_take_more_time_and_a_bound_of_it_holds(clip):
    few, many = (innvc.plan(clip, steps=steps) for steps in (10, 40_000))
    assert many.phases["fit"] > 20 * few.phases["fit"]
    assert innvc.plan(clip, steps=40_000, seconds=2.0).phases["fit"] < many.phases["fit"]


def test_a_filter_that_is_fitted_takes_time_for_each_segment(tmp_path):
    source = make_clip(tmp_path / "a.mkv", width=128, height=128, count=8)
    options = {"preset": "instant", "lambda_": 0.1}
    few, many, parts = (
        innvc.plan(source, filter_steps=steps, segment=segment, **options).phases["filter"]
        for steps, segment in ((40, 8), (4000, 8), (4000, 4))
    )
    assert 0 < 20 * few < many < 1.5 * parts


def test_a_dry_run_is_refused_where_the_encode_would_be(clip, tmp_path):
    result = run("encode", clip, "-o", tmp_path / "a.innv", "--dry-run", "--gop", "99")
    assert result.returncode == 2 and b"99" in result.stderr
    result = run("encode", clip)
    assert result.returncode == 2 and b"Missing option '-o'" in result.stderr
    with pytest.raises(UsageError, match="preset"):
        innvc.plan(clip, preset="best")
    with pytest.raises(TypeError):
        innvc.plan(clip, bits=3)


def test_auto_takes_the_preset_for_the_clip_or_the_time(clip, tmp_path, monkeypatch):
    def chosen(**options):
        result = innvc.encode(clip, tmp_path / "a.innv", preset="auto", overwrite=True, **options)
        assert f"preset {result.preset}" in result.notes
        with innvc.open(tmp_path / "a.innv") as video:
            assert video.header.preset == result.preset
        return result.preset

    assert chosen(steps=1) == "medium"
    monkeypatch.setattr(planning, "SMALL", 5 * 32 * 16 - 1)
    assert chosen(steps=1) == "fast"
    monkeypatch.setattr(planning, "LARGE", 5 * 32 * 16 - 1)
    assert chosen(steps=1) == "instant"
    assert chosen(seconds=0.01) == "instant"
    assert chosen(seconds=1e6, stop=lambda: True) == "medium"


def test_auto_counts_the_fit_of_a_filter(clip, tmp_path, monkeypatch):
    parts = dict.fromkeys(planning.PHASES, 1.0) | {"filter": 1000.0}
    found = SimpleNamespace(phases=parts, steps=60, seconds=sum(parts.values()))
    monkeypatch.setattr(planning.Timing, "plan", lambda *_: found)
    for seconds, preset in ((900, "fast"), (1200, "medium")):
        output = tmp_path / f"{preset}.innv"
        assert innvc.encode(clip, output, preset="auto", seconds=seconds).preset == preset


def test_an_encode_that_goes_on_needs_its_preset(clip, tmp_path):
    with pytest.raises(UsageError, match="preset"):
        innvc.encode(clip, tmp_path / "a.innv", preset="auto", resume=True)
