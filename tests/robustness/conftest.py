"""Real files small enough to be damaged everywhere."""

import pytest
from helpers import make_clip

import innvc
from innvc.bitstream.chunks import PREAMBLE_BYTES, ChunkReader


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A file of some 4 kB, 20 frames: packets of 2, keys every 8 frames. (source, file, frames)"""
    folder = tmp_path_factory.mktemp("small")
    source, encoded = make_clip(folder / "a.mkv", count=20), folder / "a.innv"
    innvc.encode(source, encoded, lambda_=0.02, gop=2, keyint=8, preset="instant")
    with innvc.open(encoded) as reader:
        frames = list(reader)
    return source, encoded, frames


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
