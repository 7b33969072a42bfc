"""Encodes a bundled clip, decodes it, and shows the result beside x265 at the nearest quality.

python benchmarks/demo.py [CLIP] [--lambda 1] [--time 90s] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import peers
from command import ROOT, innvc, machine
from rich.console import Console
from rich.table import Table

from innvc.metrics import QualityMeter
from innvc.video.formats import Frame, VideoInfo


def nearest(peer: peers.Peer, info: VideoInfo, frames: list[Frame], db: float) -> peers.PeerResult:
    """The encode of a peer whose PSNR 6:1:1 is nearest, by halving the range of CRF."""
    low, high = 0.0, 51.0
    tried = []
    while high - low > 0.4:
        middle = round((low + high) / 2, 2)
        result = peers.measure(peer, info, frames, middle, msssim=True)
        tried.append(result)
        above = result.psnr_611 is None or result.psnr_611 > db
        low, high = (middle, high) if above else (low, middle)
    return min(tried, key=lambda r: abs((r.psnr_611 or 1e3) - db))


def ours(clip: Path, info: VideoInfo, frames: list[Frame], arguments: Any, folder: Path) -> list:
    """Runs the commands and measures what they wrote; a row of the table."""
    file, decoded = folder / "demo.innv", folder / "demo.y4m"
    options = ["--lambda", f"{arguments.lambda_:g}", "--preset", arguments.preset]
    encode = innvc(
        "encode", clip, "-o", file, *options, "--time", arguments.time, "--overwrite", "--json"
    )
    decode = innvc("decode", file, "-o", decoded, "--overwrite")
    innvc("info", file)
    meter = QualityMeter(info.format, msssim=True)
    for a, b in zip(frames, peers.read_frames(str(decoded))[1], strict=True):
        meter.update(a.planes, b.planes)
    quality = meter.result()
    size = file.stat().st_size
    rate = 8 * size / (len(frames) * info.width * info.height)
    return ["InnVC", size, rate, quality, f"{encode.seconds:.0f} + {decode.seconds:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", nargs="?", type=Path, default=ROOT / "tests/data/bunny_cif.mkv")
    parser.add_argument("--lambda", dest="lambda_", type=float, default=1.0)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--time", default="90s", help="longest fit")
    parser.add_argument("--keep", type=Path, help="folder for the files; else they are deleted")
    arguments = parser.parse_args()
    clip = arguments.clip.resolve()
    info, frames = peers.read_frames(str(clip))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [ours(clip, info, frames, arguments, folder.resolve())]
    for peer in peers.PEERS.values():
        result = nearest(peer, info, frames, rows[0][3].psnr_611)
        name = f"{peer.name} ({peer.preset}, CRF {result.quality:g})"
        rows.append([name, result.bytes, result.bpp, result, f"{result.seconds:.1f}"])
    title = f"{clip.name}: {len(frames)} frames of {info.width}x{info.height} {info.format.name}"
    table = Table(title=title, caption=f"Same clip, nearest PSNR 6:1:1. {machine()}")
    for column in ("codec", "bytes", "bpp", "PSNR-Y", "PSNR 6:1:1", "MS-SSIM", "s"):
        table.add_column(column, justify="left" if column == "codec" else "right")
    for name, size, rate, quality, seconds in rows:
        decibels = (f"{quality.psnr_y:.2f}", f"{quality.psnr_611:.2f}")
        similarity = "" if quality.msssim_y is None else f"{quality.msssim_y:.5f}"
        table.add_row(name, f"{size:,}", f"{rate:.4f}", *decibels, similarity, seconds)
    Console().print(table)


if __name__ == "__main__":
    main()
