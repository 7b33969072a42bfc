"""Golden files decode to the symbols and samples of their encoder, whatever computes them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from innvc.bitstream.chunks import VERSION
from innvc.bitstream.cut import cut_file
from innvc.bitstream.header import PIX_FMTS
from innvc.bitstream.reader import Reader
from innvc.reader import VideoReader

FOLDER = Path(__file__).parents[1] / "vectors"
FILES = sorted(FOLDER.glob("*.innv"))
EARLIER = sorted((FOLDER / "earlier").glob("*.innv"))  # named by their minor versions

# How torch, oneDNN and MKL may compute. Each is a process: they read it when they are loaded.
SETTINGS = {
    "plain": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "oneDNN SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "oneDNN AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "ATen default": {"ATEN_CPU_CAPABILITY": "default"},
    "ATen avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "ATen avx512": {"ATEN_CPU_CAPABILITY": "avx512"},
    "MKL compatible": {"MKL_CBWR": "COMPATIBLE"},
    "MKL SSE4.2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "MKL_CBWR": "SSE4_2"},
    "OpenBLAS Nehalem": {"OPENBLAS_CORETYPE": "NEHALEM"},
    "compiled for any x86-64": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}
QUICK = ("plain", "two threads")

# Decoding checks the symbols' checksums itself. In float32 samples may differ a little.
CHECK = """
import json, sys, types, zlib
import numpy as np
from innvc.bitstream import latent
from innvc.reader import VideoReader
from innvc.samples import SamplesCrc
wrong, off, differ, count, symbols = [], 0, 0, 0, 0
def crc32(data, *start):
    global symbols
    symbols += len(data) // 4  # but for the flags of skipped positions
    return zlib.crc32(data, *start)
latent.zlib = types.SimpleNamespace(crc32=crc32)
for path in sys.argv[2:]:
    try:
        with VideoReader(path, exact=True) as exact:
            samples = SamplesCrc(exact.segments)
            for frame in exact:
                samples.add(frame)
            if samples.values != [entry.samples_crc for entry in exact.segments]:
                wrong.append(path + ": samples")
            if sys.argv[1] == "float32":
                with VideoReader(path) as video:
                    for a, b in zip(exact, video, strict=True):
                        for p, q in zip(a.planes, b.planes, strict=True):
                            error = np.abs(p.astype(int) - q)
                            off = max(off, int(error.max()))
                            differ += int((error > 0).sum())
                            count += error.size
    except Exception as error:
        wrong.append(f"{path}: {error!r}")
print(json.dumps(
    {"wrong": wrong, "off": off, "differ": differ, "count": count, "symbols": symbols}
))
"""


def decode(name, files, kind="float64"):
    if "avx512" in name and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this CPU has no AVX-512")
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, kind, *map(str, files)],
        env={**os.environ, **threads, **SETTINGS[name]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["wrong"], found
    return found


def test_the_manifest():
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    assert manifest == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in FILES}
    assert len(FILES) >= 40


def test_vectors_cover_what_they_should():
    headers, sizes, lengths = [], set(), set()
    for path in FILES:
        with Reader(path) as reader:
            assert reader.version == VERSION
            headers.append(reader.header)
            sizes.add((reader.header.width, reader.header.height))
            lengths.update(
                size for i in range(len(reader.segments)) for size in reader.segment(i).sizes
            )
    models = [header.model for header in headers]
    assert {header.pix_fmt for header in headers} == set(PIX_FMTS)
    assert lengths == set(range(1, 33))
    assert sizes >= {(1, 1), (17, 9), (8, 96), (112, 6)}
    assert {header.preset for header in headers} >= {"instant", "fast", "compact", "slow", "paper"}
    assert {model.field_role for model in models} == {"modulation", "residual", "picture"}
    switches = (
        "motion",
        "prediction",
        "step_offsets",
        "dependent",
        "post_filter",
        "temporal_filter",
        "own_filter",
        "mixed_flags",
    )
    for switch in switches:
        assert {getattr(model, switch) for model in models} == {True, False}
    for switch in ("energy", "temporal", "grid", "directions", "skip"):
        assert any(getattr(model.prior, switch) for model in models)
    assert {any(model.prior.intra) for model in models} == {True, False}
    assert {model.prior.scale_units > 0 for model in models} == {True, False}
    assert {model.trellis_states for model in models} == {8, 16, 32, 64, 128, 256}
    assert any(b"strm" in path.read_bytes() for path in FILES)


@pytest.mark.parametrize("name", SETTINGS)
def test_symbols_and_samples(name, full):
    if name not in QUICK and not full:
        pytest.skip("full set")
    files = FILES if name == QUICK[0] else FILES[::3]
    if full:
        files = FILES + os.environ.get("INNVC_VECTORS", "").split()
    print(name, decode(name, files))


def test_earlier_versions(tmp_path):
    cut = []
    for path in EARLIER:
        with Reader(path) as reader, (tmp_path / path.name).open("wb") as target:
            assert path.stem == "{}.{}".format(*reader.version) and reader.version < VERSION
            cut_file(reader, target, 2)
        cut.append(tmp_path / path.name)
        with VideoReader(path, exact=True, layers=2) as a, VideoReader(cut[-1], exact=True) as b:
            for one, two in zip(a, b, strict=True):
                assert all(map(np.array_equal, one.planes, two.planes))
    assert len(cut) >= 4
    decode("plain", EARLIER)


@pytest.mark.parametrize("name", SETTINGS)
def test_samples_of_float32(name, full):
    """By at most one code value, in at most one of a thousand, from those of --exact."""
    if name != QUICK[0] and not full:
        pytest.skip("full set")
    found = decode(name, FILES if full else FILES[::8], "float32")
    print(name, found)
    assert found["count"] > 1000 and found["off"] <= 1
    assert found["differ"] <= found["count"] / 1000
