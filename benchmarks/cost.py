"""Time and memory of encoding and decoding one clip.

python benchmarks/cost.py clip.mkv --frames 0:24 --presets instant fast
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import peers
from command import Run, commit, innvc, machine


def line(what: str, run: Run, frames: int) -> str:
    cells = [f"{run.seconds:.1f}", f"{run.cpu_seconds:.1f}", f"{run.peak_bytes / 2**20:.0f}"]
    return f"| {what} | {' | '.join(cells)} | {frames / run.seconds:.3g} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=peers.frame_range, default=(0, 24), metavar="A:B")
    parser.add_argument("--presets", nargs="+", default=["instant", "fast"])
    parser.add_argument("--lambda", dest="lambda_", type=float, default=1.0)
    arguments = parser.parse_args()
    clip = arguments.clip.resolve()
    info, frames = peers.read_frames(str(clip), *arguments.frames)
    first, count = arguments.frames[0], len(frames)
    size = f"{info.width}x{info.height} {info.format.name}"
    print(f"{clip.stem}, {count} frames of {size}, lambda {arguments.lambda_:g}, commit {commit()}")
    print(f"{machine()}\n")
    print("| command | wall s | user CPU s | peak MiB | frames/s |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.innv")
        decoded = Path(folder, "clip.mkv" if info.format.family == "rgb" else "clip.y4m")
        options = ["--frames", f"{first}:{first + count}", "--lambda", f"{arguments.lambda_:g}"]
        for preset in arguments.presets:
            options_here = [*options, "--preset", preset, "--overwrite"]
            run = innvc("encode", clip, "-o", file, *options_here)
            print(line(f"encode --preset {preset}", run, count), flush=True)
            run = innvc("decode", file, "-o", decoded, "--overwrite")
            print(line(f"decode (of {preset})", run, count), flush=True)


if __name__ == "__main__":
    main()
