"""Speed of the fit: steps a second, frame-steps a second, memory, and what a step is spent on.

    python benchmarks/fit.py CLIP [--frames N] [--preset P] [--lambda L] [--steps N]
        [--device D] [--threads N] [--profile ROWS]

A frame-step is a step's work on as many samples as a frame has. The first quarter of the steps is
not counted. Losses at a few steps say whether two versions do the same.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

from innvc.process import prepare_threads

prepare_threads()  # before NumPy and torch are imported
# ruff: noqa: E402

import torch
from torch.profiler import ProfilerActivity, profile

import innvc
from innvc.bench.provenance import commit, machine
from innvc.device import limit_threads, select
from innvc.fit.loop import Progress
from innvc.progress import EncodeProgress

PROFILED = 4  # steps


class Enough(Exception):
    """The fit has gone far enough."""


class Watch:
    """Follows a fit, and ends it."""

    def __init__(self, steps: int, rows: int) -> None:
        self.steps, self.rows = steps, rows
        self.seen: list[Progress] = []
        self.profiler: profile | None = None
        self.table = ""

    def __call__(self, progress: EncodeProgress) -> None:
        if progress.fit is None:
            return
        self.seen.append(progress.fit)
        step = progress.fit.step
        if self.rows and step == self.steps - PROFILED:
            kinds = [ProfilerActivity.CPU]
            kinds += [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self.profiler = profile(activities=kinds)
            self.profiler.start()
        if step >= self.steps:
            if self.profiler is not None:
                self.profiler.stop()
                kind = "cuda" if torch.cuda.is_available() else "cpu"
                self.table = self.profiler.key_averages().table(
                    f"self_{kind}_time_total", self.rows, max_name_column_width=70
                )
            raise Enough

    def rate(self) -> float:
        """Steps a second, without the beginning and what is profiled."""
        first = self.seen[len(self.seen) // 4]
        last = self.seen[-1 - PROFILED if self.rows else -1]
        return (last.step - first.step) / (last.elapsed - first.elapsed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--lambda", dest="lambda_", type=float, default=0.12)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--profile", type=int, default=0, metavar="ROWS")
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    watch = Watch(arguments.steps, arguments.profile)
    with tempfile.TemporaryDirectory() as folder:
        try:
            innvc.encode(
                arguments.clip,
                Path(folder) / "a.innv",
                lambda_=arguments.lambda_,
                preset=arguments.preset,
                frames=(0, arguments.frames),
                device=arguments.device,
                threads=arguments.threads,
                progress=watch,
            )
        except Enough:
            pass
    print(f"commit {commit()}, {machine()}")
    what = f"{arguments.frames} frames, {arguments.preset}, lambda {arguments.lambda_:g}"
    print(f"{arguments.clip.name}, {what}:")
    print(f"{watch.rate():.3f} steps/s, first step {watch.seen[0].elapsed:.2f} s")
    for place in range(0, len(watch.seen), max(1, len(watch.seen) // 6)):
        p = watch.seen[place]
        print(f"step {p.step}: loss {p.loss:.5f}, bpp {p.bpp:.5f}, {p.psnr_db:.4f} dB")
    if select(arguments.device).type == "cuda":
        print(f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the GPU")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB of memory")
    print(watch.table)


if __name__ == "__main__":
    main()
