"""Where the time goes: stages of encoding and decoding, beside what the machine can do.

    python benchmarks/speed.py [FILE]... [--frames A:B] [--lambda L] [--threads N]

Prints a Markdown table for each clip (docs/performance.md). Seconds are of one run on one machine;
compare shares, and ratios to the rows "machine" of the same run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from innvc.process import prepare_threads

prepare_threads()  # before NumPy and torch are imported
# ruff: noqa: E402

import constriction
import numpy as np
import torch

from innvc import passes
from innvc.api import decode, encode
from innvc.bitstream import dependent, intra, motion, table_coder
from innvc.bitstream.adaptive import AdaptiveTables
from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.dependent import SymbolCoder
from innvc.bitstream.latent import WEIGHT
from innvc.bitstream.prior import FramePrior
from innvc.bitstream.tables import LEVELS
from innvc.decoder import SegmentDecoder
from innvc.device import limit_threads
from innvc.fit import filter_gains, motion_search
from innvc.model.model import InnvcModel
from innvc.model.motion import MotionLifting
from innvc.model.post_filter import FrameFilter
from innvc.model.temporal_filter import TemporalFilter
from innvc.model.warp import PredictionErrors
from innvc.packet_encoder import PacketEncoder

DATA = Path(__file__).parent.parent / "tests/data"
SYMBOLS = "- symbols of details", "- other symbols"
# Stages overlap where one is a part of the one above it (indented).
ENCODING = {
    "motion search": (motion_search.LevelMatcher, "search"),
    "- errors of predictions": (PredictionErrors, "__call__"),
    "packets": (PacketEncoder, "code"),
    "- intra coding": (intra.ExactIntra, "code"),
    "- symbols of details": (dependent, "code_paths"),
    "- other symbols": (table_coder, "code"),
    "- post-filter gains": (filter_gains, "choose"),
    "- temporal filter gains": (filter_gains, "choose_in_time"),
    "decoding and measuring": (passes, "measure"),
}
DECODING = {
    "symbols": (SegmentDecoder, "symbols"),
    "- intra coding": (intra.ExactIntra, "code"),
    "- latent prior": (FramePrior, "begin"),
    "- symbols of details": (dependent, "code_paths"),
    "- other symbols": (table_coder, "code"),
    "pictures": (SegmentDecoder, "synthesis"),
    "- inverse transform": (InnvcModel, "synthesis"),
    "- prediction": (MotionLifting, "predict_frame"),
    "- update": (MotionLifting, "update_frame"),
    "- post-filter": (FrameFilter, "apply"),
    "- temporal filter": (TemporalFilter, "correction"),
    "motion": (motion, "decode"),
}


class Clock:
    """Seconds and symbols of calls, while they are watched."""

    def __init__(self, stages: dict[str, tuple[object, str]]) -> None:
        self.seconds = dict.fromkeys(stages, 0.0)
        self.symbols = 0
        self._stages = stages
        self._kept: list[tuple[object, str, object]] = []

    def _watched(self, stage: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            began = time.perf_counter()
            result = function(*arguments, **options)
            if hasattr(result, "__next__"):  # of a generator all items count
                result = iter(list(result))
            self.seconds[stage] += time.perf_counter() - began
            if stage in SYMBOLS:
                self.symbols += arguments[-2 if function.__name__ == "code_paths" else -1].size
            return result

        return call

    def __enter__(self) -> Clock:
        for stage, (owner, name) in self._stages.items():
            function = getattr(owner, name)
            self._kept.append((owner, name, function))
            setattr(owner, name, self._watched(stage, function))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, function in self._kept:
            setattr(owner, name, function)


def seconds_of(function: Callable[[], object], repeats: int = 3) -> float:
    """The least time of some runs."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def machine() -> list[tuple[str, str]]:
    """What this machine does at this moment."""
    a = torch.randn(1024, 1024, dtype=torch.float64)
    b = torch.randn(32 << 20)
    target = torch.empty_like(b)
    product = 2 * 1024**3 / seconds_of(lambda: a @ a) / 1e9
    copy = 2 * b.numel() * 4 / seconds_of(lambda: target.copy_(b)) / 1e9
    rng = np.random.default_rng(0)
    symbols = rng.normal(0, 3, 200_000).round().clip(-100, 100).astype(np.int32)
    deviations = rng.uniform(2, 4, len(symbols))
    means = np.zeros(len(symbols))
    model = constriction.stream.model.QuantizedGaussian(-100, 100)
    stream = constriction.stream.queue

    def coded() -> np.ndarray:
        encoder = stream.RangeEncoder()
        encoder.encode(symbols, model, means, deviations)
        return encoder.get_compressed()

    words = coded()
    coding = len(symbols) / seconds_of(coded) / 1e6
    decoding = len(symbols) / 1e6
    decoding /= seconds_of(lambda: stream.RangeDecoder(words).decode(model, means, deviations))
    return [
        ("machine: product of float64 matrices", f"{product:.0f} GFLOP/s"),
        ("machine: copy", f"{copy:.1f} GB/s"),
        ("machine: one Gaussian a symbol, coding", f"{coding:.1f} M symbols/s"),
        ("machine: one Gaussian a symbol, decoding", f"{decoding:.1f} M symbols/s"),
    ]


