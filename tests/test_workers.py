"""Segments: their lengths, and who encodes them."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import pytest
from helpers import make_clip, make_frames, read_frames

import innvc
from innvc.clip import Clip, _lengths
from innvc.errors import UsageError
from innvc.request import EncodeRequest
from innvc.video.formats import VideoInfo, pixel_format
from innvc.video.scenes import scene_cuts
from innvc.video.source import open_source

CLIPS = [Path(__file__).parent / "data" / f"{name}_cif.mkv" for name in ("bunny", "street")]
FAST = {"preset": "fast", "steps": 3, "segment": 5, "gop": 4}


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A clip of 18 frames, and its file in four segments. (source, file, result)"""
    folder = tmp_path_factory.mktemp("long")
    source = make_clip(folder / "in.mkv", "yuv420p", 64, 48, 18)
    result = innvc.encode(source, folder / "a.innv", **FAST)
    with innvc.open(folder / "a.innv") as video:
        assert [entry.frames for entry in video.segments] == [5, 5, 5, 3]
    return source, folder / "a.innv", result


def test_lengths():
    assert _lengths(300, 128, 32, []) == [128, 96, 76]
    assert _lengths(10, 128, 32, []) == [10]
    assert _lengths(33, 32, 32, []) == [32, 1]
    assert _lengths(300, 128, 32, [20, 99, 120, 200]) == [120, 80, 100]
    assert _lengths(43, 16, 16, []) == [16, 16, 11]


def test_segments_end_with_scenes(tmp_path, monkeypatch):
    """Two real clips one after the other, in one file."""
    monkeypatch.setattr("innvc.clip.SEGMENT_SAMPLES", 1)  # segments of 32 frames
    path = tmp_path / "both.mkv"
    count = 0
    with av.open(path, "w") as target:
        stream = target.add_stream("ffv1", rate=25, width=352, height=288, pix_fmt="yuv420p")
        for clip in CLIPS * 3:
            for frame in read_frames(clip):
                picture = av.VideoFrame(352, 288, "yuv420p")
                for plane, samples in zip(picture.planes, frame.planes, strict=True):
                    plane.update(samples.tobytes())
                picture.pts, count = count, count + 1
                target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
    with open_source(str(path)) as video:
        assert Clip(video, False).lengths == [32, 28, 6]  # scenes of 16 and of 6 frames


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (33, 21), (2, 300), (351, 239)])
def test_scenes_of_any_size(size):
    """The same each time; FFmpeg reads beside narrow pictures."""
    frames = make_frames("gray", *size, 40)
    for frame in frames[20:]:
        frame.planes[0] = 255 - frame.planes[0] // 8
    info = VideoInfo(*size, pixel_format("gray"), Fraction(25))
    assert [scene_cuts(frames, info) for _ in range(5)] == [[20]] * 5


@pytest.mark.parametrize("segment", [0, -1, 1 << 31])
def test_segments_that_cannot_be(long, tmp_path, segment):
    with pytest.raises(UsageError, match="Segments of"):
        innvc.encode(long[0], tmp_path / "a.innv", segment=segment)


@pytest.mark.parametrize("workers", [0, 65])
def test_workers_that_cannot_be(long, tmp_path, workers):
    with pytest.raises(UsageError, match="workers"):
        innvc.encode(long[0], tmp_path / "a.innv", workers=workers)


def test_workers_make_the_same_file(long, tmp_path):
    source, encoded, alone = long
    seen = []
    result = innvc.encode(source, tmp_path / "a.innv", workers=2, progress=seen.append, **FAST)
    assert (tmp_path / "a.innv").read_bytes() == encoded.read_bytes()
    assert result.steps == alone.steps == 12
    fits = [state for state in seen if state.fit]
    assert {(state.segment, state.done) for state in fits} == {
        (segment, step) for segment in range(4) for step in (1, 2, 3)
    }
    assert {state.workers for state in fits} == {2}


@pytest.mark.parametrize("workers, seconds", [(1, 2.0), (2, 4.0), (9, 8.0)])
def test_the_time_is_that_of_all(long, workers, seconds):
    """Eight seconds for four segments."""
    request = EncodeRequest(str(long[0]), seconds=8, segment=5, workers=workers)
    with request.open(print) as opened:
        assert opened.make(opened.clip, 1.0).settings.seconds == seconds


def _encode(source, output, *more):
    line = [sys.executable, "-m", "innvc", "encode", source, "-o", output, "--preset", "fast"]
    line += ["--segment", "5", "--gop", "4", "--json", *more]
    return subprocess.Popen(list(map(str, line)), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _kill_one(process, words, child):
    """Kills the first process whose command line has the words, of the process or of others."""
    while True:
        assert process.poll() is None
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
                line = Path(f"/proc/{name}/cmdline").read_text()
                if words in line and (not child or int(parent) == process.pid):
                    os.kill(int(name), signal.SIGKILL)
                    return
            except OSError:
                continue
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="no /proc")
def test_a_lost_worker_s_segment_is_encoded_again(long, tmp_path):
    source, output = long[0], tmp_path / "a.innv"
    process = _encode(source, output, "--steps", "3", "--workers", "2")
    _kill_one(process, "popen_loky", child=True)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["steps"] == 12
    assert output.read_bytes() == long[1].read_bytes()


@pytest.mark.slow
def test_an_interrupted_encode_of_workers(long, tmp_path):
    """Ctrl-C ends the fits, and what there is becomes the file."""
    source, output = long[0], tmp_path / "a.innv"
    process = _encode(source, output, "--steps", "1000000", "--workers", "2", "--checkpoint", "0s")
    kept = tmp_path / "a.innv.checkpoint" / "fit0.safetensors"
    while not kept.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result["interrupted"] and result["frames"] == 18 and result["steps"] < 1000000
    assert innvc.verify(output) >= 4


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="no /proc")
def test_a_task_that_ray_lost_is_run_again(long, tmp_path):
    pytest.importorskip("ray")
    source, output = long[0], tmp_path / "a.innv"
    process = _encode(source, output, "--steps", "3", "--ray", "local", "--workers", "2")
    _kill_one(process, "ray::_in_ray", child=False)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert output.read_bytes() == long[1].read_bytes()


def test_no_ray_cluster(long, tmp_path, call):
    pytest.importorskip("ray")
    line = "encode", long[0], "-o", tmp_path / "a.innv", "--ray", "127.0.0.1:1"
    code, _, err = call(*line)
    assert code == 2 and "no Ray cluster" in err
    assert not (tmp_path / "a.innv").exists()
