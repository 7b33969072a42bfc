"""Real files small enough to be damaged everywhere."""

from fractions import Fraction

import pytest
from helpers import make_clip, make_frames, write_clip

import innvc
from innvc.bitstream.chunks import PREAMBLE_BYTES, ChunkReader


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A file of some 4 kB, 20 frames: packets of 2, keys every 8 frames. (source, file, frames)"""
    folder = tmp_path_factory.mktemp("small")
    source, encoded = folder / "a.mkv", folder / "a.innv"
    make_clip(source, width=64, height=48, count=20)
    innvc.encode(source, encoded, lambda_=0.02, gop=2, keyint=8, preset="instant")
    with innvc.open(encoded) as reader:
        frames = list(reader)
    return source, encoded, frames


@pytest.fixture(scope="session")
def segments(tmp_path_factory):
    """A file of 20 frames in segments of 16 and 4, with time stamps. (file, frames)"""
    folder = tmp_path_factory.mktemp("segments")
    frames = make_frames(width=16, height=16, count=20)
    for i, frame in enumerate(frames):
        frame.pts = 40 * i + i % 3
    source = write_clip(folder / "a.mkv", frames, time_base=Fraction(1, 1000))
    innvc.encode(source, folder / "a.innv", gop=4, segment=16, lambda_=0.02, preset="instant")
    with innvc.open(folder / "a.innv") as reader:
        return folder / "a.innv", list(reader)


@pytest.fixture(scope="session")
def chunks(small):
    """(offset, id, offset of the next one) of each chunk of the small file."""
    found, position = [], PREAMBLE_BYTES
    with open(small[1], "rb") as file:
        reader = ChunkReader(file)
        while position < reader.size_bytes:
            chunk = reader.head(position)
            found.append((position, chunk.name.decode(), chunk.end))
            position = chunk.end
    return found


@pytest.fixture
def save(tmp_path):
    """Writes bytes to a file of the test's folder and gives its path."""

    def write(data, name="damaged.innv"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write
