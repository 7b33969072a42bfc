"""Checksums of samples: written by the encoder, checked by `verify --pixels`."""

import io

import msgspec
import pytest
from helpers import make_clip

import innvc
from innvc.api import verify
from innvc.bitstream.cut import cut_file
from innvc.bitstream.reader import Reader
from innvc.errors import UnsupportedError, VerificationError


@pytest.fixture(scope="module", params=["yuv420p", "gbrp12le"])
def encoded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pixels")
    source = make_clip(folder / "a.mkv", request.param, width=33, height=31, count=5)
    innvc.encode(source, folder / "a.innv", preset="instant", gop=2)
    return folder / "a.innv"


def resigned(path, target, **changes):
    """A copy whose index says something else, under right CRCs."""
    from innvc.bitstream.writer import Writer

    with Reader(path) as reader, open(target, "wb") as file:
        writer = Writer(file)
        writer.write_header(reader.header)
        for number, entry in enumerate(reader.segments):
            writer.begin_segment(reader.segment(number))
            writer.write_parameters(reader.parameters(number))
            for packet in range(len(entry.packet_offsets)):
                writer.write_packet(changes["packet"](reader.packet(number, packet)))
        writer.finish()
        writer.write_samples_crc([changes["crc"](entry.samples_crc) for entry in reader.segments])
    return target


def test_samples_are_checked(encoded, tmp_path, call):
    assert verify(encoded, pixels=True) == 3
    same = resigned(encoded, tmp_path / "b.innv", packet=lambda p: p, crc=lambda c: c)
    assert same.read_bytes() == encoded.read_bytes()
    code, out, err = call("verify", encoded, "--pixels", "--json")
    assert code == 0 and msgspec.json.decode(out)["pixels"] is True and "samples" in err


def test_other_samples_are_told(encoded, tmp_path, call):
    """Right symbols, of which the decoder makes other samples: only this check sees it."""
    for changes in (
        {"packet": lambda p: p, "crc": lambda c: c ^ 1},
        {"packet": lambda p: msgspec.structs.replace(p, gains=b""), "crc": lambda c: c},
    ):
        other = resigned(encoded, tmp_path / "b.innv", **changes)
        with Reader(encoded) as reader:
            gains = [packet.gains for _, _, packet in reader.packets()]
        if changes["crc"](0) == 0 and not any(gains):
            continue  # no packet is filtered: the copy is the file itself
        assert verify(other) == 3
        with pytest.raises(VerificationError, match="frames 0 to 4"):
            verify(other, pixels=True)
        assert call("verify", other, "--pixels")[0] == 8


def test_a_cut_file_has_no_checksums(encoded):
    target = io.BytesIO()
    with Reader(encoded) as reader:
        cut_file(reader, target, 1)
    cut = encoded.with_name("cut.innv")
    cut.write_bytes(target.getvalue())
    assert verify(cut) == 3
    with pytest.raises(UnsupportedError, match="no checksums"):
        verify(cut, pixels=True)
