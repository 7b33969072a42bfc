"""Every pixel format and odd size through the whole codec: symbols, bytes and PSNR."""

import os

import pytest
import torch
from helpers import QUICK, make_clip, psnr, read_frames, same

import innvc
from innvc.bitstream import latent
from innvc.video.formats import PIXEL_FORMATS, pixel_format

SIZES = [(35, 17), (1, 1)]


@pytest.fixture
def packets(monkeypatch):
    """The latent values of every packet that is coded or decoded, in order."""
    seen = []

    def watched(*arguments, **options):
        packet = latent.code_packet(*arguments, **options)
        seen.append((options.get("data") is None, packet.values.clone(), packet.checksums))
        return packet

    for module in ("innvc.packet_encoder", "innvc.decoder"):
        monkeypatch.setattr(f"{module}.code_packet", watched)
    return seen


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
@pytest.mark.parametrize("name", PIXEL_FORMATS)
def test_format(tmp_path, packets, name, size):
    form = pixel_format(name)
    source = make_clip(tmp_path / "in.mkv", name, *size, count=3)
    encoded, decoded = tmp_path / "a.innv", tmp_path / "rec.yuv"
    result = innvc.encode(source, encoded, **QUICK)
    assert result.bytes == encoded.stat().st_size
    assert result.bpp == pytest.approx(8 * os.path.getsize(encoded) / (3 * size[0] * size[1]))

    coded = [p for p in packets if p[0]]
    packets.clear()
    assert innvc.decode(encoded, decoded) == 3
    assert len(coded) == len(packets) >= 1
    for (_, values, sums), (_, others, other_sums) in zip(coded, packets, strict=True):
        assert torch.equal(values, others) and sums == other_sums

    original = read_frames(source)
    copy = read_frames(decoded, size=size, pix_fmt=name)
    assert decoded.stat().st_size == 3 * form.frame_bytes(*size)
    with innvc.open(encoded, exact=True) as reader:
        exact = list(reader)
    measured = [psnr(original, exact, plane, form.peak) for plane in range(form.planes)]
    said = [result.psnr_y, result.psnr_u, result.psnr_v][: form.planes]
    assert said == pytest.approx(measured, abs=1e-9)
    assert min(measured) > 38
    if form.planes == 1:
        assert result.psnr_u is None and result.psnr_v is None
    compared = innvc.compare(source, encoded)
    if result.psnr_y != float("inf"):
        assert compared["psnr_y"] == pytest.approx(measured[0], abs=1e-9)
    with innvc.open(encoded) as reader:
        assert same(list(reader), copy)
        assert reader.info == innvc.video.source.open_source(source).info


@pytest.mark.parametrize("size", [(16, 1), (1, 33), (64, 48), (17, 16)])
def test_sizes(tmp_path, size):
    source = make_clip(tmp_path / "in.mkv", "yuv420p", *size, count=2)
    result = innvc.encode(source, tmp_path / "a.innv", **QUICK)
    innvc.decode(tmp_path / "a.innv", tmp_path / "rec.y4m")
    copy = read_frames(tmp_path / "rec.y4m")
    assert result.psnr_y == pytest.approx(psnr(read_frames(source), copy, 0, 255), abs=0.002)


@pytest.mark.parametrize("frames, gop, keyint", [
    (1, None, 256), (2, 16, 256), (3, None, 256), (17, None, 256), (5, 1, 256), (5, 2, 256),
    (9, 4, 256), (17, 8, 256), (17, 16, 256), (9, 8, 4), (11, None, 4), (5, 2, 1), (16, 16, 16),
])  # fmt: skip
def test_groups_and_keys(tmp_path, frames, gop, keyint):
    source = make_clip(tmp_path / "in.mkv", count=frames)
    result = innvc.encode(source, tmp_path / "a.innv", gop=gop, keyint=keyint, **QUICK)
    assert result.frames == frames
    original = read_frames(source)
    with innvc.open(tmp_path / "a.innv") as reader:
        copy = list(reader)
        assert len(reader) == len(copy) == frames
        segment = reader._reader.segment(0)
    assert result.psnr_y == pytest.approx(psnr(original, copy, 0, 255), abs=0.002)
    sizes = segment.sizes
    assert sum(sizes) == frames and max(sizes) <= (gop or 32)
    if gop:
        intervals = [min(keyint, frames - first) for first in range(0, frames, keyint)]
        assert len(sizes) == sum(-(-length // gop) for length in intervals)
        if frames <= keyint:
            assert max(sizes) - min(sizes) <= 1
    # From one key packet to the next are at most `keyint` frames.
    starts = [*(segment.starts()[key] for key in segment.keys), frames]
    assert all(b - a <= keyint for a, b in zip(starts, starts[1:], strict=False))
    # Each frame alone is what it is in its place.
    for index in {0, frames // 2, frames - 1}:
        with innvc.open(tmp_path / "a.innv") as reader:
            assert same([reader[index]], [copy[index]])
