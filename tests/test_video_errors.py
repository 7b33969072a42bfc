"""Inputs and outputs that must be refused, and what is left behind: nothing."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest

from innvc.errors import (
    InnvcError,
    InputError,
    LimitError,
    OutputExistsError,
    UnsupportedError,
    UsageError,
)
from innvc.video.formats import Frame, VideoInfo, pixel_format
from innvc.video.sink import open_sink
from innvc.video.source import open_source
from innvc.video.timing import constant_rate

INFO = VideoInfo(64, 48, pixel_format("yuv420p"), Fraction(25))


def pictures(source="testsrc2", count=10):
    graph = av.filter.Graph()
    chain = [
        graph.add(source, "size=64x48:rate=25"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*chain).configure()
    for index in range(count):
        picture = graph.pull()
        picture.pts, picture.time_base = index, Fraction(1, 25)
        yield picture


@pytest.fixture
def clip(tmp_path):
    """Makes a file of 10 frames; mp4 has its index in front."""

    def make(name, codec="libx264"):
        path = str(tmp_path / name)
        with av.open(path, "w", options={"movflags": "faststart"}) as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for picture in pictures():
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return make


def read(path, **options):
    with open_source(path, **options) as source:
        return list(source)


def test_paths_that_are_no_video(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.txt").write_text("not a video\n" * 100)
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "noise.mkv").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile text.mp4\n")
    (tmp_path / "only.y4m").write_text("YUV4MPEG2 W4 H4 F25:1 C420jpeg\n")
    names = ["empty.mp4", "text.txt", "text.mp4", "noise.mkv", "list.ffconcat", "only.y4m", "none"]
    for name in [*names, "frame_%03d.png", ""]:
        with pytest.raises(InputError) as caught:
            read(tmp_path / name)
        assert caught.value.exit_code == 3 and caught.value.message.endswith(".")


def test_no_video_stream(tmp_path):
    with av.open(tmp_path / "a.wav", "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), "i2"), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(InputError, match="no video stream"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("part", [0.5, 0.95])
def test_cut_files(clip, name, part):
    path = clip(name)
    data = open(path, "rb").read()
    assert len(read(path)) == 10
    with open(path, "wb") as stream:
        stream.write(data[: int(len(data) * part)])
    with pytest.raises(InputError):
        read(path)


def test_damage_in_ffv1_is_found(tmp_path):
    with open_sink(tmp_path / "a.mkv", INFO) as sink:
        for _ in range(3):
            sink.write(
                Frame(
                    [
                        np.random.default_rng(0).integers(0, 256, s).astype("u1")
                        for s in ((48, 64), (24, 32), (24, 32))
                    ]
                )
            )
    data = bytearray((tmp_path / "a.mkv").read_bytes())
    data[len(data) // 2] ^= 16
    (tmp_path / "a.mkv").write_bytes(data)
    with pytest.raises(InputError, match="checksums of frame 1"):
        open_source(tmp_path / "a.mkv")


def test_change_of_size(tmp_path):
    data = b""
    for width in (64, 32):
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, 48, "yuv420p"
        encoder.time_base = Fraction(1, 25)
        picture = av.VideoFrame(width, 48, "yuv420p")
        for index in range(3):
            picture.pts = index
            data += b"".join(map(bytes, encoder.encode(picture)))
        data += b"".join(map(bytes, encoder.encode(None)))
    (tmp_path / "a.h264").write_bytes(data)
    with pytest.raises(InputError, match="changes from"):
        read(tmp_path / "a.h264")


def test_formats_that_are_not_native(tmp_path):
    with av.open(tmp_path / "a.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuva420p")))
        container.mux(stream.encode())
    with pytest.raises(UnsupportedError, match="yuva420p"):
        open_source(tmp_path / "a.mkv")
    with open_source(tmp_path / "a.mkv", pix_fmt="yuv420p") as source:
        assert "the alpha channel is dropped" in source.notes
        assert len(list(source)) == 1
    with pytest.raises(UnsupportedError):
        open_source(tmp_path / "a.mkv", pix_fmt="rgba")


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "64x48_25fps.yuv", "a.y4m"])
def test_selection(tmp_path, clip, name):
    if name in ("a.mkv", "a.mp4"):
        path = clip(name)
    else:
        path = str(tmp_path / name)
        with open_source(clip("b.mkv")) as source, open_sink(path, source.info) as sink:
            for frame in source:
                sink.write(frame)
    every = read(path)
    for start, stop in ((0, 1), (3, 7), (None, 4), (6, None), (9, 10), (None, None)):
        with open_source(path, frames=(start, stop)) as source:
            wanted = every[start:stop]
            got = list(source)
            assert source.frame_count == len(got) == len(wanted)
            assert all(
                np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(got, wanted, strict=True)
            )
    for selection in ((3, 3), (5, 2), (-1, 2), (10, None), (10, 12), (0, 11)):
        with pytest.raises(UsageError):
            read(path, frames=selection)


def test_raw_files(tmp_path):
    path = tmp_path / "clip_16x8_29.97fps_yuv420p10.yuv"
    path.write_bytes(bytes(16 * 8 * 3 * 2))
    with open_source(path) as source:
        info = source.info
        assert (info.width, info.height, info.format.name) == (16, 8, "yuv420p10le")
        assert info.frame_rate == Fraction(30000, 1001) and source.frame_count == 2
        assert len(source.notes) == 3
    with open_source(path, size=(8, 8), pix_fmt="gray", fps=Fraction(24)) as source:
        assert source.frame_count == 12 and source.notes == []
    with pytest.raises(InputError, match="not a whole number") as caught:
        open_source(path, size=(17, 8))
    assert caught.value.hint
    plain = tmp_path / "clip.yuv"
    plain.write_bytes(bytes(96))
    with pytest.raises(UsageError, match="size"):
        open_source(plain)
    with open_source(plain, size=(8, 8)) as source:
        assert source.info.format.name == "yuv420p" and source.info.frame_rate == 25
        assert len(source.notes) == 2


@pytest.mark.parametrize(
    "header, error",
    [
        ("W4 H4 It", UnsupportedError),
        ("W4 H4 C411", UnsupportedError),
        ("W4 H4 C420p16", UnsupportedError),
        ("W0 H4", InputError),
        ("W4", InputError),
        ("Wx H4", InputError),
        ("W4 H99999999", LimitError),
        ("W65536 H65536", InputError),
    ],
)
def test_y4m_headers(tmp_path, header, error):
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 " + header.encode() + b"\nFRAME\n" + bytes(24))
    with pytest.raises(error):
        read(path)


def test_y4m_frames(tmp_path):
    path = tmp_path / "a.y4m"
    frame = b"FRAME Ip\n" + bytes(24)
    path.write_bytes(b"YUV4MPEG2 W4 H4\n" + frame * 3)
    with open_source(path) as source:
        assert len(list(source)) == 3  # with parameters, which the size does not tell
    for bad in (frame * 2 + b"FRA", frame * 2 + b"FRAME\n", frame + b"XRAME\n", frame[:-1]):
        path.write_bytes(b"YUV4MPEG2 W4 H4\n" + bad)
        with pytest.raises(InputError):
            read(path)


def test_gap_in_a_sequence(tmp_path):
    with open_sink(tmp_path / "a%d.png", VideoInfo(4, 4, pixel_format("gray"))) as sink:
        for _ in range(4):
            sink.write(Frame([np.zeros((4, 4), "u1")]))
    assert len(read(tmp_path / "a%d.png")) == 4
    os.remove(tmp_path / "a3.png")
    with pytest.raises(InputError, match="lacks number 3"):
        read(tmp_path / "a%d.png")


BLACK = Frame([np.zeros(s, "u1") for s in ((48, 64), (24, 32), (24, 32))])


@pytest.mark.parametrize("name", ["a.mkv", "a.y4m", "a.yuv", "a.mp4", "a%02d.png"])
def test_outputs_appear_whole_or_not_at_all(tmp_path, name):
    sink = open_sink(tmp_path / name, INFO)
    sink.write(BLACK)
    assert not (tmp_path / name.replace("%02d", "01")).exists()
    sink.abort()
    sink.abort()
    assert os.listdir(tmp_path) == []
    with pytest.raises(KeyError), open_sink(tmp_path / name, INFO) as sink:
        sink.write(BLACK)
        raise KeyError
    assert os.listdir(tmp_path) == []
    with open_sink(tmp_path / name, INFO) as sink:
        sink.write(BLACK)
    assert os.listdir(tmp_path) == [name.replace("%02d", "01")]
    with pytest.raises(OutputExistsError):
        open_sink(tmp_path / name, INFO)
    with open_sink(tmp_path / name, INFO, overwrite=True) as sink:
        sink.write(BLACK)
        sink.close()
        sink.close()
    assert len(os.listdir(tmp_path)) == 1


def test_outputs_that_are_refused(tmp_path):
    (tmp_path / "folder.mkv").mkdir()
    for name in ("a.avi", "a", "missing/a.mkv", "folder.mkv"):
        with pytest.raises(UsageError):
            open_sink(tmp_path / name, INFO)
    with pytest.raises(UsageError, match="one frame"), open_sink(tmp_path / "a.png", INFO) as sink:
        sink.write(BLACK)
        sink.write(BLACK)
    with pytest.raises(UsageError), open_sink(tmp_path / "a.mkv", INFO) as sink:
        sink.write(Frame(BLACK.planes[:1]))
    assert os.listdir(tmp_path) == ["folder.mkv"]


def test_full_disk(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("innvc.video.raw.write_planes", refuse)
    with pytest.raises(InnvcError, match="No space left"):
        with open_sink(tmp_path / "a.yuv", INFO) as sink:
            sink.write(BLACK)
    assert os.listdir(tmp_path) == []


def test_constant_rates():
    millisecond = Fraction(1, 1000)
    ntsc = Fraction(30000, 1001)
    rounded = [round(i / ntsc * 1000) for i in range(3000)]
    assert constant_rate(rounded, millisecond, [None]) == ntsc
    assert constant_rate([5 + t for t in rounded], millisecond, [Fraction(30), ntsc]) == ntsc
    assert constant_rate([0, 1, 2, 4], Fraction(1, 25), [Fraction(25)]) is None
    assert constant_rate([0, 1, 2, 3], Fraction(1, 25), [Fraction(25)]) == 25
    assert constant_rate([0, 40, 80, 121], millisecond, [Fraction(25)]) is not None
    assert constant_rate([7], millisecond, [Fraction(25)]) == 25
