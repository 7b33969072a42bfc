"""A damaged file: noticed wherever it is, and no more is lost than must be."""

import json
import random

import numpy as np
import pytest
from helpers import innvc, make_clip, read_frames, same

import innvc as package
from innvc.bitstream.chunks import SIGNATURE
from innvc.bitstream.reader import Reader
from innvc.errors import (
    CorruptError,
    DamageError,
    InnvcError,
    InputError,
    LimitError,
    UnsupportedError,
    merged,
    ranges_text,
)


def check(path):
    with Reader(path) as reader:
        reader.check_all()


def assert_noticed(path, first):
    """Damage whose first byte is at an offset raises the error for this place."""
    with pytest.raises(InnvcError) as caught:
        check(path)
    if first < len(SIGNATURE):
        assert type(caught.value) is InputError
    elif first > len(SIGNATURE):
        assert isinstance(caught.value, CorruptError | LimitError)
    else:  # the major version
        assert isinstance(caught.value, CorruptError | UnsupportedError)


def test_every_bit(small, chunks, save, full):
    """Quick: each bit of what frames a chunk and of every 61st byte, one of the others."""
    data = small[1].read_bytes()
    framing = {p for start, _, end in chunks for p in (*range(start, start + 8), end - 1)}
    for place in range(len(data)):
        every = full or place < 10 or place in framing or place % 61 == 0
        for bit in range(8) if every else [place % 8]:
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            assert_noticed(save(damaged), place)


def edits(data, count, chunks):
    """Copies with a few bytes changed, near each other or not, in chunks in turn; (copy, first)."""
    source = random.Random(7)
    for number in range(count):
        start, _, end = chunks[number % len(chunks)]
        damaged = bytearray(data)
        kind = number // len(chunks) % 3
        length = source.randrange(2, 33)
        if kind == 0:  # a run of bytes
            place = source.randrange(start, end)
            places = range(place, min(place + length, len(data)))
        elif kind == 1:  # bytes of one chunk
            places = [source.randrange(start, end) for _ in range(length)]
        else:  # bytes anywhere after the signature
            places = [source.randrange(len(SIGNATURE) + 2, len(data)) for _ in range(length)]
        for place in places:
            damaged[place] = source.randrange(256)
        if damaged != data:
            yield damaged, min(p for p in range(len(data)) if damaged[p] != data[p])


def test_random_edits(small, chunks, save, full):
    data = small[1].read_bytes()
    done = 0
    for damaged, first in edits(data, 100_000 if full else 500, chunks):
        assert_noticed(save(damaged), first)
        done += 1
    assert done > (99_000 if full else 490)


def test_bytes_that_move(small, save, full):
    """Bytes left out, put in, and others in their place."""
    whole, source, done = small[1].read_bytes(), random.Random(2), 0
    for _ in range(100_000 if full else 1_000):
        data = bytearray(whole)
        for _ in range(source.randrange(1, 4)):
            place, other = source.randrange(len(data)), source.randrange(len(data))
            size, kind = source.choice((1, 2, 4, 16, 200)), source.randrange(3)
            if kind == 0 and len(data) > size:
                del data[place : place + size]
            elif kind == 1:
                data[place:place] = source.randbytes(size)
            else:
                data[place : place + size] = data[other : other + size]
        if data == whole:
            continue
        done += 1
        with pytest.raises(InnvcError), Reader(save(data)) as reader:
            reader.check_all()
    assert done > (99_000 if full else 990)


def test_no_edit_decodes_to_wrong_frames(small, chunks, save, full):
    """By decoding: every frame that comes out is the one that was encoded."""
    _, encoded, frames = small
    whole, errors = encoded.read_bytes(), 0
    for damaged, _ in edits(whole, 390 if full else 26, chunks):
        found = []
        with pytest.raises(InnvcError) as caught:
            with package.open(save(damaged)) as reader:
                for frame in reader:
                    found.append(frame)
        assert same(found, frames[: len(found)])
        errors += isinstance(caught.value, DamageError)
    assert errors


@pytest.fixture(scope="module")
def lost_with(small):
    """Gives the frames of the small file from a packet to the next that decodes alone."""
    with Reader(small[1]) as reader:
        assert reader.segment(0).sizes == [2] * 10 and reader.segment(0).keys == [0, 4, 8]
        alone = [n for n in range(10) if n in (0, 4, 8) or reader.packet(0, n).intra] + [10]
    assert 3 < len(alone) < 11  # some packets need the one before, and some do not
    return lambda number: (2 * number, 2 * min(n for n in alone if n > number))


@pytest.fixture(scope="module")
def damage(small, chunks):
    """Gives the bytes of the small file with some packets damaged."""

    def make(*numbers):
        packets = [start for start, name, _ in chunks if name == "PACK"]
        data = bytearray(small[1].read_bytes())
        for number in numbers:
            data[packets[number] + 15] ^= 0x10
        return data

    return make


