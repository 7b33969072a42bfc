"""Decoding one picture, beside Cool-Chic's decoder.

    python benchmarks/cool_chic.py CHECKOUT [--python PYTHON] [--lambda L] [--threads N]

CHECKOUT is a clone of github.com/Orange-OpenSource/Cool-Chic, PYTHON one that has its requirements
(torchvision, which decoding does not use, may be missing). What it decodes from its own sample is
encoded with preset `instant`. Each decodes twice in a process; the second time counts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from innvc.bench.provenance import commit, machine

SAMPLE = "samples/bitstreams/kodim14.cool"
PEER = """
import sys, time
from unittest.mock import MagicMock
import torch
torch.set_num_threads({threads})
try:
    import torchvision
except ImportError:
    vision = ".models.vgg", ".models.optical_flow", ".transforms.functional"
    for part in ("", ".models", ".transforms", *vision):
        sys.modules["torchvision" + part] = MagicMock()
from coolchic.bitstream.decode import decode_video
for _ in range(2):
    began = time.perf_counter()
    decode_video({sample!r}, decoded_path={target!r}, verbosity=0)
print(time.perf_counter() - began)
"""
OURS = """
import time
import innvc
import torch
torch.set_num_threads({threads})
for _ in range(2):
    began = time.perf_counter()
    with innvc.open({sample!r}, device="cpu") as reader:
        frames = list(reader)
print(time.perf_counter() - began)
"""


def seconds(python: str, program: str, folder: Path) -> float:
    """What a program prints last."""
    result = subprocess.run(
        [python, "-c", program], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(result.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--lambda", dest="lambda_", default=".03")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture, coded = folder / "picture.png", folder / "picture.innv"
        peer = PEER.format(threads=given.threads, sample=SAMPLE, target=str(picture))
        theirs = seconds(given.python, peer, given.checkout)
        encode = ["encode", str(picture), "-o", str(coded), "--pix-fmt", "yuv444p"]
        options = ["--preset", "instant", "--lambda", given.lambda_, "--quiet"]
        subprocess.run([sys.executable, "-m", "innvc", *encode, *options], check=True)
        ours = seconds(
            sys.executable, OURS.format(threads=given.threads, sample=str(coded)), folder
        )
        import innvc

        with innvc.open(coded) as reader:
            pixels = reader.info.width * reader.info.height
        sizes = (given.checkout / SAMPLE).stat().st_size, coded.stat().st_size
    print(f"- Commit {commit()}, {machine()}; {given.threads} threads\n")
    print("| decoder | bytes | bpp | s | Mpixel/s |")
    print("| --- | --- | --- | --- | --- |")
    for label, size, time in zip(("Cool-Chic", "InnVC"), sizes, (theirs, ours), strict=True):
        bpp, speed = 8 * size / pixels, pixels / time / 1e6
        print(f"| {label} | {size} | {bpp:.3f} | {time:.2f} | {speed:.2f} |")


if __name__ == "__main__":
    main()
