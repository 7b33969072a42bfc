"""Seconds of an encode by one process after another and by several side by side.

    python benchmarks/workers.py CLIP [--frames 64] [--segment 16] [--workers 1,2] [-p PRESET]

The frames are those of `growth.py`. Prints a Markdown table; files that differ are an error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from growth import measured, stream

from innvc.bench.provenance import commit, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--width", type=int, default=352)
    parser.add_argument("--segment", default="16")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("-p", "--preset", default="fast")
    asked = parser.parse_args()
    print(f"{machine()}, commit {commit()}, preset {asked.preset}\n")
    print("| workers | size | frames | segment | encode s | bytes |")
    print("|" + " --- |" * 6)
    with tempfile.TemporaryDirectory() as folder:
        raw, files = Path(folder) / "in.yuv", set[bytes]()
        height = stream(asked.clip, asked.width, asked.frames, raw)
        size = f"{asked.width}x{height}"
        for workers in asked.workers.split(","):
            coded = Path(folder) / f"{workers}.innv"
            layout = "--size", size, "--pix-fmt", "yuv420p", "--fps", "30"
            options = "--preset", asked.preset, "--segment", asked.segment, "--workers", workers
            seconds, _ = measured("encode", str(raw), "-o", str(coded), *layout, *options)
            files.add(coded.read_bytes())
            bytes_ = coded.stat().st_size
            cells = workers, size, asked.frames, asked.segment, f"{seconds:.1f}", bytes_
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    if len(files) > 1:
        sys.exit("The files differ.")


if __name__ == "__main__":
    main()