def test_damage_stays_in_the_key_interval(small, save, damage, lost_with, full):
    _, _, frames = small
    for number in range(10) if full else (0, 1, 6, 9):
        first, last = lost_with(number)
        path = save(damage(number))
        with package.open(path) as reader:
            for index in (*range(first), *range(last, 20)):
                assert same([reader[index]], [frames[index]]), (number, index)
            for index in range(first, last):
                with pytest.raises(DamageError) as caught:
                    reader[index]
                assert caught.value.frames == [(first, last)] and caught.value.exit_code == 4
                assert f"frames {first}:{last} are lost" in caught.value.message
        with pytest.raises(DamageError) as caught:
            package.verify(path)
        assert caught.value.frames == [(first, last)]


@pytest.mark.parametrize("numbers", [(1,), (0, 8), (3, 4), (2, 3), (9,), range(10)])
def test_conceal(small, save, damage, lost_with, numbers):
    _, _, frames = small
    path, lost = save(damage(*numbers)), merged([lost_with(number) for number in numbers])
    with pytest.raises(DamageError) as caught:
        package.verify(path)
    assert caught.value.frames == lost
    expected = list(frames)
    for first, last in lost:
        if first:
            shown = frames[first - 1]
        elif last < 20:
            shown = frames[last]
        else:
            shown = type(frames[0])([np.full_like(p, 128) for p in frames[0].planes])
        expected[first:last] = [shown] * (last - first)
    for order in ((7, 19), (16, 3)):
        with package.open(path, conceal=True) as reader:
            for index in order:
                assert same([reader[index]], [expected[index]]), (order, index)
    with package.open(path, conceal=True) as reader:
        assert same(list(reader), expected) and reader.concealed == lost


def test_command_line(small, save, damage, lost_with, call, tmp_path):
    frames = list(small[2])
    path, output = save(damage(1, 9)), tmp_path / "a.mkv"
    (first, last), (second, end) = lost = [lost_with(1), lost_with(9)]
    code, _, err = call("verify", path)
    assert code == 4 and f"frames {ranges_text(lost)} are lost" in err and err.count("\n") == 1
    code, _, err = call("decode", path, "-o", output)
    assert code == 4 and f"frames {first}:{last} are lost. Copy it again" in err
    assert not output.exists()
    done = innvc("decode", path, "-o", output, "--conceal")
    said = f"concealed: {ranges_text(lost)}."
    assert done.returncode == 0 and said in done.stderr.decode()
    done = innvc("decode", path, "-o", output, "--conceal", "-y", "-q", "--json")
    (note,) = json.loads(done.stdout)["notes"]
    assert note.endswith(said) and not done.stderr
    frames[first:last], frames[second:end] = [frames[1]] * (last - 2), [frames[second - 1]] * 2
    assert same(read_frames(output), frames)


@pytest.mark.parametrize("number", [0, 1])
def test_segments(segments, save, tmp_path, number):
    """A segment whose record or parameters are damaged is lost alone, and time goes on."""
    encoded, whole = segments
    with Reader(encoded) as reader:
        entry = reader.segments[number]
    first, last = entry.first_frame, entry.first_frame + entry.frames
    assert (first, last) == ((0, 16), (16, 20))[number]
    for offset in (entry.segment_offset, entry.parameters_offset):
        data = bytearray(encoded.read_bytes())
        data[offset + 9] ^= 1
        path = save(data)
        with pytest.raises(DamageError) as caught:
            package.verify(path)
        assert caught.value.frames == [(first, last)]
        with package.open(path, conceal=True) as reader:
            shown = list(reader)
        place = whole[first - 1] if number else whole[last]
        assert same(shown, whole[:first] + [place] * (last - first) + whole[last:])
        times = [frame.pts for frame in shown]
        assert times == sorted(set(times)) and times[last:] == [f.pts for f in whole[last:]]
        assert times[:first] == [f.pts for f in whole[:first]]
        output = tmp_path / "a.mkv"
        assert package.decode(path, output, conceal=True, overwrite=True) == 20
        assert same(read_frames(output), shown)


def test_conceal_by_the_field(tmp_path):
    """A model with a field shows its picture, with the motion of packets that can be read."""
    source, encoded = make_clip(tmp_path / "a.mkv", count=8), tmp_path / "a.innv"
    package.encode(source, encoded, preset="instant", residual=True, steps=10, gop=2, keyint=8)
    with package.open(encoded) as reader, package.open(encoded, only="field") as field:
        whole, pictures = list(reader), list(field)
    with Reader(encoded) as reader:
        assert reader.header.model.field is not None
        offset = reader.segments[0].packet_offsets[1]
    data = bytearray(encoded.read_bytes())
    data[offset + 15] ^= 1
    (tmp_path / "b.innv").write_bytes(data)
    with package.open(tmp_path / "b.innv", conceal=True) as reader:
        shown = list(reader)
        ((first, last),) = reader.concealed
        assert first == 2 and last in (4, 6, 8)
    assert same(shown[:2], whole[:2]) and same(shown[last:], whole[last:])
    assert same(shown[4:last], pictures[4:last]) and not same(shown[2:4], [whole[1]] * 2)
