"""Files that are cut short or damaged: always told, and as many frames as there are."""

import random
import struct

import pytest
from helpers import innvc, make_clip, read_frames, same

import innvc as package
from innvc.api import verify
from innvc.bitstream.reader import Reader
from innvc.errors import CorruptError, DamageError, InnvcError, InputError


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """18 frames in packets of 3, a key every 6."""
    folder = tmp_path_factory.mktemp("damage")
    source = make_clip(folder / "a.mkv", count=18)
    package.encode(
        source, folder / "a.innv", preset="instant", lambda_=0.1, gop=3, keyint=6, intra=False
    )
    return folder / "a.innv"


@pytest.fixture(scope="module")
def frames(encoded):
    with package.open(encoded) as video:
        return list(video)


def packets(path):
    """(offset, end) of each packet's chunk."""
    data, found = path.read_bytes(), []
    with Reader(path) as reader:
        for entry in reader.segments:
            for offset in entry.packet_offsets:
                (size,) = struct.unpack_from("<I", data, offset + 4)
                found.append((offset, offset + 12 + size))
    return found


def changed(path, target, *places):
    data = bytearray(path.read_bytes())
    for place in places:
        data[place] ^= 1 << random.Random(place).randrange(8)
    target.write_bytes(data)
    return target


def test_every_cut_is_told_and_whole_packets_are_read(encoded, tmp_path):
    data, ends = encoded.read_bytes(), [end for _, end in packets(encoded)]
    assert len(data) < 20_000
    cut = tmp_path / "cut.innv"
    for size in range(len(data)):
        cut.write_bytes(data[:size])
        with pytest.raises(InputError if size < 8 else CorruptError):
            Reader(cut)
        there = 3 * sum(end <= size for end in ends)
        if there:
            with Reader(cut, partial=True) as reader:
                assert reader.frames == there
                assert there == 18 or "cut short" in reader.notes[0]
        else:
            with pytest.raises(InputError if size < 8 else CorruptError):
                Reader(cut, partial=True)


def test_frames_of_a_cut_file_are_those_of_the_whole_one(encoded, frames, tmp_path):
    data, ends = encoded.read_bytes(), [end for _, end in packets(encoded)]
    cut, output = tmp_path / "cut.innv", tmp_path / "a.y4m"
    for number, size in ((1, ends[0]), (4, ends[3] + 5), (6, len(data) - 1)):
        cut.write_bytes(data[:size])
        with package.open(cut, partial=True) as video:
            assert len(video) == 3 * number and same(list(video), frames[: 3 * number])
    assert innvc("decode", cut, "-o", output).returncode == 4 and not output.exists()
    cut.write_bytes(data[: ends[2]])
    done = innvc("decode", cut, "-o", output, "--partial")
    assert done.returncode == 0 and b"9 of 18 frames" in done.stderr
    assert b"Traceback" not in done.stderr
    assert same(read_frames(output), frames[:9])
    done = innvc("decode", encoded, "-o", output, "--partial", "-y")
    assert done.returncode == 0 and b"cut short" not in done.stderr
    assert same(read_frames(output), frames)


def test_every_flipped_bit_is_noticed(encoded, tmp_path, full):
    """One bit of each byte; in the full set all eight."""
    data, path = bytearray(encoded.read_bytes()), tmp_path / "a.innv"
    source = random.Random(1)
    for place in range(len(data)):
        for bit in range(8) if full else [source.randrange(8)]:
            data[place] ^= 1 << bit
            path.write_bytes(data)
            with pytest.raises(InnvcError) as caught, Reader(path) as reader:
                reader.check_all()
            assert caught.value.exit_code in (3, 4, 5, 6)
            data[place] ^= 1 << bit


def test_every_edit_is_noticed(encoded, tmp_path, full):
    """Bytes changed, left out, put in, moved and doubled."""
    whole, path = encoded.read_bytes(), tmp_path / "a.innv"
    source = random.Random(2)
    for _ in range(100_000 if full else 1_000):
        data = bytearray(whole)
        for _ in range(source.randrange(1, 4)):
            place, size = source.randrange(len(data)), source.choice((1, 2, 4, 16, 200))
            other = source.randrange(len(data))
            kind = source.randrange(4)
            if kind == 0:
                data[place : place + size] = source.randbytes(len(data[place : place + size]))
            elif kind == 1 and len(data) > size:
                del data[place : place + size]
            elif kind == 2:
                data[place:place] = source.randbytes(size)
            else:
                data[place : place + size] = data[other : other + size]
        if data == whole:
            continue
        path.write_bytes(data)
        with pytest.raises(InnvcError), Reader(path) as reader:
            reader.check_all()


def test_damage_stays_in_its_key_interval_and_is_named(encoded, frames, tmp_path, call):
    places = packets(encoded)
    # The third packet begins the second key interval, the sixth is the end of the last.
    bad = changed(encoded, tmp_path / "a.innv", places[2][0] + 40, places[5][0] + 40)
    with package.open(bad) as video:
        for i in (0, 5, 12, 14):
            assert same([video[i]], [frames[i]])
        for i, named in ((6, "6:12"), (11, "6:12"), (15, "15:18")):
            with pytest.raises(DamageError, match=f"frames {named} are lost"):
                video[i]
        assert same([video[13]], [frames[13]])
    with pytest.raises(DamageError) as caught:
        verify(bad)
    assert caught.value.frames == [(6, 12), (15, 18)]
    code, _, err = call("verify", bad)
    assert code == 4 and "6:12, 15:18" in err
    assert call("decode", bad, "-o", tmp_path / "b.y4m")[0] == 4
    assert not (tmp_path / "b.y4m").exists()


def test_concealed_frames_are_the_last_good_one(encoded, frames, tmp_path):
    places = packets(encoded)
    bad = changed(encoded, tmp_path / "a.innv", places[0][0] + 40, places[3][0] + 40)
    done = innvc("decode", bad, "-o", tmp_path / "b.y4m", "--conceal")
    assert done.returncode == 0 and b"0:6, 9:12" in done.stderr
    shown = read_frames(tmp_path / "b.y4m")
    expected = [frames[6]] * 6 + frames[6:9] + [frames[8]] * 3 + frames[12:]
    assert same(shown, expected)


def test_a_field_conceals(tmp_path):
    source, path = make_clip(tmp_path / "a.mkv", count=6), tmp_path / "a.innv"
    package.encode(source, path, preset="compact", steps=10, gop=2, keyint=2, lambda_=0.1)
    with package.open(path) as video:
        frames = list(video)
    with package.open(path, only="field") as video:
        field = list(video)
    (start, end) = packets(path)[1]
    bad = changed(path, tmp_path / "b.innv", end - 30)
    with package.open(bad, conceal=True) as video:
        shown = list(video)
        assert video.concealed == [(2, 4)]
    assert same(shown[:2] + shown[4:], frames[:2] + frames[4:])
    assert not same(shown[2:4], frames[2:4]) and not same(shown[2:4], [frames[1]] * 2)
    errors = [
        abs(a.planes[0].astype(int) - b.planes[0]).mean() for a, b in zip(shown, field, strict=True)
    ]
    assert max(errors[2:4]) < 12  # the field's picture, but for motion, which is lost
