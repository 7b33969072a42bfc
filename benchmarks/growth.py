"""Seconds and memory of encoding and decoding against frames and pixels.

    python benchmarks/growth.py CLIP [-o FOLDER] [--frames 16,32,64,128] [--widths 88,176,352,704]

Frames of the clip, forth and back again and scaled, are encoded with preset `instant` and decoded
by the command line. Prints a Markdown table and writes growth.png to FOLDER (docs/performance.md).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import chain, cycle, islice
from pathlib import Path
from typing import NamedTuple

import av
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from innvc.bench.provenance import commit, machine


class Run(NamedTuple):
    """What a case took: seconds, and MiB at the most."""

    width: int
    height: int
    frames: int
    encode: tuple[float, float]
    decode: tuple[float, float]
    bytes: int


def stream(clip: str, width: int, frames: int, target: Path) -> int:
    """Writes frames as raw 4:2:0, and returns their height."""
    with av.open(clip) as container:
        pictures = list(islice(container.decode(video=0), frames))
    height = round(width * pictures[0].height / pictures[0].width / 2) * 2
    found = [p.reformat(width, height, "yuv420p").to_ndarray().tobytes() for p in pictures]
    there_and_back = chain(found, found[-2:0:-1])
    with target.open("wb") as file:
        file.writelines(islice(cycle(there_and_back), frames))
    return height


def measured(*arguments: str) -> tuple[float, float]:
    """Seconds and peak MiB of a command."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "innvc", *arguments, "--quiet"])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{arguments[0]} ended with {process.returncode}.")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def run(clip: str, width: int, frames: int, threads: str) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        raw, coded = Path(folder) / "in.yuv", Path(folder) / "out.innv"
        height = stream(clip, width, frames, raw)
        layout = "--size", f"{width}x{height}", "--pix-fmt", "yuv420p", "--fps", "30"
        common = "--device", "cpu", "--threads", threads
        options = "--preset", "instant", "--lambda", ".1", *layout, *common
        encode = measured("encode", str(raw), "-o", str(coded), *options)
        raw.unlink()
        decode = measured("decode", str(coded), "-o", str(raw), *common)
        return Run(width, height, frames, encode, decode, coded.stat().st_size)


def draw(runs: list[list[Run]], target: Path) -> None:
    """Seconds and memory, against frames and against pixels."""
    figure = Figure((9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (number, unit) in enumerate((("seconds", "s"), ("peak memory", "MiB"))):
        for column, label in enumerate(("frames", "thousand pixels of a frame")):
            axes = figure.add_subplot(2, 2, 2 * row + column + 1)
            places = [r.width * r.height / 1000 if column else r.frames for r in runs[column]]
            for name, values in (
                ("encode", [r.encode[row] for r in runs[column]]),
                ("decode", [r.decode[row] for r in runs[column]]),
            ):
                axes.plot(places, values, "o-", label=name)
            axes.set(xlabel=label, ylabel=f"{number} ({unit})", xlim=(0, None), ylim=(0, None))
            axes.grid(alpha=0.3)
            axes.legend()
    figure.savefig(target, dpi=100, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clip")
    parser.add_argument("-o", "--output", type=Path, default=Path())
    parser.add_argument("--frames", default="16,32,64,128", help="of frames 176 samples wide")
    parser.add_argument("--widths", default="88,176,352,704", help="of 16 frames")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--long", type=int, metavar="N", help="N frames 64 samples wide alone")
    given = parser.parse_args()
    print(f"- Commit {commit()}, {machine()}; {given.threads} threads\n")
    print("| size | frames | bytes | encode s | MiB | decode s | MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")

    def row(width: int, frames: int) -> Run:
        r = run(given.clip, width, frames, given.threads)
        numbers = [f"{n:.{1 - k}f}" for part in (r.encode, r.decode) for k, n in enumerate(part)]
        size = f"{r.width}x{r.height}"
        print("|", " | ".join([size, str(r.frames), str(r.bytes), *numbers]), "|", flush=True)
        return r

    if given.long:
        row(64, given.long)
        return
    by_frames = [row(176, int(n)) for n in given.frames.split(",")]
    by_pixels = [row(int(n), 16) for n in given.widths.split(",")]
    draw([by_frames, by_pixels], given.output / "growth.png")


if __name__ == "__main__":
    main()
