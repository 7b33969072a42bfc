"""Encodes a bundled clip, decodes it, and shows the result beside x265 at the nearest quality.

python benchmarks/demo.py [CLIP] [--lambda 1] [--time 90s] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from innvc.bench import pyav
from innvc.bench.clips import read_frames
from innvc.bench.command import CommandFailed, innvc
from innvc.bench.peers import PEERS, Peer
from innvc.bench.planes import Planes
from innvc.bench.provenance import machine
from innvc.metrics import Quality, QualityMeter
from innvc.video.formats import Frame, VideoInfo

CLIP = Path(__file__).resolve().parent.parent / "tests/data/bunny_cif.mkv"


def quality(info: VideoInfo, frames: list[Frame], decoded: list[Planes], msssim: bool) -> Quality:
    meter = QualityMeter(info.format, msssim)
    for frame, planes in zip(frames, decoded, strict=True):
        meter.update(frame.planes, planes)
    return meter.result()


def nearest(peer: Peer, info: VideoInfo, frames: list[Frame], db: float) -> list[Any]:
    """The encode of a peer whose PSNR 6:1:1 is nearest, by halving the range of CRF; a row."""
    low, high = 0.0, 51.0
    tried = []
    while high - low > 0.4:
        middle = round((low + high) / 2, 2)
        coded = pyav.code(peer, info, frames, middle)
        found = quality(info, frames, coded.frames, msssim=False).psnr_611
        tried.append((abs(found - db), middle, coded))
        low, high = (middle, high) if found > db else (low, middle)
    _, crf, coded = min(tried, key=lambda item: item[0])
    measured = quality(info, frames, coded.frames, msssim=True)
    title = f"{peer.name} ({peer.options['preset']}, CRF {crf:g})"
    return [title, coded.bytes, measured, f"{coded.encode_seconds:.1f}"]


def ours(
    clip: Path, info: VideoInfo, frames: list[Frame], arguments: Any, folder: Path
) -> list[Any]:
    """Runs the commands and measures what they wrote; a row."""
    file, decoded = folder / "demo.innv", folder / "demo.y4m"
    options = ["--lambda", f"{arguments.lambda_:g}", "--preset", arguments.preset]
    options += ["--time", arguments.time, "--overwrite", "--json"]
    encode = innvc("encode", clip, "-o", file, *options, silent=False)
    decode = innvc("decode", file, "-o", decoded, "--overwrite", silent=False)
    innvc("info", file, silent=False)
    copy = [frame.planes for frame in read_frames(decoded)[1]]
    measured = quality(info, frames, copy, msssim=True)
    seconds = f"{encode.seconds:.0f} + {decode.seconds:.1f}"
    return ["InnVC", file.stat().st_size, measured, seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", nargs="?", type=Path, default=CLIP)
    parser.add_argument("--lambda", dest="lambda_", type=float, default=1.0)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--time", default="90s", help="longest fit")
    parser.add_argument("--keep", type=Path, help="folder for the files; else they are deleted")
    arguments = parser.parse_args()
    clip = arguments.clip.resolve()
    info, frames = read_frames(clip)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            rows = [ours(clip, info, frames, arguments, folder.resolve())]
        except CommandFailed as error:
            raise SystemExit(error.exit_code) from error
    for name in ("x265-intra", "x265-ra"):
        rows.append(nearest(PEERS[name], info, frames, rows[0][2].psnr_611))
    title = f"{clip.name}: {len(frames)} frames of {info.width}x{info.height} {info.format.name}"
    table = Table(title=title, caption=f"Same clip, nearest PSNR 6:1:1. {machine()}")
    for column in ("codec", "bytes", "bpp", "PSNR-Y", "PSNR 6:1:1", "MS-SSIM", "s"):
        table.add_column(column, justify="left" if column == "codec" else "right")
    for name, size, measured, seconds in rows:
        rate = 8 * size / (len(frames) * info.width * info.height)
        decibels = (f"{measured.psnr_y:.2f}", f"{measured.psnr_611:.2f}")
        similarity = "" if measured.msssim_y is None else f"{measured.msssim_y:.5f}"
        table.add_row(name, f"{size:,}", f"{rate:.4f}", *decibels, similarity, seconds)
    Console().print(table)


if __name__ == "__main__":
    main()
