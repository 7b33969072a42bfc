"""Checkpoints: an encode that was cut off goes on, and its file is the one it would have been."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from helpers import make_clip

import innvc
from innvc.errors import CorruptError, OutputExistsError, UsageError

KINDS = {
    "tables": {"preset": "fast", "steps": 8},
    "all parts": {"preset": "compact", "steps": 5, "grid_context": True},
    "nvrc": {"preset": "compact", "model": "nvrc", "steps": 6},
}


class Cut(Exception):
    """The end of an encode without any notice."""


def cut_at(step, number=0):
    def progress(state):
        if state.fit and state.segment == number and state.fit.step == step:
            raise Cut

    return progress


def steps_into(seen):
    """Notes the segment and the state of the fit, but for its time."""

    def progress(state):
        if state.fit:
            seen.append((state.segment, replace(state.fit, elapsed=0)))

    return progress


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("resume") / "a.mkv", width=32, height=32, count=2)


@pytest.fixture
def tables(source, tmp_path):
    """The folder of an encode that was cut after three steps."""
    with pytest.raises(Cut):
        cut(source, tmp_path / "a.innv", 4, **KINDS["tables"])
    return tmp_path / "a.innv.checkpoint"


def cut(source, output, step, number=0, **options):
    innvc.encode(source, output, checkpoint=0, progress=cut_at(step, number), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_fit_makes_the_same_file(source, tmp_path, kind):
    options, output = KINDS[kind], tmp_path / "a.innv"
    whole, seen = [], []
    innvc.encode(source, tmp_path / "whole.innv", progress=steps_into(whole), **options)
    for step in (2, 5):  # an encode may be cut off more than once
        with pytest.raises(Cut):
            cut(source, output, step, resume=True, **options)
    assert not output.exists()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"whole.innv", "a.innv.checkpoint"}
    result = innvc.encode(source, output, resume=True, progress=steps_into(seen), **options)
    # The step that was cut was not saved yet. Short fits may leave the file without a change.
    assert seen == whole[4:] and result.steps == len(whole) == options["steps"]
    assert output.read_bytes() == (tmp_path / "whole.innv").read_bytes()
    assert not (tmp_path / "a.innv.checkpoint").exists()


def test_segments_are_kept(tmp_path):
    source, output = make_clip(tmp_path / "a.mkv", count=4), tmp_path / "a.innv"
    options = {"preset": "fast", "steps": 2, "motion": False, "segment": 2}
    innvc.encode(source, tmp_path / "whole.innv", **options)
    with pytest.raises(Cut):
        cut(source, output, 1, number=1, **options)
    kept = tmp_path / "a.innv.checkpoint" / "segment0.msgpack"
    content = kept.read_bytes()
    kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CorruptError, match="damaged"):
        innvc.encode(source, output, resume=True, **options)
    kept.write_bytes(content)
    seen = []
    result = innvc.encode(
        source,
        output,
        resume=True,
        progress=steps_into(seen),
        **options,
    )
    assert [(number, fit.step) for number, fit in seen] == [(1, 1), (1, 2)] and result.steps == 4
    assert output.read_bytes() == (tmp_path / "whole.innv").read_bytes()


def test_another_input_or_configuration_is_refused(source, tables, tmp_path):
    output, options = tmp_path / "a.innv", KINDS["tables"]
    other = make_clip(tmp_path / "b.mkv", width=32, height=32, count=2, seed=1)
    for clip, changes in (
        (other, {}),
        (source, {"lambda_": 1.5}),
        (source, {"steps": 9}),
        (source, {"seed": 1}),
        (source, {"frames": (0, 1)}),
        (source, {"motion": False}),
    ):
        with pytest.raises(UsageError, match="another input or of other settings"):
            innvc.encode(clip, output, resume=True, **{**options, **changes})
    assert (tables / "fit0.safetensors").exists() and not output.exists()


def test_a_checkpoint_is_not_lost_by_mistake(source, tables, tmp_path, call):
    output, options = tmp_path / "a.innv", KINDS["tables"]
    with pytest.raises(OutputExistsError, match="unfinished encode"):
        innvc.encode(source, output, **options)
    line = ["encode", source, "-o", output, "--preset", "fast", "--steps", 8]
    code, _, err = call(*line)
    assert code == 7 and "--resume" in err
    assert call(*line, "-y")[0] == 0 and not tables.exists()
    output.unlink()
    code, _, err = call(*line, "--resume")
    assert code == 0 and "no checkpoint" in err


@pytest.mark.parametrize("place", [0, 40, -40])
def test_a_damaged_checkpoint_is_told(source, tables, tmp_path, place):
    path = tables / "fit0.safetensors"
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptError, match="damaged"):
        innvc.encode(source, tmp_path / "a.innv", resume=True, **KINDS["tables"])
    data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="damaged"):
        innvc.encode(source, tmp_path / "a.innv", resume=True, **KINDS["tables"])
    assert not (tmp_path / "a.innv").exists()


def test_kill_and_resume(source, tmp_path, full):
    """`kill -9` of the command at moments of its fit; the same command with --resume goes on."""
    line = [sys.executable, "-m", "innvc", "encode", str(source), "--preset", "fast"]
    line += ["--steps", "40", "--checkpoint", "0s", "--threads", "1"]
    whole, output = tmp_path / "whole.innv", tmp_path / "a.innv"
    subprocess.run([*line, "-o", whole], check=True, capture_output=True)
    state, kills = tmp_path / "a.innv.checkpoint" / "fit0.safetensors", 0
    for wait in [0.0, 0.05, 0.2, 0.4] * 5 if full else [0.1]:
        known = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen(
            [*line, "-o", output, "--resume"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > known):
            time.sleep(0.01)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL)
        if process.returncode == 0:
            break
    assert kills
    if not output.exists():
        subprocess.run([*line, "-o", output, "--resume"], check=True, capture_output=True)
    assert output.read_bytes() == whole.read_bytes()
