"""The command line: what it prints, what it leaves behind, how it ends."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from helpers import (
    QUICK,
    QUICK_OPTIONS,
    innvc,
    make_clip,
    make_frames,
    psnr,
    read_frames,
    same,
    write_clip,
)

import innvc as package
from innvc.api import encode
from innvc.editing import concat
from innvc.video.source import open_source
from innvc.video.y4m import Y4mWriter

JSON_KEYS = """bytes bpp psnr_y psnr_u psnr_v psnr_611 msssim_y width height frames steps seconds
lambda preset device model version""".split()


def test_three_processes(tmp_path):
    """Encode, decode and compare, each in a process of its own."""
    source = make_clip(tmp_path / "in.mkv", "yuv420p", 177, 163, 3)
    encoded, decoded = tmp_path / "out.innv", tmp_path / "rec.y4m"
    made = innvc("encode", source, "-o", encoded, *QUICK_OPTIONS, "--json", "--device", "cpu")
    assert made.returncode == 0, made.stderr
    result = json.loads(made.stdout)
    assert set(JSON_KEYS) <= set(result)
    assert result["bytes"] == encoded.stat().st_size
    assert result["bpp"] == 8 * result["bytes"] / (177 * 163 * 3)
    facts = ("width", "height", "frames", "steps", "lambda", "preset", "device")
    assert [result[key] for key in facts] == [177, 163, 3, 2, 1.0, "instant", "cpu"]
    assert f"{result['bytes']} bytes" in made.stderr.decode()
    assert "PSNR" in made.stderr.decode() and "steps/s ETA" in made.stderr.decode()
    assert sorted(os.listdir(tmp_path)) == ["in.mkv", "out.innv"]

    done = innvc("decode", encoded, "-o", decoded, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 3
    original, copy = read_frames(source), read_frames(decoded)
    values = [psnr(original, copy, plane, 255) for plane in range(3)]
    for value, key in zip(values, ("psnr_y", "psnr_u", "psnr_v"), strict=True):
        assert result[key] == pytest.approx(value, abs=0.002)
    assert result["psnr_611"] == pytest.approx(np.dot(values, (6, 1, 1)) / 8, abs=0.002)
    assert 40 < values[0] < 60

    compared = innvc("compare", source, decoded, "--json")
    assert compared.returncode == 0, compared.stderr
    quality = json.loads(compared.stdout)
    for key in ("psnr_y", "psnr_u", "psnr_v", "psnr_611", "msssim_y", "frames"):
        assert quality[key] == pytest.approx(result[key], abs=0.002)
    assert 0.9 < result["msssim_y"] < 1


def test_info_verify_compare(clip, call):
    source, encoded, result = clip
    code, out, err = call("info", encoded, "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert facts["file"]["bytes"] == result.bytes == encoded.stat().st_size
    assert facts["video"]["frames"] == 20 and facts["video"]["pix_fmt"] == "yuv420p"
    kinds = ("header", "container", "side", "grid", "weights", "motion", "filter", "latent")
    assert sum(facts["bytes"][kind] for kind in kinds) == result.bytes
    code, out, err = call("info", encoded)
    assert (code, err) == (0, "") and f"{result.bytes}" in out and "yuv420p" in out

    code, out, err = call("verify", encoded, "--json")
    assert code == 0 and json.loads(out)["packets"] == 5 and json.loads(out)["ok"]
    assert call("verify", encoded, "-q") == (0, "", "")

    code, out, err = call("compare", source, encoded, "--json")
    quality = json.loads(out)
    assert code == 0 and quality["bytes"] == result.bytes and quality["bpp"] == result.bpp
    assert quality["psnr_y"] == pytest.approx(result.psnr_y, abs=0.002)
    code, out, err = call("compare", source, source)
    assert code == 0 and "psnr_y     -" in out  # identical: infinite
    assert call("compare", source, encoded, "--frames", "0:4")[0] == 3  # of unequal length


def test_frames_and_layers(clip, call, tmp_path):
    _, encoded, _ = clip
    whole, part, low = tmp_path / "a.yuv", tmp_path / "b.yuv", tmp_path / "c.yuv"
    assert call("decode", encoded, "-o", whole, "-q") == (0, "", "")
    size = 48 * 32 * 3 // 2
    for first, last in ((0, 1), (3, 9), (19, 20), (7, 20)):
        text = f"{first}:{last}"
        assert call("decode", encoded, "-o", part, "-q", "-y", "--frames", text)[0] == 0
        assert part.read_bytes() == whole.read_bytes()[first * size : last * size]
    assert call("decode", encoded, "-o", part, "-q", "-y", "--frames", "17:")[0] == 0
    assert part.read_bytes() == whole.read_bytes()[17 * size :]
    assert call("decode", encoded, "-o", low, "-q", "--layers", 1)[0] == 0
    assert low.stat().st_size == whole.stat().st_size
    assert low.read_bytes() != whole.read_bytes()
    code, _, err = call("decode", encoded, "-o", low, "-y", "--layers", 99)
    assert code == 2 and "layers" in err
    exact = tmp_path / "e.yuv"
    assert call("decode", encoded, "-o", exact, "-q", "--exact", "--threads", 1)[0] == 0
    a, b = (np.frombuffer(p.read_bytes(), "u1").astype(int) for p in (exact, whole))
    assert abs(a - b).max() <= 1


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_existing_output(clip, call, tmp_path, command):
    source, encoded, _ = clip
    given, name = (source, "a.innv") if command == "encode" else (encoded, "a.yuv")
    more = [*QUICK_OPTIONS, "--frames", "0:1", "-q"] if command == "encode" else ["-q"]
    output = tmp_path / name
    output.write_text("precious")
    code, out, err = call(command, given, "-o", output, *more)
    assert (code, out) == (7, "") and "exists" in err and len(err.splitlines()) == 1
    assert output.read_text() == "precious"
    assert call(command, given, "-o", output, "-y", *more) == (0, "", "")
    assert output.read_bytes()[:8] != b"precious"
    assert os.listdir(tmp_path) == [name]


@pytest.fixture
def bad(tmp_path, clip):
    """A folder of inputs that cannot be used."""
    source, encoded, _ = clip
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video\n" * 50)
    (folder / "odd.yuv").write_bytes(bytes(1000))
    (folder / "odd.y4m").write_bytes(b"YUV4MPEG2 W4 H4 F25:1\nFRAME\n" + bytes(20))
    with av.open(str(folder / "cut.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10):
            noise = np.random.default_rng(0).integers(0, 256, (72, 64)).astype("u1")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, "yuv420p")))
        container.mux(stream.encode())
    data = (folder / "cut.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    shutil.copy(source, folder / "clip.mkv")
    data = encoded.read_bytes()
    (folder / "clip.innv").write_bytes(data)
    (folder / "cut.innv").write_bytes(data[: len(data) // 2])
    (folder / "byte.innv").write_bytes(data[: len(data) - 1])
    (folder / "newer.innv").write_bytes(data[:8] + b"\x07" + data[9:])
    (folder / "text.innv").write_text("no video\n" * 50)
    for place in ("head", "middle", "end"):
        damaged = bytearray(data)
        damaged[{"head": 40, "middle": len(data) // 2, "end": len(data) - 40}[place]] ^= 4
        (folder / f"{place}.innv").write_bytes(damaged)
    return folder


ENCODE = "encode clip.mkv -o x.innv"
BAD = [
    (3, "encode none.mp4 -o x.innv"),
    (3, "encode empty.mp4 -o x.innv"),
    (3, "encode text.mp4 -o x.innv"),
    (3, "encode cut.mp4 -o x.innv"),
    (3, "encode ../bad -o x.innv"),
    (3, "encode clip.innv -o x.innv"),
    (3, "encode odd.yuv --size 16x16 -o x.innv"),
    (3, "encode odd.y4m -o x.innv"),
    (2, "encode odd.yuv -o x.innv"),
    (2, f"{ENCODE} --size 16x16"),
    (2, f"{ENCODE} --size 16"),
    (2, f"{ENCODE} --size 0x16"),
    (2, f"{ENCODE} --size ²x16"),
    (5, f"{ENCODE} --pix-fmt rgba"),
    (2, f"{ENCODE} --fps 0"),
    (2, f"{ENCODE} --fps 1e99999999"),
    (2, f"{ENCODE} --fps 25/0"),
    (2, f"{ENCODE} --cicp 1/1"),
    (2, f"{ENCODE} --cicp 1/bt/1"),
    (2, f"{ENCODE} --cicp 1/1/300"),
    (2, f"{ENCODE} --cicp 1/1/gbr"),
    (2, f"{ENCODE} --color-range tv"),
    (2, f"{ENCODE} --lambda 0"),
    (2, f"{ENCODE} --lambda -1"),
    (2, f"{ENCODE} --lambda nan"),
    (2, f"{ENCODE} --lambda inf"),
    (2, f"{ENCODE} --lambda much"),
    (2, f"{ENCODE} --preset best"),
    (2, f"{ENCODE} --steps -1"),
    (2, f"{ENCODE} --time 0"),
    (2, f"{ENCODE} --time -5s"),
    (2, f"{ENCODE} --time soon"),
    (2, f"{ENCODE} --time nan"),
    (2, f"{ENCODE} --gop 33"),
    (2, f"{ENCODE} --gop 64"),
    (2, f"{ENCODE} --keyint 0"),
    (2, f"{ENCODE} --frames 5"),
    (2, f"{ENCODE} --frames 5:5"),
    (2, f"{ENCODE} --frames -3:5"),
    (2, f"{ENCODE} --frames 0:21"),
    (2, f"{ENCODE} --frames 20:"),
    (2, f"{ENCODE} --frames 9:{10**17}"),
    (2, f"{ENCODE} --device gpu"),
    (2, f"{ENCODE} --device cuda:99"),
    (2, f"{ENCODE} --threads 0"),
    (2, f"{ENCODE} --seed -1"),
    (2, f"{ENCODE} --seed {10**30}"),
    (2, f"{ENCODE} --unknown"),
    (2, "encode clip.mkv"),
    (2, "encode clip.mkv -o x.mp4"),
    (2, "encode clip.mkv -o ."),
    (2, "encode clip.mkv -o none/x.innv"),
    (2, "encode clip.mkv -o -"),
    (2, "encode clip.innv -o clip.innv -y"),
    (7, "encode clip.mkv -o clip.innv"),
    (3, "decode none.innv -o x.yuv"),
    (3, "decode empty.mp4 -o x.yuv"),
    (3, "decode text.innv -o x.yuv"),
    (3, "decode clip.mkv -o x.yuv"),
    (3, "decode . -o x.yuv"),
    (4, "decode cut.innv -o x.yuv"),
    (4, "decode byte.innv -o x.mkv"),
    (4, "decode head.innv -o x.y4m"),
    (4, "decode middle.innv -o x.y4m"),
    (4, "decode middle.innv -o x.mkv"),
    (4, "decode middle.innv -o x.mp4"),
    (4, "decode middle.innv -o x%03d.png --pix-fmt gbrp"),
    (4, "decode end.innv -o x.yuv"),
    (5, "decode newer.innv -o x.yuv"),
    (2, "decode clip.innv -o x.avi"),
    (2, "decode clip.innv -o none/x.yuv"),
    (2, "decode clip.innv -o clip.innv -y"),
    (2, "decode clip.innv -o x.yuv --frames 20:21"),
    (2, "decode clip.innv -o x.yuv --frames 3:3"),
    (2, "decode clip.innv -o x.yuv --layers 0"),
    (2, "decode clip.innv -o x.yuv --threads 0"),
    (2, "decode clip.innv -o x.yuv --device tpu"),
    (5, "decode clip.innv -o x.yuv --pix-fmt rgba"),
    (7, "decode clip.innv -o clip.mkv"),
    (3, "info none.innv"),
    (3, "info text.innv"),
    (4, "info cut.innv"),
    (4, "info middle.innv"),
    (4, "verify byte.innv"),
    (4, "verify head.innv"),
    (4, "verify middle.innv"),
    (4, "verify end.innv"),
    (2, "verify clip.innv --threads 0"),
    (3, "compare clip.mkv none.y4m"),
    (3, "compare clip.mkv text.mp4"),
    (4, "compare clip.mkv middle.innv"),
    (2, "compare clip.mkv clip.innv --frames 3:99"),
    (2, "transcode clip.mkv"),
]


@pytest.mark.parametrize("code, line", BAD, ids=[line for _, line in BAD])
def test_bad_input(bad, call, monkeypatch, code, line):
    """One sentence, a hint, the documented exit code, nothing left behind."""
    monkeypatch.chdir(bad)
    before = sorted(os.listdir())
    found, out, err = call(*line.split(" "))
    assert (found, out) == (code, ""), err
    said = [text for text in err.splitlines() if not text.startswith("note: ")]
    assert len(said) == 1 and said[0].startswith("innvc: "), err
    sentence, _, hint = said[0].partition(". ")
    assert len(sentence) > 20 and len(hint) > 5 and hint.rstrip("'")[-1] in ".:0123456789", err
    assert "Traceback" not in err and "internal" not in err
    assert sorted(os.listdir()) == before


def test_internal_errors(clip, call, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("something\nbroke")

    source, _, _ = clip
    monkeypatch.setattr("innvc.encoder.SegmentEncoder.packets", fail)
    command = ["encode", source, "-o", tmp_path / "a.innv", "-q", *QUICK_OPTIONS, "--frames", "0:2"]
    code, out, err = call(*command)
    assert code == 1 and err.startswith("innvc: internal error: RuntimeError: something broke.")
    assert len(err.splitlines()) == 1 and os.listdir(tmp_path) == []
    assert "Traceback" in call(*command, "-v")[2]
    assert "Traceback" in call("-v", *command)[2]
    monkeypatch.setenv("INNVC_DEBUG", "1")
    assert "Traceback" in call(*command)[2]


def test_out_of_memory(clip, call, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    source, _, _ = clip
    monkeypatch.setattr("innvc.encoder.SegmentEncoder.packets", fail)
    command = ["encode", source, "-o", tmp_path / "a.innv", "-q", *QUICK_OPTIONS, "--frames", "0:2"]
    code, _, err = call(*command)
    assert code == 6 and err == "innvc: Not enough memory. Give fewer frames with --frames.\n"


def test_damage_of_the_file_that_was_written(clip, call, tmp_path, monkeypatch):
    """The encoder decodes what it wrote; what differs does not become a file."""
    from innvc.bitstream import latent

    source, encoded, _ = clip

    def wrong(data, crc=0, whole=latent.zlib.crc32):
        return whole(data, crc) ^ 1 if next(calls) == 3 else whole(data, crc)

    calls = iter(range(10**9))
    monkeypatch.setattr(
        "innvc.bitstream.latent.zlib", type("Z", (), {"crc32": staticmethod(wrong)})
    )
    command = ["encode", source, "-o", tmp_path / "a.innv", "-q", *QUICK_OPTIONS, "--frames", "0:2"]
    code, _, err = call(*command)
    assert code == 8 and "differ" in err and os.listdir(tmp_path) == []
    calls = iter(range(10**9))
    assert call("decode", encoded, "-o", tmp_path / "a.yuv", "-q")[0] == 8
    calls = iter(range(10**9))
    assert call("verify", encoded, "-q")[0] == 8
    assert os.listdir(tmp_path) == []


def test_folder_that_cannot_be_written(clip, call):
    source, encoded, _ = clip
    for command, given, name in (("encode", source, "x.innv"), ("decode", encoded, "x.yuv")):
        code, _, err = call(command, given, "-o", f"/proc/{name}", "-q")
        assert code == 1 and "internal" not in err and len(err.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(clip, call, tmp_path):
    source, _, _ = clip
    tmp_path.chmod(0o555)
    code, _, err = call("encode", source, "-o", tmp_path / "x.innv", "-q")
    tmp_path.chmod(0o755)
    assert code == 1 and "Permission denied" in err


def test_time_and_steps(clip, call, tmp_path):
    source, _, _ = clip
    output = tmp_path / "a.innv"
    command = ["encode", source, "-o", output, "--frames", "0:2", "-q", "--json"]
    limits = ["--preset", "instant", "--steps", 10**6, "--time", "2s"]
    code, out, _ = call(*command, *limits)
    result = json.loads(out)
    assert code == 0 and 2 < result["seconds"] < 60 and 0 < result["steps"] < 10**6
    assert not result["interrupted"] and result["bytes"] == output.stat().st_size
    code, out, _ = call(*command, "--preset", "instant", "--steps", 0, "-y")
    assert code == 0 and json.loads(out)["steps"] == 0


def test_notes(clip, call, tmp_path):
    """What is left out is said in one line; -q says nothing."""
    source = tmp_path / "sound.mkv"
    with av.open(str(source), "w") as container:
        video, audio = (
            container.add_stream("ffv1", rate=25),
            container.add_stream("pcm_s16le", 8000),
        )
        video.width, video.height, video.pix_fmt = 32, 16, "yuv420p"
        audio.layout = "mono"
        container.mux(video.encode(av.VideoFrame(32, 16, "yuv420p")))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 320), "i2"), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(audio.encode(sound))
        container.mux([*video.encode(), *audio.encode()])
    assert call("encode", source, "-o", tmp_path / "a.innv", *QUICK_OPTIONS, "-q") == (0, "", "")
    command = ["decode", tmp_path / "a.innv", "-o", tmp_path / "a.y4m"]
    code, _, err = call(*command)
    assert code == 0 and err.count("are left out: .y4m holds pictures only\n") == 1
    assert call(*command, "-y", "-q") == (0, "", "")


def test_pipes(tmp_path):
    source = make_clip(tmp_path / "in.y4m", count=2)
    options = [*QUICK_OPTIONS, "--json", "-q"]
    made = innvc("encode", "-", "-o", tmp_path / "a.innv", *options, input=source.read_bytes())
    assert made.returncode == 0 and made.stderr == b"", made.stderr
    assert json.loads(made.stdout)["frames"] == 2
    done = innvc("decode", tmp_path / "a.innv", "-o", "-", "--json")
    assert done.returncode == 0 and done.stdout.startswith(b"YUV4MPEG2 ")
    (tmp_path / "rec.y4m").write_bytes(done.stdout)
    rec = read_frames(tmp_path / "rec.y4m")
    assert psnr(read_frames(source), rec, 0, 255) == pytest.approx(
        json.loads(made.stdout)["psnr_y"], abs=0.002
    )
    (tmp_path / "rec.y4m").unlink()
    cut = innvc("encode", "-", "-o", tmp_path / "b.innv", input=source.read_bytes()[:-9])
    assert cut.returncode == 3 and b"cut short" in cut.stderr
    shut = f"{sys.executable} -m innvc info {tmp_path / 'a.innv'} | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", shut], capture_output=True)
    assert ended.stderr == b"" and ended.returncode in (0, 1)
    assert sorted(os.listdir(tmp_path)) == ["a.innv", "in.y4m"]


def start(*arguments, **options):
    command = [sys.executable, "-m", "innvc", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, **options)


class Terminal:
    """Runs a command with a terminal as stderr and reads what it shows."""

    def __init__(self, *arguments):
        import pty

        self.ours, theirs = pty.openpty()
        self.process = start(*arguments, stderr=theirs, env={**os.environ, "COLUMNS": "100"})
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text):
        deadline = time.monotonic() + 120
        while text not in self.shown and time.monotonic() < deadline:
            if not select.select([self.ours], [], [], 1)[0]:
                continue
            try:
                self.shown += os.read(self.ours, 4096).decode(errors="replace")
            except OSError:
                break
        if text not in self.shown:
            self.process.kill()
        assert text in self.shown, self.shown

    def end(self):
        out, _ = self.process.communicate(timeout=120)
        os.close(self.ours)
        return self.process.returncode, out


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_interrupt_of_the_fit(call, tmp_path):
    """Ctrl-C ends the fit with a valid file; the progress shows what it should."""
    source = make_clip(tmp_path / "in.mkv", count=3)
    output = tmp_path / "a.innv"
    endless = ["--preset", "instant", "--steps", 10**7, "--json"]
    terminal = Terminal("encode", source, "-o", output, *endless)
    terminal.wait_for("steps/s ETA ")
    for word in ("step ", "loss ", "bpp ", "PSNR "):
        assert word in terminal.shown
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("Ending the fit")
    code, out = terminal.end()
    result = json.loads(out)
    assert code == 0 and result["interrupted"] and 0 < result["steps"] < 10**7
    assert result["bytes"] == output.stat().st_size
    assert sorted(os.listdir(tmp_path)) == ["a.innv", "in.mkv"]
    assert call("verify", output)[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_second_interrupt_leaves_nothing(tmp_path):
    source = make_clip(tmp_path / "in.mkv", "yuv420p", 96, 80, count=16)
    endless = ["--preset", "instant", "--steps", 10**7, "--json"]
    terminal = Terminal("encode", source, "-o", tmp_path / "a.innv", *endless)
    terminal.wait_for("steps/s ETA ")
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("Ending the fit")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == (130, b"")
    assert os.listdir(tmp_path) == ["in.mkv"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_while_reading(tmp_path, number, code):
    process = start(
        *("encode", "-", "-o", tmp_path / "a.innv"), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    header = b"YUV4MPEG2 W64 H64 F25:1 C420jpeg\n"
    process.stdin.write(header + (b"FRAME\n" + bytes(6144)) * 60)  # more than a pipe holds
    process.stdin.flush()
    process.send_signal(number)
    assert process.wait(60) == code
    assert b"Traceback" not in process.stderr.read() and process.stdout.read() == b""
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupt_of_decoding(tmp_path_factory, tmp_path):
    # The 160 packets take seconds, so that the signal comes amid them.
    folder = tmp_path_factory.mktemp("long")
    source = make_clip(folder / "a.mkv", width=64, height=64, count=4)
    encode(source, folder / "a.innv", gop=1, motion=False, **QUICK)
    concat([folder / "a.innv"] * 40, folder / "b.innv")
    command = "decode", folder / "b.innv", "-o", tmp_path / "a.mkv", "-q"
    process = start(*command, stderr=subprocess.PIPE)
    while not os.listdir(tmp_path) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read().decode().strip() == "innvc: interrupted."
    assert os.listdir(tmp_path) == []


def test_facts_survive(tmp_path, call):
    """Colour, aspect, rotation and variable timestamps go in and come out."""
    frames = make_frames("yuv420p10le", 48, 32, 6)
    stamps = (0, 40, 120, 130, 400, 430)
    for frame, stamp in zip(frames, stamps, strict=True):
        frame.pts = stamp
    facts = dict(
        frame_rate=Fraction(14),
        time_base=Fraction(1, 1000),
        color_range=1,
        color_primaries=9,
        color_transfer=16,
        color_matrix=9,
        chroma_location=3,
        sample_aspect=Fraction(128, 117),
        rotation=270,
    )
    source = write_clip(tmp_path / "in.mkv", frames, "yuv420p10le", **facts)
    encoded = tmp_path / "a.innv"
    assert call("encode", source, "-o", encoded, "-q", *QUICK_OPTIONS)[0] == 0
    shown = json.loads(call("info", encoded, "--json")[1])["video"]
    assert shown["variable_rate"] and shown["rotation"] == 270
    assert list(shown["color"].values()) == ["limited", 9, 16, 9, 3]
    text = "range limited, primaries bt2020, transfer smpte2084, matrix bt2020nc"
    assert f"{text}, chroma location topleft" in call("info", encoded)[1]
    for text, first, last in (("0:6", 0, 6), ("2:5", 2, 5)):
        rec = tmp_path / f"{first}.mkv"
        assert call("decode", encoded, "-o", rec, "-q", "--frames", text)[0] == 0
        with open_source(source, frames=(first, last)) as a, open_source(rec) as b:
            assert a.info == b.info
            wanted = [t - stamps[first] for t in stamps[first:last]]
            assert [round(1000 * f.pts * b.info.time_base) for f in b] == wanted


def test_colour_of_a_constant_rate(tmp_path, call):
    facts = dict(frame_rate=Fraction(30000, 1001), color_range=2, color_primaries=1)
    source = make_clip(tmp_path / "in.mkv", "gbrp12le", 17, 9, 2, color_matrix=0, **facts)
    assert call("encode", source, "-o", tmp_path / "a.innv", "-q", *QUICK_OPTIONS)[0] == 0
    assert call("decode", tmp_path / "a.innv", "-o", tmp_path / "b.mkv", "-q")[0] == 0
    with open_source(source) as a, open_source(tmp_path / "b.mkv") as b:
        assert a.info == b.info and b.info.frame_rate == Fraction(30000, 1001)


def test_colour_tags_that_are_given(tmp_path, call):
    """y4m has none of them; a container's are replaced, also where its samples are converted."""
    source = make_clip(tmp_path / "in.mkv", "yuv420p10le", 32, 16, 2, color_primaries=1)
    y4m, encoded, rec = (tmp_path / name for name in ("in.y4m", "a.innv", "rec.mkv"))
    with open(y4m, "wb") as stream, open_source(source) as video:
        writer = Y4mWriter(stream, video.info)
        for frame in video:
            writer.write(frame)
        writer.close()
    tags = ["--cicp", "bt2020/arib-std-b67/9", "--color-range", "limited"]
    for path in (y4m, source):
        command = ["encode", path, "-o", encoded, "-q", "-y", *tags, *QUICK_OPTIONS]
        assert call(*command)[0] == 0
        assert call("decode", encoded, "-o", rec, "-q", "-y")[0] == 0
        with open_source(rec) as video:
            info = video.info
        assert (info.color_primaries, info.color_transfer, info.color_matrix) == (9, 18, 9)
        assert info.color_range == 1

    planes = {}
    for matrix in ("bt709", "smpte170m"):
        command = ["encode", y4m, "-o", encoded, "--json", "-y", "--pix-fmt", "gbrp"]
        code, _, err = call(*command, "--cicp", f"1/1/{matrix}", *QUICK_OPTIONS)
        assert code == 0 and "BT.601" not in err
        color = json.loads(call("info", encoded, "--json")[1])["video"]["color"]
        assert color["matrix"] == 0 and color["range"] == "full"
        with package.open(encoded) as reader:
            planes[matrix] = reader[0].planes
    difference = planes["bt709"][0].astype(int) - planes["smpte170m"][0]
    assert abs(difference).mean() > 2  # the matrix that is given is the one that converts


