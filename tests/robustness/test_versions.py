"""Files of other versions, and a second reader of the container beside the first."""

from pathlib import Path

import msgspec
import pytest
from helpers import innvc, make_clip
from independent_reader import Invalid, read_file
from mutation import assemble, chunks

import innvc as package
from innvc.bitstream.chunks import VERSION
from innvc.bitstream.reader import Reader
from innvc.errors import UnsupportedError

VECTORS = sorted((Path(__file__).parents[1] / "vectors").glob("*.innv"))


@pytest.fixture
def changed(clip, tmp_path):
    """Writes the file of `clip` with other chunks or another version."""

    def change(extra=(), version=bytes(VERSION)):
        parts = chunks(clip[1].read_bytes())
        for place, name in extra:
            parts.insert(place, [name, b"something"])
        path = tmp_path / "changed.innv"
        path.write_bytes(assemble(_as_records(parts), version=version))
        return path

    return change


def _as_records(parts):
    """With the index as a record, so that `assemble` finds its offsets."""
    return [
        [name, msgspec.msgpack.decode(data) if name == b"INDX" else data] for name, data in parts
    ]


def test_major_version(changed, call):
    path = changed(version=b"\3\0")
    with pytest.raises(UnsupportedError, match="version 3.0, this program reads 0.x"):
        Reader(path)
    for command in (["info"], ["verify"], ["decode", "-o", path.with_suffix(".yuv")]):
        code, out, err = call(command[0], path, *command[1:])
        assert (code, out) == (5, "") and "3.0" in err and len(err.splitlines()) == 1


def test_what_is_new_is_said_once(changed, clip, call):
    later = bytes((0, VERSION[1] + 1))
    path = changed([(2, b"noTe"), (5, b"noTe"), (7, b"teXt")], later)
    output = path.with_suffix(".yuv")
    notes = ["version 0.12 is newer", "chunk 'noTe'", "chunk 'teXt'"]
    notes[0] = f"version 0.{later[1]} is newer"
    for command in (["decode", path, "-o", output], ["verify", path], ["compare", clip[0], path]):
        code, _, err = call(*command)
        assert code == 0
        for note in notes:
            assert err.count(note) == 1, err
        assert "note: " not in call(*command, "-q", *(["-y"] if command[0] == "decode" else []))[2]
    code, out, _ = call("info", path)
    assert code == 0 and notes[0] in out
    package.decode(clip[1], path.with_name("b.yuv"))
    assert output.read_bytes() == path.with_name("b.yuv").read_bytes()


def test_a_later_version_through_the_command_line(changed):
    path = changed(version=bytes((0, 200)))
    done = innvc("decode", path, "-o", path.with_suffix(".yuv"))
    assert done.returncode == 0 and done.stderr.decode().count("0.200 is newer") == 1


def plain(value):
    """Records as lists, bytes and numbers."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


def agree(path):
    found = read_file(path.read_bytes())
    with Reader(path) as reader:
        reader.check_all()
        assert found["version"] == reader.version
        assert found["header"] == plain(reader.header)
        assert found["streams"] == plain(reader.streams())
        assert len(found["segments"]) == len(reader.segments)
        for number, (record, parameters, packets, offsets) in enumerate(found["segments"]):
            assert record == plain(reader.segment(number))
            assert parameters == plain(reader.parameters(number))
            assert packets == [plain(reader.packet(number, n)) for n in range(len(packets))]
            entry = reader.segments[number]
            places = [entry.segment_offset, entry.parameters_offset, *entry.packet_offsets]
            assert offsets == places
        for name in found["other"]:
            assert any(f"'{name}'" in note for note in reader.notes)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gbrp10le", "gray12le"])
def test_two_readers_agree(tmp_path, pix_fmt):
    source = make_clip(tmp_path / "in.mkv", pix_fmt, 33, 17, 5)
    package.encode(source, tmp_path / "a.innv", preset="instant", gop=2)
    agree(tmp_path / "a.innv")


def test_two_readers_agree_on_unknown_chunks(changed):
    agree(changed([(3, b"noTe"), (4, b"teXt")]))


@pytest.mark.parametrize("path", VECTORS, ids=[path.stem for path in VECTORS])
def test_two_readers_agree_on_the_vectors(path):
    agree(path)


def test_the_second_reader_refuses_too(clip):
    data = clip[1].read_bytes()
    for position in range(0, len(data), 29):
        damaged = bytearray(data)
        damaged[position] ^= 8
        if position == 9:
            continue
        with pytest.raises((Invalid, UnicodeDecodeError)):
            read_file(bytes(damaged))
