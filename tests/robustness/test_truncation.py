"""A file cut anywhere: an error, or with `partial` every frame before the cut."""

import pytest
from helpers import innvc, read_frames, same

import innvc as package
from innvc.bitstream.chunks import SIGNATURE
from innvc.bitstream.reader import Reader
from innvc.errors import CorruptError, InputError
from innvc.reader import VideoReader


def frames_before(chunks, size):
    """Frames of the packets of two that end at or before a byte."""
    return 2 * sum(name == "PACK" and end <= size for _, name, end in chunks)


def test_every_cut(small, chunks, save, full):
    """Quick: read as far as it goes near the ends of chunks and at every 7th byte."""
    near = {end + k for *_, end in chunks for k in (-1, 0, 1)}
    data = small[1].read_bytes()
    assert len(data) < 20_000
    seen = 0
    for size in range(len(data)):
        path = save(data[:size])
        expected = InputError if size < len(SIGNATURE) else CorruptError
        with pytest.raises(expected) as caught:
            Reader(path)
        assert "\n" not in caught.value.message and type(caught.value) is expected
        if not (full or size % 7 == 0 or size in near):
            continue
        count = frames_before(chunks, size)
        if count:
            with Reader(path, partial=True) as reader:
                assert (reader.frames, reader.header.frames) == (count, 20), size
                if count > seen:
                    reader.check_all()
                    seen = count
        else:
            with pytest.raises(expected):
                Reader(path, partial=True)
    with Reader(small[1], partial=True) as reader:
        assert reader.frames == 20 and reader.notes == []


def test_frames_of_every_number_of_packets(small, chunks, save):
    _, encoded, frames = small
    data = encoded.read_bytes()
    ends = [end for _, name, end in chunks if name == "PACK"]
    for number, end in enumerate(ends, 1):
        with VideoReader(save(data[: end + 5]), partial=True) as reader:
            assert len(reader) == 2 * number and same(list(reader), frames[: 2 * number])
            assert same([reader[-1]], frames[2 * number - 1 : 2 * number])


def test_a_download_of_full_size_with_zeros(small, chunks, save):
    """What is missing may be zeros, in the middle of a packet too."""
    data = small[1].read_bytes()
    for _, name, end in chunks:
        if name == "PACK":
            whole = save(data[: end - 9] + bytes(len(data) - end + 9))
            count = frames_before(chunks, end - 1)
            if not count:
                continue
            with Reader(whole, partial=True) as reader:
                assert reader.frames == count


def test_segments(segments, save):
    """A cut within the second segment, of which a part is there or nothing."""
    encoded, frames = segments
    with Reader(encoded) as reader:
        first, second = reader.segments
        cuts = {
            first.packet_offsets[2]: sum(reader.segment(0).sizes[:2]),
            second.segment_offset: 16,
            second.parameters_offset: 16,
            second.packet_offsets[0] + 20: 16,
            reader.size_bytes - 1: 20,
        }
    for size, count in cuts.items():
        with package.open(save(encoded.read_bytes()[:size]), partial=True) as reader:
            assert len(reader) == count and same(list(reader), frames[:count])


def test_command_line(small, chunks, save, call, tmp_path):
    _, encoded, frames = small
    packets = [place for place in chunks if place[1] == "PACK"]
    cut = save(encoded.read_bytes()[: packets[4][2] + 7])
    output = tmp_path / "a.mkv"
    code, _, err = call("decode", cut, "-o", output)
    assert code == 4 and err.count("\n") == 1 and "--partial" in err
    done = innvc("decode", cut, "-o", output, "--partial")
    assert done.returncode == 0 and b"10 of 20 frames are there" in done.stderr
    assert same(read_frames(output), frames[:10])
    assert call("decode", cut, "-o", output, "-y", "--partial", "--frames", "4:11")[0] == 2
    code, _, err = call("decode", encoded, "-o", output, "-y", "--partial")
    assert code == 0 and "cut short" not in err and same(read_frames(output), frames)
    for _, name, end in chunks[:4]:  # HEAD, SEGM, PARM and the first packet: no frame is there
        code, _, err = call("decode", save(encoded.read_bytes()[: end - 1]), "-o", output, "-y",
                            "--partial")  # fmt: skip
        assert code == 4 and len(err.splitlines()) == 1, name
    assert call("decode", save(encoded.read_bytes()[:5]), "-o", output, "-y")[0] == 3
