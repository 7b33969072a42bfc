"""The Python API: readers, segments, results."""

import threading

import numpy as np
import pytest
import torch
from helpers import QUICK, make_clip, make_frames, psnr, read_frames, same, write_clip

import innvc
from innvc.bitstream.cut import cut_file
from innvc.bitstream.reader import Reader
from innvc.decoder import SegmentDecoder
from innvc.errors import InnvcError, OutputExistsError, UsageError
from innvc.video.formats import pixel_format


@pytest.fixture
def reader(clip):
    with innvc.open(clip[1]) as reader:
        yield reader


def test_reader_is_a_sequence(clip, reader):
    source, encoded, result = clip
    assert len(reader) == 20
    every = list(reader)
    assert len(every) == 20
    assert psnr(read_frames(source), every, 0, 255) == pytest.approx(result.psnr_y, abs=0.002)
    for index in (0, 19, 7, 8, 3, -1, -20, np.int64(12)):
        assert same([reader[index]], [every[index]])
    for part in (slice(3, 9), slice(None, None, 5), slice(15, 2, -4), slice(-3, None), slice(9, 9)):
        assert same(reader[part], every[part])
    for index in (20, -21):
        with pytest.raises(IndexError):
            reader[index]
    with pytest.raises(TypeError):
        reader["3"]
    assert every[0].planes[0].dtype == np.uint8 and every[0].planes[1].shape == (16, 24)


def test_frames_belong_to_the_caller(reader):
    first = reader[0]
    kept = [plane.copy() for plane in first.planes]
    for plane in first.planes:
        plane[:] = 0
    assert all(map(np.array_equal, reader[0].planes, kept))


def test_torch_planes(clip, reader, tmp_path):
    with innvc.open(clip[1], torch_planes=True) as tensors:
        planes = tensors[5].planes
    assert all(isinstance(p, torch.Tensor) and p.dtype == torch.uint8 for p in planes)
    assert all(np.array_equal(t.numpy(), p) for t, p in zip(planes, reader[5].planes, strict=True))
    source = make_clip(tmp_path / "in.mkv", "gray12le", 9, 5, 1)
    innvc.encode(source, tmp_path / "a.innv", **QUICK)
    with innvc.open(tmp_path / "a.innv", torch_planes=True) as tensors:
        (plane,) = tensors[0].planes
        assert plane.to(torch.float32).max() > 255


def test_only_what_is_needed_is_read(clip, monkeypatch):
    """Groups of 4, keys every 8 frames; of noise no packet reads the one before."""
    read = []
    whole = Reader.packet

    def watched(self, segment, number):
        read.append(number)
        return whole(self, segment, number)

    monkeypatch.setattr(Reader, "packet", watched)
    for wanted, packets in (((0,), [0]), ((5,), [1]), ((9, 11), [2]), ((17,), [4]),
                            ((13, 14, 15, 16), [3, 4]), ((13, 5), [3, 1])):  # fmt: skip
        read.clear()
        with innvc.open(clip[1]) as reader:
            for index in wanted:
                reader[index]
        assert read == packets, wanted


def test_damage_elsewhere_does_not_matter(clip, tmp_path):
    """Frames of other groups decode although a packet is damaged."""
    _, encoded, _ = clip
    with Reader(encoded) as container:
        offset = container.segments[0].packet_offsets[1]
    data = bytearray(encoded.read_bytes())
    data[offset + 30] ^= 1
    (tmp_path / "a.innv").write_bytes(data)
    with innvc.open(tmp_path / "a.innv") as damaged, innvc.open(encoded) as whole:
        for part in (slice(0, 4), slice(8, 20)):
            assert same(damaged[part], whole[part])
        with pytest.raises(InnvcError, match="damaged"):
            damaged[4]
        assert same([damaged[3]], [whole[3]])


