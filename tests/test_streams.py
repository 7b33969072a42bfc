"""Audio and subtitles go through a file as they are, and stay in time with the video."""

import io
import json
from fractions import Fraction
from itertools import pairwise

import av
import msgspec
import numpy as np
import pytest
from helpers import QUICK_OPTIONS

from innvc.bitstream.chunks import PREAMBLE_BYTES, ChunkReader
from innvc.bitstream.cut import cut_file
from innvc.bitstream.reader import Reader

RATE = 25
MILLISECOND = Fraction(1, 1000)  # what Matroska counts, and edit lists of mp4
SUBTITLES = "1\n00:00:00,100 --> 00:00:00,250\nfirst\n\n2\n00:00:00,300 --> 00:00:00,400\nsecond\n"
KINDS = {
    "mp4": ("libx264", "aac", 48000, False),
    "mov": ("libx264", "pcm_s16le", 44100, False),
    "mkv": ("ffv1", "flac", 48000, True),
    "webm": ("libvpx-vp9", "libopus", 48000, False),
}


def make(path, kind, frames=12, begin=0, pts=None):
    """A video with a tone of as much time, and subtitles."""
    video_codec, audio_codec, rate, subtitled = KINDS[kind]
    with av.open(str(path), "w") as container:
        video = container.add_stream(video_codec, rate=RATE)
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream(audio_codec, rate)
        audio.layout = "mono"
        texts = None
        if subtitled:
            texts = av.open(io.BytesIO(SUBTITLES.encode()), format="srt")
            copy = container.add_stream_from_template(texts.streams[0])
        size = audio.codec_context.frame_size or 1024
        container.start_encoding()
        for n in range(frames * rate // RATE // size + 1):
            tone = 8000 * np.sin(2 * np.pi * 440 * (np.arange(size) + n * size) / rate)
            form = "fltp" if audio_codec == "aac" else "s16"
            samples = tone[None] / 32768 if form == "fltp" else tone[None]
            sound = av.AudioFrame.from_ndarray(
                samples.astype("f4" if form == "fltp" else "i2"), form, "mono"
            )
            sound.sample_rate, sound.pts, sound.time_base = rate, n * size, Fraction(1, rate)
            container.mux(audio.encode(sound))
        for n in range(frames):
            picture = av.VideoFrame(48, 32, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([40 + 5 * n]) * plane.buffer_size)
            picture.pts = begin + (pts[n] if pts else 40 * n)
            picture.time_base = Fraction(1, 1000)
            container.mux(video.encode(picture))
        container.mux([*video.encode(), *audio.encode()])
        if texts is not None:
            for packet in texts.demux():
                if packet.pts is not None:
                    packet.stream = copy
                    container.mux(packet)
    return path


def packets(path):
    """(kind, seconds after the first picture, content) of the packets that are no pictures."""
    with av.open(str(path)) as container:
        every = [p for p in container.demux() if p.pts is not None]
        start = min(p.pts * p.time_base for p in every if p.stream.type == "video")
        return [
            (p.stream.type, p.pts * p.time_base - start, bytes(p))
            for p in every
            if p.stream.type != "video"
        ]


def of(found, kind):
    return [(time, data) for name, time, data in found if name == kind]


def largest_difference(old, new):
    return max((abs(a - b) for (a, _), (b, _) in zip(old, new, strict=True)), default=0)


@pytest.fixture(scope="module", params=KINDS)
def coded(request, tmp_path_factory):
    """(kind, source, file) with audio."""
    folder = tmp_path_factory.mktemp(request.param)
    source = make(folder / f"in.{request.param}", request.param)
    from innvc import encode

    encode(source, folder / "a.innv", preset="instant", lambda_=0.05)
    return request.param, source, folder / "a.innv"


def test_packets_come_back(coded, tmp_path, call):
    kind, source, encoded = coded
    target = tmp_path / f"out.{kind}"
    code, _, err = call("decode", encoded, "-o", target)
    assert code == 0 and "left out" not in err, err
    before, after = packets(source), packets(target)
    assert {name for name, *_ in before} == {"audio"} | ({"subtitle"} if kind == "mkv" else set())
    for name in ("audio", "subtitle"):
        old, new = of(before, name), of(after, name)
        assert [data for _, data in new] == [data for _, data in old]
        assert largest_difference(old, new) <= MILLISECOND
    with av.open(str(target)) as container:
        assert sum(f.samples for f in container.decode(audio=0)) > 0.4 * KINDS[kind][2]


def test_info_and_verify(coded, call):
    kind, _, encoded = coded
    facts = json.loads(call("info", encoded, "--json")[1])
    names = [name.split()[:2] for name in facts["streams"]]
    codec = KINDS[kind][1].removeprefix("lib")
    assert names[0] == ["audio", codec] and len(names) == 1 + (kind == "mkv")
    parts = facts["bytes"]
    assert parts["streams"] > 500
    whole = sum(v for k, v in parts.items() if not k.startswith("latent_"))
    assert whole == facts["file"]["bytes"]
    assert "audio" in call("info", encoded)[1]
    assert call("verify", encoded, "-q")[0] == 0


@pytest.mark.parametrize("cut", [(5, 9), (0, 4), (8, 12)])
def test_parts(coded, tmp_path, call, cut):
    """A part of the input, and a part of the output, have what is heard beside these frames."""
    kind, source, encoded = coded
    first, last = (Fraction(n, RATE) for n in cut)
    frames = f"{cut[0]}:{cut[1]}"
    times = [time for time, _ in of(packets(source), "audio")]
    length = max(b - a for a, b in pairwise(times))
    heard = [
        (time - first, data)
        for time, data in of(packets(source), "audio")
        if first < time + length and time < last
    ]
    part = tmp_path / "part.innv"
    options = ["-p", "instant", "-l", "0.05", "--frames", frames]
    assert call("encode", source, "-o", part, *options)[0] == 0
    assert call("decode", part, "-o", tmp_path / f"a.{kind}")[0] == 0
    assert call("decode", encoded, "-o", tmp_path / f"b.{kind}", "--frames", frames)[0] == 0
    for name in ("a", "b"):
        found = of(packets(tmp_path / f"{name}.{kind}"), "audio")
        # At the ends a packet more or less: what its duration is, not all containers say.
        assert abs(len(found) - len(heard)) <= 1 and len(found) >= 2
        known = {data: time for time, data in heard}
        same = [abs(known[data] - time) for time, data in found if data in known]
        assert len(same) >= len(found) - 1 and max(same) <= Fraction(2, 1000)


@pytest.mark.parametrize("begin", [480, 0])
def test_a_varying_rate_and_a_late_start(tmp_path, call, begin):
    times = [0, 40, 70, 150, 200, 210, 300, 350, 400, 440]
    source = make(tmp_path / "in.mp4", "mp4", frames=10, begin=begin, pts=times)
    file, target = tmp_path / "a.innv", tmp_path / "out.mp4"
    assert call("encode", source, "-o", file, *QUICK_OPTIONS)[0] == 0
    assert call("decode", file, "-o", target)[0] == 0
    before, after = of(packets(source), "audio"), of(packets(target), "audio")
    assert [data for _, data in after] == [data for _, data in before]
    assert largest_difference(before, after) <= MILLISECOND


def test_without(coded, tmp_path, call):
    kind, source, encoded = coded
    file = tmp_path / "a.innv"
    options = ["-p", "instant", "-l", "0.05", "--frames", "0:2"]
    assert call("encode", source, "-o", file, "--no-audio", *options)[0] == 0
    assert json.loads(call("info", file, "--json")[1])["streams"] == []
    assert call("decode", file, "-o", tmp_path / f"a.{kind}")[0] == 0
    assert call("decode", encoded, "-o", tmp_path / f"b.{kind}", "--no-audio")[0] == 0
    assert not packets(tmp_path / f"a.{kind}") and not packets(tmp_path / f"b.{kind}")


def test_outputs_that_cannot_hold_them(coded, tmp_path, call):
    kind, _, encoded = coded
    code, _, err = call("decode", encoded, "-o", tmp_path / "a.y4m")
    assert code == 0 and err.count("audio and subtitles are left out") == 1
    code, _, err = call("decode", encoded, "-o", tmp_path / "a.webm")
    assert code == 0 and ("audio" in err) == (kind != "webm")


def test_a_new_rate_leaves_audio_out(coded, tmp_path, call):
    file = tmp_path / "a.innv"
    options = ["--fps", "50", "--frames", "0:2", *QUICK_OPTIONS]
    code, _, err = call("encode", coded[1], "-o", file, *options)
    assert code == 0 and "audio is left out" in err
    assert json.loads(call("info", file, "--json")[1])["streams"] == []


def test_damage(coded, tmp_path, call):
    """The frames do not need what is beside them."""
    kind, _, encoded = coded
    data = bytearray(encoded.read_bytes())
    reader = ChunkReader(io.BytesIO(data))
    chunk = reader.head(reader.head(PREAMBLE_BYTES).end)
    assert chunk.name == b"strm"
    data[chunk.start + chunk.length // 2] ^= 4
    bad, target = tmp_path / "bad.innv", tmp_path / f"a.{kind}"
    bad.write_bytes(data)
    for command in (["verify", bad], ["decode", bad, "-o", target]):
        code, out, err = call(*command)
        assert (code, out) == (4, "") and len(err.splitlines()) == 1 and "--no-audio" in err
    assert not target.exists()
    assert call("decode", bad, "-o", target, "--no-audio", "-q") == (0, "", "")
    code, _, err = call("decode", bad, "-o", target, "--conceal", "-y")
    assert code == 0 and "audio and subtitles are left out" in err and not packets(target)


def test_unreadable_streams(coded, tmp_path, call, monkeypatch):
    """Rightly signed, but no container at all."""
    with Reader(coded[2]) as reader, open(tmp_path / "a.innv", "wb") as file:
        record = msgspec.structs.replace(reader.streams(), data=b"not a container" * 20)
        monkeypatch.setattr(reader, "streams", lambda: record)
        cut_file(reader, file, len(reader.header.model.layers))
    code, out, err = call("decode", tmp_path / "a.innv", "-o", tmp_path / "a.mkv")
    assert (code, out) == (4, "") and "cannot be read" in err and len(err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.innv"]
    assert call("decode", tmp_path / "a.innv", "-o", tmp_path / "a.mkv", "--no-audio", "-q")[0] == 0


def test_a_file_of_fewer_layers_keeps_them(coded, tmp_path):
    with Reader(coded[2]) as reader, open(tmp_path / "cut.innv", "wb") as file:
        cut_file(reader, file, 1)
        record = reader.streams()
    with Reader(tmp_path / "cut.innv") as reader:
        assert reader.streams() == record
        assert not reader.notes