def start_up(file: Path) -> list[tuple[str, str]]:
    rows = []
    for words in (["--help"], ["info", str(file)]):
        command = [sys.executable, "-m", "innvc", *words]
        spent = seconds_of(lambda c=command: subprocess.run(c, check=True, capture_output=True))
        rows.append((f"start-up: innvc {words[0]}", f"{spent:.2f} s"))
    return rows


def rows_of(clock: Clock, whole: float, frames: int) -> list[tuple[str, str]]:
    rows = [("whole", f"{whole:.2f} s, {frames / whole:.2f} frames/s")]
    for stage, spent in clock.seconds.items():
        rows.append((stage, f"{spent:.2f} s, {spent / whole:.0%}"))
    coder = sum(spent for stage, spent in clock.seconds.items() if stage in SYMBOLS)
    rate = clock.symbols / max(coder, 1e-9) / 1e6
    return [*rows, ("symbols", f"{clock.symbols / 1e6:.2f} M, {rate:.1f} M/s in the coder")]


def coder_alone(file: Path, target: Path, options: dict[str, object]) -> list[tuple[str, str]]:
    """Coding and decoding the symbols of a file's details, one call for each 1000."""
    keys, symbols = [], []
    code = SymbolCoder.code

    def watched(self, coder, states, rows, places, scale, wanted, adaptive):  # type: ignore
        before = states.copy()
        found = code(self, coder, states, rows, places, scale, wanted, adaptive)
        planes = np.full(len(scale), -1) if self.planes is None else self.planes[rows]
        for plane, indexes, own in zip(planes, scale[:, places], found[0], strict=True):
            if plane >= 0:
                indexes = indexes + LEVELS * (1 + (before[plane, places] & 1))
                before[plane, places] = self.following[before[plane, places], own & 1]
            keys.append(indexes)
            symbols.append(own)
        return found

    SymbolCoder.code = watched
    decode(file, target, **options)
    SymbolCoder.code = code
    both = [np.concatenate(part) for part in (keys, symbols)]
    cuts = np.arange(1000, len(both[0]), 1000)
    calls = list(zip(*(np.split(part, cuts) for part in both), strict=True))

    def coded() -> bytes:
        encoder, tables = Encoder(), AdaptiveTables(WEIGHT)
        for own, values in calls:
            encoder.code(own, values, tables)
        return encoder.finish()

    data = coded()

    def decoded() -> None:
        decoder, tables = Decoder(data), AdaptiveTables(WEIGHT)
        for own, _ in calls:
            decoder.code(own, None, tables)

    return [
        (f"coder alone: {name}", f"{len(both[0]) / seconds_of(function) / 1e6:.1f} M symbols/s")
        for name, function in (("coding", coded), ("decoding", decoded))
    ]


def measure(path: Path, options: argparse.Namespace, folder: Path) -> list[tuple[str, str]]:
    file, frames = folder / "speed.innv", tuple(map(int, options.frames.split(":")))
    common = {"device": "cpu", "threads": options.threads, "overwrite": True}
    encode(path, file, preset="instant", frames=(frames[0], frames[0] + 2), **common)  # compiles
    decode(file, folder / "speed.yuv", **common)
    with Clock(ENCODING) as clock:
        began = time.perf_counter()
        found = encode(
            path, file, preset="instant", lambda_=options.lambda_, frames=frames, **common
        )
        spent = time.perf_counter() - began
    rows = [(f"encoding: {name}", text) for name, text in rows_of(clock, spent, found.frames)]
    with Clock(DECODING) as clock:
        began = time.perf_counter()
        decode(file, folder / "speed.yuv", **common)
        spent = time.perf_counter() - began
    rows += [(f"decoding: {name}", text) for name, text in rows_of(clock, spent, found.frames)]
    return [*rows, *coder_alone(file, folder / "speed.yuv", common), *start_up(file)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path, default=[DATA / "street_cif.mkv"])
    parser.add_argument("--frames", default="0:6", help="A:B")
    parser.add_argument("--lambda", dest="lambda_", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    limit_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        for path in options.clips:
            print(f"{path.stem}, frames {options.frames}, lambda {options.lambda_}, ", end="")
            print(f"threads {options.threads or torch.get_num_threads()}\n")
            print("| stage | |\n| --- | --- |")
            for name, text in [*machine(), *measure(path, options, Path(folder))]:
                print(f"| {name} | {text} |")


if __name__ == "__main__":
    main()