def test_frames_by_time(clip, reader):
    """A frame is shown from its own time on up to the next one's."""
    for index in (0, 7, len(reader) - 1):
        begins, ends = float(reader.time(index)), float(reader.time(index + 1))
        for seconds in (begins + 1e-6, (begins + ends) / 2, ends - 1e-6):
            assert same([reader.frame_at(seconds)], [reader[index]])
    for seconds in (-0.001, float(reader.time(len(reader))), float("nan")):
        with pytest.raises(IndexError, match="seconds"):
            reader.frame_at(seconds)


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_symbols_are_decoded_ahead(clip, tmp_path, two_threads, monkeypatch):
    _, encoded, _ = clip
    names = []
    whole = SegmentDecoder.symbols

    def watched(self, packet, *arguments, **options):
        names.append((packet.number, threading.current_thread().name[:5]))
        return whole(self, packet, *arguments, **options)

    monkeypatch.setattr(SegmentDecoder, "symbols", watched)
    with innvc.open(encoded) as reader:
        one_by_one = [reader[index] for index in range(20)]
        assert [name for _, name in names] == ["MainT"] * 5
        for first, last in ((0, 20), (3, 9), (0, 4)):
            names.clear()
            assert same(list(reader.read(first, last)), one_by_one[first:last])
            packets = range(first // 4, (last + 3) // 4)
            assert names == [(p, "innvc") for p in packets]
            assert torch.get_num_threads() == 2
        frames = reader.read(0, 20)
        next(frames)
    with Reader(encoded) as container:
        offset = container.segments[0].packet_offsets[2]
    data = bytearray(encoded.read_bytes())
    data[offset + 30] ^= 1
    (tmp_path / "a.innv").write_bytes(data)
    found = []
    with innvc.open(tmp_path / "a.innv") as damaged, pytest.raises(InnvcError, match="damaged"):
        for frame in damaged:
            found.append(frame)
    assert same(found, one_by_one[:8])
    frames.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("innvc")]


@pytest.mark.parametrize("options", [QUICK, {"preset": "medium", "lambda_": 2.0, "steps": 2}])
def test_threads_change_no_byte(tmp_path, two_threads, options):
    source = make_clip(tmp_path / "in.mkv", "yuv420p", 176, 144, 3)
    for threads in (1, 2):
        innvc.encode(source, tmp_path / f"{threads}.innv", threads=threads, **options)
    assert (tmp_path / "1.innv").read_bytes() == (tmp_path / "2.innv").read_bytes()


@pytest.fixture(scope="module")
def segments(tmp_path_factory):
    """21 frames in segments of 8, 8 and 5."""
    folder = tmp_path_factory.mktemp("segments")
    source = make_clip(folder / "in.mkv", count=21)
    seen = []
    result = innvc.encode(
        source, folder / "a.innv", gop=4, segment=8, progress=seen.append, **QUICK
    )
    return source, folder / "a.innv", result, seen


def test_segments(segments):
    source, encoded, result, seen = segments
    assert result.frames == 21 and result.steps == 6
    assert [(p.segment, p.segments, p.done, p.total) for p in seen if p.fit] == [
        (s, 3, step, 2) for s in range(3) for step in (1, 2)
    ]
    for phase, frames in (("motion", (8, 8, 5)), ("code", (8, 8, 5))):
        last = {p.segment: (p.done, p.total) for p in seen if p.phase == phase}
        assert last == {i: (n, n) for i, n in enumerate(frames)}
    assert [p.done for p in seen if p.phase == "measure"] == list(range(1, 22))
    original = read_frames(source)
    with innvc.open(encoded) as reader:
        records = [reader._reader.segment(i) for i in range(3)]
        assert [(r.first_frame, r.frames) for r in records] == [(0, 8), (8, 8), (16, 5)]
        every = list(reader)
    assert psnr(original, every, 0, 255) == pytest.approx(result.psnr_y, abs=0.002)
    for order in ((20, 0, 15, 16, 7, 8), (8, 7), (19, 20, 17)):
        with innvc.open(encoded) as reader:
            for index in order:
                assert same([reader[index]], [every[index]])
    assert innvc.verify(encoded) == 2 + 2 + 2  # 5 frames are groups of 2, 3


def test_frames_across_segments(segments, tmp_path):
    _, encoded, _, _ = segments
    innvc.decode(encoded, tmp_path / "whole.y4m")
    every = read_frames(tmp_path / "whole.y4m")
    for first, last in ((7, 9), (5, 19), (15, 17), (20, 21)):
        part = tmp_path / "part.y4m"
        assert innvc.decode(encoded, part, frames=(first, last), overwrite=True) == last - first
        assert same(read_frames(part), every[first:last])


def test_stop_in_segments(segments, tmp_path):
    """A fit that is stopped early leaves a whole file."""
    steps = []
    source, _, _, _ = segments
    result = innvc.encode(
        source,
        tmp_path / "a.innv",
        preset="instant",
        steps=10**6,
        gop=4,
        segment=8,
        progress=lambda state: steps.append(state) if state.fit else None,
        stop=lambda: len(steps) >= 3,
    )
    assert result.interrupted and result.steps == 3 and result.frames == 21
    assert innvc.verify(tmp_path / "a.innv") >= 3


