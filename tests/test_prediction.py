"""Prediction of low-pass frames from the packet before, and a second one by docs/format.md."""

import numpy as np
import pytest
import torch
from helpers import DATA, QUICK, crop, make_frames, psnr, read_frames, same, write_clip
from msgspec.structs import replace
from test_format_motion import WEIGHTS, decode_motion, warp_matrix
from test_motion import LAYOUTS, random_motion

import innvc as package
from innvc.bitstream import motion as coding
from innvc.bitstream.reader import Reader
from innvc.decoder import SegmentDecoder
from innvc.errors import CorruptError
from innvc.model.planes import planes_of


def packets_of(path):
    with Reader(path) as reader:
        return [packet for _, _, packet in reader.packets()]


@pytest.fixture(scope="module")
def bunny(tmp_path_factory):
    """12 real frames in packets of 3; the third one is a key packet."""
    folder = tmp_path_factory.mktemp("bunny")
    frames = read_frames(DATA / "bunny_cif.mkv", frames=(0, 12))
    frames = [crop(frame, 96, 112) for frame in frames]
    source = write_clip(folder / "in.mkv", frames)
    package.encode(source, folder / "a.innv", **OPTIONS)
    return source, folder / "a.innv", frames


OPTIONS = {"preset": "instant", "lambda_": 0.3, "gop": 3, "keyint": 6}


def test_predicted_packets_cost_less(bunny, tmp_path):
    source, file, original = bunny
    assert [p.prediction is not None for p in packets_of(file)] == [False, True, False, True]
    plain = tmp_path / "plain.innv"
    package.encode(source, plain, prediction=False, **OPTIONS)
    low = [sum(sum(p.lengths[0]) for p in packets_of(f) if p.number % 2) for f in (file, plain)]
    assert low[0] < 0.7 * low[1]
    assert file.stat().st_size < 0.9 * plain.stat().st_size
    with package.open(file) as ours, package.open(plain) as theirs:
        assert psnr(original, list(ours), 0, 255) > psnr(original, list(theirs), 0, 255) - 0.5


def test_any_order_gives_the_same_frames(bunny):
    """Key packets are where decoding begins; a packet between them needs the one before."""
    with package.open(bunny[1]) as reader:
        forward = list(reader)
    for order in ((11, 5, 0, 3, 10, 4), (4, 3, 9), (8, 11, 2)):
        with package.open(bunny[1]) as reader:
            assert same([reader[i] for i in order], [forward[i] for i in order])


def test_only_what_is_needed_is_read(bunny, monkeypatch):
    """From the packet that stands alone; a packet that was decoded before is not decoded again."""
    read, whole = [], Reader.packet

    def watched(self, segment, number):
        read.append(number)
        return whole(self, segment, number)

    monkeypatch.setattr(Reader, "packet", watched)
    for wanted, packets in (((7,), [2]), ((4,), [1, 0, 1]), ((9, 10, 3), [3, 2, 3, 1, 0, 1])):
        read.clear()
        with package.open(bunny[1]) as reader:
            for index in wanted:
                reader[index]
        assert read == packets, wanted
    read.clear()
    with package.open(bunny[1]) as reader:
        assert len(list(reader)) == 12
    assert read == [0, 1, 2, 3]


def test_fewer_layers_decode(bunny):
    """Frames drift from packet to packet, and stay near."""
    with package.open(bunny[1], layers=2) as reader:
        assert psnr(bunny[2], list(reader), 0, 255) > 28


def test_a_cut_is_not_predicted(tmp_path):
    frames = read_frames(DATA / "bunny_cif.mkv", frames=(0, 4))
    frames += read_frames(DATA / "street_cif.mkv", frames=(0, 4))
    source = write_clip(tmp_path / "in.mkv", [crop(frame, 96, 112) for frame in frames])
    package.encode(source, tmp_path / "a.innv", preset="instant", gop=2)
    packets = packets_of(tmp_path / "a.innv")
    assert [p.prediction is None for p in packets] == [True, False, True, False]
    assert [p.intra for p in packets] == [True, False, True, False]