def test_pictures_that_need_others_are_left_out(tmp_path, call, monkeypatch):
    """A video cut in an open group: its container counts more pictures than decode."""
    from innvc.video.container import ContainerReader

    source = make_clip(tmp_path / "in.mkv", count=3)
    whole = ContainerReader._scan
    counted = lambda self, *a: [-80, -40, *whole(self, *a)]  # noqa: E731
    monkeypatch.setattr(ContainerReader, "_scan", counted)
    command = ["encode", source, "-o", tmp_path / "a.innv", "--json", *QUICK_OPTIONS]
    code, out, err = call(*command)
    assert code == 0 and json.loads(out)["frames"] == 3
    assert "2 pictures at the start need others" in err
    missing = lambda self, *a: [*whole(self, *a), 120, 160]  # noqa: E731
    monkeypatch.setattr(ContainerReader, "_scan", missing)
    code, _, err = call(*command, "-y")
    assert code == 3 and "of which 3 decode" in err


def test_raw_input(tmp_path, call):
    source = make_clip(tmp_path / "in.mkv", "yuv422p10le", 21, 11, 2)
    raw = tmp_path / "raw.yuv"
    raw.write_bytes(b"".join(p.tobytes() for f in read_frames(source) for p in f.planes))
    options = ["--size", "21x11", "--pix-fmt", "yuv422p10le", "--fps", "29.97"]
    encoded, rec = tmp_path / "a.innv", tmp_path / "rec.yuv"
    assert call("encode", raw, "-o", encoded, "-q", *options, *QUICK_OPTIONS)[0] == 0
    facts = json.loads(call("info", encoded, "--json")[1])["video"]
    assert (facts["pix_fmt"], facts["frame_rate"]) == ("yuv422p10le", "30000/1001")
    assert call("decode", encoded, "-o", rec, "-q")[0] == 0
    by_options = call("compare", raw, rec, "-q", "--json", *options)
    by_other = call("compare", source, rec, "-q", "--json")
    assert by_options == by_other and by_other[0] == 0
    assert call("compare", raw, source, "-q", "--json")[0] == 0
    decoded = read_frames(rec, size=(21, 11), pix_fmt="yuv422p10le")
    expected = psnr(read_frames(source), decoded, 0, 1023)
    assert json.loads(by_other[1])["psnr_y"] == pytest.approx(expected, abs=0.002)
    assert not same(decoded, read_frames(source))
