"""Checksums of samples: written by the encoder, checked by `verify --pixels`."""

import io

import msgspec
import pytest
from helpers import make_clip
from mutation import assemble, records

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


def resigned(path, target, change=lambda index, packets: None):
    """A copy with other numbers in its index and its packets, under right CRCs."""
    parts = records(path.read_bytes())
    (index,) = (record for name, record in parts if name == b"INDX")
    change(index[0], [record for name, record in parts if name == b"PACK"])
    target.write_bytes(assemble(parts))
    return target


def test_samples_are_checked(encoded, tmp_path, call):
    assert verify(encoded, pixels=True) == 3
    assert resigned(encoded, tmp_path / "b.innv").read_bytes() == encoded.read_bytes()
    code, out, err = call("verify", encoded, "--pixels", "--json")
    assert code == 0 and msgspec.json.decode(out)["pixels"] is True and "samples" in err


def other_crc(index, packets):
    index[0][5] ^= 1


def no_filter(index, packets):
    for packet in packets:
        packet[6] = b""


@pytest.mark.parametrize("change", [other_crc, no_filter])
def test_other_samples_are_told(encoded, tmp_path, call, change):
    """Right symbols, of which the decoder makes other samples: only this check sees it."""
    other = resigned(encoded, tmp_path / "b.innv", change)
    assert other.read_bytes() != encoded.read_bytes()  # a packet was filtered
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