def test_a_second_prediction(tmp_path):
    """Decodes three packets of 32x48 samples by sections 5 and 14."""
    still = read_frames(DATA / "street_cif.mkv", frames=(0, 6))
    frames = make_frames("yuv420p", 48, 32, 6)
    for t, (frame, real) in enumerate(zip(frames, still, strict=True)):
        for plane, (samples, size) in enumerate(zip(real.planes, (2, 1, 1), strict=True)):
            top, left = 64 * size // 2 + t * size // 2, 80 * size // 2
            part = samples[top : top + 16 * size, left + 2 * t : left + 2 * t + 24 * size]
            frame.planes[plane][:] = part
    source, file = write_clip(tmp_path / "in.mkv", frames), tmp_path / "a.innv"
    package.encode(source, file, lambda_=0.5, gop=2, **QUICK)
    with Reader(file) as reader:
        header, segment, record = reader.header, reader.segment(0), reader.parameters(0)
    decoder = SegmentDecoder(header, segment, record, torch.device("cpu"), exact=True)
    assert sum(p.prediction is not None for p in packets_of(file)) == 2
    references = None
    for packet in packets_of(file):
        found = decoder.motion(packet.motion, packet.subbands)
        values = decoder.symbols(packet, None).values
        ours = decoder.prediction(packet.prediction, references)
        alone = decoder.synthesis(packet.number, values, found, packet.intra)
        expected = alone.low
        if packet.prediction is not None:
            theirs = predicted(packet.prediction, references, 2, 3)
            assert np.allclose(theirs, ours[0], rtol=0, atol=1e-9)
            expected = alone.low + torch.from_numpy(theirs)
        picture = decoder.synthesis(packet.number, values, found, packet.intra, ours)
        assert torch.allclose(picture.low, expected, rtol=0, atol=1e-9)
        gains = decoder.filters.gains(packet)
        arguments = packet.number, values, found, packet.intra, ours
        picture = decoder.synthesis(*arguments, gains=gains)
        references = torch.stack([expected[0], picture.frames[-1]])
        with package.open(file, exact=True) as reader:
            shown = decoder.frames(packet.number, picture.frames)
            first = 2 * packet.number
            assert same(shown, [reader[first], reader[first + 1]])


def predicted(data, references, rows, columns):
    """P of a low-pass frame [6, h, w] from two frames of the packet before."""
    mode, _, quarters = still(rows, columns)
    if data:
        mode, _, quarters, _ = decode_motion(data, 2, rows, columns)[1]
    result = []
    for plane in planes_of(LAYOUTS["yuv420p"]):
        sources = plane.unpack(references).numpy()
        cell = (8, 8) if plane.samples(16)[0] == 16 else (4, 4)
        total = 0
        for side in range(2):
            cells = np.kron(np.array(mode[0]).reshape(rows, columns), np.ones((2, 2), int))
            weight = np.vectorize(lambda m, side=side: float(WEIGHTS[m][side]))(cells)
            warp = warp_matrix(quarters[0, side], weight, cell, plane.precision)
            total = total + warp @ sources[side].ravel()
        result.append(plane.pack(torch.from_numpy(total.reshape(1, *sources.shape[1:])))[0])
    return torch.cat(result).numpy()


def still(rows, columns):
    quarters = np.zeros((1, 2, 2, 2 * rows, 2 * columns), int)
    return np.ones((1, rows, columns), int), None, quarters


def test_any_motion_from_two_frames_comes_back():
    motion = [random_motion(6, 4, 5, 40, seed=2)[0].part(0, 1)]  # a frame between two
    data = coding.encode(motion)
    (found,) = coding.decode_prediction(data, 4, 5)
    assert np.array_equal(found.mode, motion[0].mode)
    assert np.array_equal(found.quarters, motion[0].quarters)
    (nothing,) = coding.decode_prediction(b"", 4, 5)
    assert (nothing.mode == 1).all() and not nothing.quarters.any()


def test_predictions_that_contradict_the_file(bunny):
    with Reader(bunny[1]) as reader:
        header, segment = reader.header, reader.segment(0)
        packet = reader.packet(0, 1)
    packet.validate_in(1, segment, header)
    for broken, where, model in (
        (replace(packet, intra=True), 1, header.model),
        (replace(packet, number=2), 2, header.model),
        (packet, 1, replace(header.model, prediction=False)),
    ):
        with pytest.raises(ValueError, match="predict"):
            broken.validate_in(where, segment, replace(header, model=model))
    with pytest.raises(CorruptError):
        coding.decode_prediction(b"\xff" * 40, 18, 22)
    with pytest.raises(ValueError, match="prediction needs motion"):
        replace(header, model=replace(header.model, motion=False)).validate()
