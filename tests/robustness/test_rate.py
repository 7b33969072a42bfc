"""Rates are honest: what is printed is the file's size, which is what the probabilities ask for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import innvc

from innvc.bitstream.reader import Reader

VECTORS = Path(__file__).parents[1] / "vectors"
FILES = sorted(VECTORS.glob("*.innv"))
PROGRAM = Path(__file__).with_name("ideal_rate.py")


def bits_per_sample(path):
    """8 x file size / plane-0 samples of all frames."""
    with Reader(path) as reader:
        header = reader.header
        frames = sum(sum(reader.segment(i).sizes) for i in range(len(reader.segments)))
    return 8 * os.path.getsize(path) / (header.width * header.height * frames)


def check(files):
    """Strings take what their symbols' probabilities ask for: 0.5 % and one byte of each."""
    done = subprocess.run(
        [sys.executable, PROGRAM, *files],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(files)
    for path, row in zip(files, rows, strict=True):
        ideal = row["bits"] / 8
        assert row["symbols"] > row["strings"] > 0
        assert abs(row["bytes"] - ideal) <= 0.005 * ideal + row["strings"], (path.name, row)
    return rows


def test_strings_take_what_probabilities_ask_for(full):
    rows = check(FILES if full else FILES[::8])
    total = {key: sum(row[key] for row in rows) for key in rows[0]}
    print(total)
    assert abs(8 * total["bytes"] / total["bits"] - 1) < 0.01  # all strings' ends included


def test_a_larger_file(clip):
    """Where strings are long their ends do not hide anything."""
    row = check([clip[1]])[0]
    assert abs(8 * row["bytes"] / row["bits"] - 1) < 0.005


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_info_tells_the_size(path, call):
    code, out, err = call("info", path, "--json")
    assert code == 0, err
    assert json.loads(out)["file"]["bpp"] == bits_per_sample(path)


def test_encode_tells_the_size(tmp_path, full):
    """By JSON and by the line for people, for the files that the vectors are made of."""
    sys.path.insert(0, str(VECTORS))
    from make import jobs, make

    every = list(jobs())
    for job in every if full else every[1::20]:
        path, said = make(job, tmp_path, tmp_path)
        assert said.to_json()["bpp"] == said.bpp == bits_per_sample(path)
        assert said.to_json()["bytes"] == said.bytes == path.stat().st_size


def test_the_line_for_people(clip, tmp_path):
    target = tmp_path / "a.innv"
    done = innvc("encode", clip[0], "-o", target, "--preset", "instant", "--frames", "0:2")
    said = done.stderr.decode().splitlines()[-1]
    assert f"{target.stat().st_size} bytes, {bits_per_sample(target):.4f} bpp," in said