def test_layers_are_a_cut_file(clip, tmp_path):
    """Decoding K layers gives what a file cut to K layers gives, and quality grows with K."""
    source, encoded, _ = clip
    original = read_frames(source)
    qualities, sizes = [], []
    with Reader(encoded) as container:
        layers = len(container.header.model.layers)
        assert layers > 1
        for count in range(1, layers + 1):
            with open(tmp_path / f"{count}.innv", "wb") as target:
                assert cut_file(container, target, count) == (0, 20)
            sizes.append((tmp_path / f"{count}.innv").stat().st_size)
    for count in range(1, layers + 1):
        cut = tmp_path / f"{count}.innv"
        innvc.verify(cut)
        with innvc.open(encoded, layers=count) as a, innvc.open(cut) as b:
            frames = list(a)
            assert same(frames, list(b))
            assert same([innvc.open(cut)[9]], [frames[9]])  # through other packets' contexts
        qualities.append(psnr(original, frames, 0, 255))
    assert qualities == sorted(qualities) and qualities[-1] > qualities[0] + 3
    assert sizes == sorted(sizes) and sizes[-1] == encoded.stat().st_size
    with open(tmp_path / "0.innv", "wb") as target, Reader(encoded) as container:
        cut_file(container, target, 0)
    assert len(list(innvc.open(tmp_path / "0.innv"))) == 20


def test_exact(clip):
    with innvc.open(clip[1], exact=True) as exact, innvc.open(clip[1]) as quick:
        for a, b in zip(exact[:8], quick[:8], strict=True):
            for p, q in zip(a.planes, b.planes, strict=True):
                assert np.abs(p.astype(int) - q.astype(int)).max() <= 1


def test_selection_of_the_source(clip, tmp_path):
    source, _, _ = clip
    result = innvc.encode(source, tmp_path / "a.innv", frames=(5, 9), **QUICK)
    assert result.frames == 4
    with innvc.open(tmp_path / "a.innv") as reader:
        value = psnr(read_frames(source)[5:9], list(reader), 0, 255)
    assert value == pytest.approx(result.psnr_y, abs=0.002)


def test_same_input_gives_same_file(clip, tmp_path):
    source, encoded, _ = clip
    innvc.encode(source, tmp_path / "a.innv", gop=4, keyint=8, **QUICK)
    assert (tmp_path / "a.innv").read_bytes() == encoded.read_bytes()


def test_lambda_moves_rate_and_quality(clip, tmp_path):
    source, _, _ = clip
    points = []
    for lambda_ in (0.02, 1.0, 20.0):
        options = {"lambda_": lambda_, "frames": (0, 4), "gop": 4, "overwrite": True}
        r = innvc.encode(source, tmp_path / "a.innv", **options, **QUICK)
        points.append((r.bytes, r.psnr_y))
    assert points == sorted(points) and points[0][1] < 42 < 55 < points[2][1]


@pytest.mark.parametrize("name, least", [("yuv420p", 80), ("gbrp", 65), ("gray12le", 65)])
def test_largest_lambda(tmp_path, name, least):
    """Near lossless, also where the latents are largest: white in all frames of a long group."""
    form = pixel_format(name)
    frames = make_frames(name, 32, 32, 16)
    for frame in frames:
        for plane in frame.planes:
            plane[:] = form.peak - plane // 16
    source = write_clip(tmp_path / "in.mkv", frames, name)
    result = innvc.encode(source, tmp_path / "a.innv", lambda_=1e4, gop=16, **QUICK)
    assert result.psnr_y > least


def test_errors(clip, tmp_path):
    source, encoded, _ = clip
    with pytest.raises(OutputExistsError):
        innvc.encode(source, encoded)
    with pytest.raises(UsageError):
        innvc.open(encoded, layers=0)
    with pytest.raises(UsageError):
        innvc.open(encoded, device="tpu")[0]
    with pytest.raises(AttributeError):
        innvc.transcode  # noqa: B018
    with pytest.raises(UsageError, match="lambda|Lambda"):
        innvc.encode(source, tmp_path / "a.innv", lambda_=float("nan"))


def test_permissions_are_the_usual_ones(clip, tmp_path):
    source, _, _ = clip
    innvc.encode(source, tmp_path / "a.innv", frames=(0, 1), **QUICK)
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.innv").stat().st_mode == (tmp_path / "plain").stat().st_mode
