"""Files that are wrong in one or two places and signed anew: only our errors come out of them.

The quick set has 5,000 files and decodes 40 % of those that can be read; of those whose header,
segment or parameters changed, which take a model of their own, it decodes 60. `--full` decodes
all of a million, or as many as it can in INNVC_FUZZ_SECONDS from seed INNVC_FUZZ_FROM on.
"""

import copy
import faulthandler
import functools
import os
import random
import time
import types
import zlib

import pytest
from helpers import make_clip
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutation import assemble, chunks, mutate, records

import innvc
from innvc.bitstream import latent
from innvc.bitstream.header import Limits
from innvc.bitstream.statistics import statistics
from innvc.errors import InnvcError, VerificationError
from innvc.reader import VideoReader

CASES = 5_000
MODELS = 60  # built anew in the quick set
SHARE = 0.4  # of the files that can be read, decoded in the quick set
HANG_SECONDS = 120  # of one file, after which the traceback is shown and the process ends
LIMITS = Limits(
    dimension=96, frame_samples=1 << 13, frames=64, parameters=1 << 23, memory_bytes=2 << 30
)
KINDS = {
    "default": ("yuv420p", 2, {"preset": "instant"}),
    "ten bits": ("yuv422p10le", 3, {"preset": "instant", "gop": 1}),
    "rgb": ("gbrp", 1, {"preset": "instant"}),
    "grid": ("gray", 2, {"preset": "compact", "grid_context": True, "intra": False}),
    "residual": ("yuv420p", 1, {"preset": "compact", "residual": True}),
    "nvrc": ("yuv420p", 2, {"preset": "fast", "model": "nvrc"}),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Real files of 16x16 samples, of different models."""
    folder, found = tmp_path_factory.mktemp("fuzz"), {}
    for number, (name, (pix_fmt, count, options)) in enumerate(KINDS.items()):
        clip = make_clip(folder / f"{number}.mkv", pix_fmt, 16, 16, count)
        innvc.encode(clip, folder / "a.innv", steps=1, overwrite=True, **options)
        found[name] = (folder / "a.innv").read_bytes()
        with VideoReader(folder / "a.innv", limits=LIMITS) as video:
            assert len(video[:]) == count
    return found


class Decoders:
    """Decoders of segments by what they are made of: they are the slowest to make."""

    def __init__(self, most):
        self.known, self.left = {}, most

    def open(self, path):
        video = VideoReader(path, limits=LIMITS)
        packets = video._packets
        for name in ("_open_segment", "_open_picture"):
            make = getattr(packets, name)
            setattr(packets, name, functools.partial(self.get, packets._parts, make))
        return video

    def get(self, parts, make, segment):
        key = repr(parts(segment))
        if key not in self.known:
            if self.left == 0:
                raise Enough("No more models are made.")
            self.left -= 1
            while len(self.known) > 40:
                del self.known[next(iter(self.known))]
            self.known[key] = make(segment)
        else:
            self.known[key] = self.known.pop(key)  # used last
        return self.known[key]


class Enough(InnvcError):
    """What is left of a case is left out."""


class Bench:
    """Makes, opens, reads and decodes files; counts how far they came.

    Args:
        originals: Real files.
        path: Where to put the changed ones.
    """

    def __init__(self, originals, path):
        parts = [records(data) for data in originals]
        self.signed, self.any = parts, [_with_zero_checksums(p) for p in parts]
        self.path = path
        self.reached = {"refused": 0, "read": 0, "decoded": 0}

    def run(self, seed, decoders, share=1.0):
        choice = random.Random(seed)
        # Of every other file symbols pass for right: what is made of any symbols is tried, too.
        checked = choice.random() < 0.5
        parts = copy.deepcopy(choice.choice(self.signed if checked else self.any))
        for _ in range(choice.choice((1, 1, 1, 2, 3))):
            if parts:
                mutate(parts, choice)
        self.path.write_bytes(assemble(parts, choice.random() < 0.85))
        crc = zlib.crc32 if checked else lambda data, start=0: 0
        stage = "refused"
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(latent, "zlib", types.SimpleNamespace(crc32=crc))
                statistics(self.path, LIMITS)
                stage = "read"
                if choice.random() > share:
                    raise Enough("No more files are decoded.")
                with decoders.open(self.path) as video:
                    for index in range(min(len(video), 4)):
                        for plane in video[index].planes:
                            assert plane.size
                stage = "decoded"
        except VerificationError:
            stage = "decoded"
        except InnvcError:
            pass
        finally:
            faulthandler.cancel_dump_traceback_later()
        self.reached[stage] += 1


@pytest.fixture
def bench(originals, tmp_path):
    return Bench(originals.values(), tmp_path / "a.innv")


def _with_zero_checksums(parts):
    parts = copy.deepcopy(parts)
    for name, record in parts:
        if name == b"PACK":
            record[1] = [0] * len(record[1])
    return parts


def test_files_survive_being_taken_apart(originals):
    """The tool changes nothing by itself, or all that follows would be refused at once."""
    for data in originals.values():
        assert assemble(records(data)) == data
        assert assemble(chunks(data)) == data


def test_quick(bench):
    run, reached = bench.run, bench.reached
    decoders = Decoders(MODELS)

    @settings(
        max_examples=CASES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64 - 1))
    def one(seed):
        run(seed, decoders, SHARE)

    one()
    print(reached)
    assert sum(reached.values()) >= CASES * 0.99 and min(reached.values()) > CASES // 50
    assert decoders.left < MODELS  # they were asked


def test_full(bench, full):
    if not full:
        pytest.skip("--full")
    run, reached = bench.run, bench.reached
    decoders = Decoders(-1)
    ends = time.monotonic() + float(os.environ.get("INNVC_FUZZ_SECONDS", 86_400))
    first = int(os.environ.get("INNVC_FUZZ_FROM", 0))
    for seed in range(first, 1_000_000):
        try:
            run(seed, decoders)
        except BaseException:
            print("seed", seed, reached)
            raise
        if time.monotonic() > ends:
            break
    print(f"seeds {first} to {seed}: {reached}")
    assert min(reached.values()) > (seed - first) // 100
