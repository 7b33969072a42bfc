"""Peer codecs through PyAV: encode frames, decode what was written, measure.

    python benchmarks/peers.py akiyo.mkv news.mkv --frames 0:24 --out bench-out/peers.jsonl

Bytes are the NAL units of the encoder with four bytes of length each, parameter sets counted once,
without the container and without x265's own text SEI. Quality is measured on the samples that a
decoder returns, in the clip's own format. Points are kept in a JSON lines file; what is there is
not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from innvc.metrics import QualityMeter, to_json_value
from innvc.video.formats import Frame, PixelFormat, VideoInfo
from innvc.video.source import open_source

# One thread: wavefronts and frame threads cost bits and make results depend on the machine.
_SINGLE = "log-level=none:info=0:no-wpp=1:frame-threads=1:pools=none"


@dataclass(frozen=True)
class Peer:
    """A way to run an encoder. `quality` is the option that a list of points varies."""

    name: str
    encoder: str
    preset: str
    parameters: str
    quality: str = "crf"

    def describe(self) -> str:
        return f"{self.encoder} preset={self.preset} tune=psnr {self.parameters}:{self.quality}=Q"


PEERS = {
    "x265-intra": Peer(
        "x265-intra", "libx265", "medium", f"keyint=1:scenecut=0:bframes=0:{_SINGLE}"
    ),
    "x265-ra": Peer("x265-ra", "libx265", "veryslow", f"keyint=-1:no-open-gop=1:{_SINGLE}"),
}
_START, _STEP, _LAST = 18, 3, 51  # CRF: where a curve begins, its step, the worst
_PARAMETER_SETS = (32, 33, 34)  # HEVC NAL unit types; x265 repeats them in each frame of all-intra


@dataclass(frozen=True)
class PeerResult:
    """One encode. Quality as innvc.metrics.Quality; null where planes are identical."""

    peer: str
    quality: float
    width: int
    height: int
    pix_fmt: str
    bytes: int
    bpp: float
    frames: int
    psnr_y: float | None
    psnr_u: float | None
    psnr_v: float | None
    psnr_611: float | None
    msssim_y: float | None
    seconds: float
    settings: str


def samples(plane: av.video.plane.VideoPlane, fmt: PixelFormat) -> np.ndarray:
    """A [height, width] view of a plane's samples."""
    view = np.frombuffer(plane, fmt.dtype).reshape(-1, plane.line_size // fmt.dtype.itemsize)
    return view[: plane.height, : plane.width]


def read_frames(
    path: str, first: int = 0, last: int | None = None
) -> tuple[VideoInfo, list[Frame]]:
    """Frames first to last (not included), as far as the clip has them, in its own format."""
    with open_source(path, frames=(first, None)) as source:
        count = None if last is None else last - first
        return source.info, list(itertools.islice(source, count))


def _pad(info: VideoInfo) -> tuple[int, int]:
    """Coded width and height: x265 refuses sizes that the chroma subsampling does not divide."""
    x, y = 1 << info.format.shift_x, 1 << info.format.shift_y
    return -(-info.width // x) * x, -(-info.height // y) * y


def _to_av(info: VideoInfo, frame: Frame, index: int) -> av.VideoFrame:
    width, height = _pad(info)
    out = av.VideoFrame(width, height, info.format.name)
    for target, plane in zip(out.planes, frame.planes, strict=True):
        view = samples(target, info.format)
        rows, columns = (a - b for a, b in zip(view.shape, plane.shape, strict=True))
        view[:] = np.pad(plane, ((0, rows), (0, columns)), mode="edge")
    out.pts, out.time_base = index, 1 / (info.frame_rate or Fraction(25))
    if info.color_range:
        out.color_range = info.color_range
    return out


def _nal_bytes(data: bytes, parameter_sets: bool = False) -> int:
    """Bytes of an Annex B piece with four bytes of length for each unit."""
    units = (unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:])
    return sum(
        4 + len(unit) for unit in units if parameter_sets or unit[0] >> 1 not in _PARAMETER_SETS
    )


def encode(
    peer: Peer, info: VideoInfo, frames: Sequence[Frame], quality: float
) -> tuple[bytes, int]:
    """Encodes to Matroska in memory; returns the file and the bytes that count (see above)."""
    file, size = io.BytesIO(), 0
    with av.open(file, "w", format="matroska") as container:
        options = {
            "preset": peer.preset,
            "tune": "psnr",
            "x265-params": f"{peer.parameters}:{peer.quality}={quality:g}",
        }
        stream = container.add_stream(
            peer.encoder, rate=info.frame_rate or Fraction(25), options=options
        )
        stream.width, stream.height = _pad(info)
        stream.pix_fmt = info.format.name
        stream.codec_context.thread_type = "AUTO"
        if info.color_range:
            stream.codec_context.color_range = info.color_range
        if info.format.family == "rgb":
            stream.codec_context.colorspace = 0
        for index, frame in enumerate(frames):
            for packet in stream.encode(_to_av(info, frame, index)):
                size += _nal_bytes(bytes(packet))
                container.mux(packet)
        for packet in stream.encode(None):
            size += _nal_bytes(bytes(packet))
            container.mux(packet)
        size += _nal_bytes(bytes(stream.codec_context.extradata or b""), parameter_sets=True)
    return file.getvalue(), size


def decode(info: VideoInfo, file: bytes) -> list[Frame]:
    """Decodes what `encode` wrote, cropped to the size of the clip."""
    frames = []
    with av.open(io.BytesIO(file)) as container:
        for decoded in container.decode(video=0):
            if decoded.format.name != info.format.name:
                raise RuntimeError(f"{info.format.name} came back as {decoded.format.name}")
            planes = []
            for index, plane in enumerate(decoded.planes):
                height, width = info.format.plane_size(index, info.width, info.height)
                planes.append(samples(plane, info.format)[:height, :width].copy())
            frames.append(Frame(planes))
    return frames


def measure(
    peer: Peer,
    info: VideoInfo,
    frames: Sequence[Frame],
    quality: float,
    msssim: bool = False,
) -> PeerResult:
    """Encodes, decodes and measures."""
    start = time.monotonic()
    file, size = encode(peer, info, frames, quality)
    seconds = time.monotonic() - start
    meter = QualityMeter(info.format, msssim)
    for frame, decoded in zip(frames, decode(info, file), strict=True):
        meter.update(frame.planes, decoded.planes)
    measured = asdict(meter.result())
    return PeerResult(
        peer=peer.name,
        quality=quality,
        width=info.width,
        height=info.height,
        pix_fmt=info.format.name,
        bytes=size,
        bpp=8 * size / (len(frames) * info.width * info.height),
        **{k: to_json_value(v) for k, v in measured.items()},
        seconds=seconds,
        settings=peer.describe(),
    )


class Cache:
    """Results in a JSON lines file, one object a line, found by what was measured."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._rows = {self._key(row): row for row in map(json.loads, lines)}

    @staticmethod
    def _key(row: dict) -> tuple:
        return row["source"], row["peer"], row["settings"], row["quality"]

    def find(self, source: str, peer: Peer, quality: float) -> dict | None:
        return self._rows.get((source, peer.name, peer.describe(), quality))

    def add(self, row: dict) -> None:
        self._rows[self._key(row)] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def fingerprint(info: VideoInfo, frames: Sequence[Frame]) -> str:
    """Names the samples, so that a result never outlives the frames it belongs to."""
    digest = hashlib.sha256(f"{info.format.name} {info.width}x{info.height}".encode())
    for frame in frames:
        for plane in frame.planes:
            digest.update(np.ascontiguousarray(plane))
    return digest.hexdigest()[:16]


def curve(
    peer: Peer,
    clip: str,
    info: VideoInfo,
    frames: Sequence[Frame],
    cache: Cache,
    low: float = 36.0,
    high: float = 52.0,
) -> list[dict]:
    """Points of a peer that cover low to high dB of PSNR 6:1:1, in order of rising quality."""
    source = fingerprint(info, frames)

    def point(quality: int) -> dict:
        row = cache.find(source, peer, quality)
        if row is None:
            result = measure(peer, info, frames, quality)
            row = {"clip": clip, "source": source} | asdict(result)
            cache.add(row)
        return row

    points = [point(_START)]
    for step in (_STEP, -_STEP):
        quality, db = _START, _decibels(points[0])
        while (db > low if step > 0 else db < high) and 0 <= quality + step <= _LAST:
            quality += step
            points.append(point(quality))
            db = _decibels(points[-1])
    return sorted(points, key=_decibels)


def _decibels(row: dict) -> float:
    return math.inf if row["psnr_611"] is None else row["psnr_611"]


def decibel_text(value: float | None) -> str:
    return "identical" if value is None else f"{value:.2f}"


def frame_range(text: str) -> tuple[int, int | None]:
    """'A:B' as numbers; either may be left out."""
    first, _, last = text.partition(":")
    return int(first or 0), int(last) if last else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--frames", type=frame_range, default=(0, None), metavar="A:B")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--low", type=float, default=36.0, help="dB of PSNR 6:1:1")
    parser.add_argument("--high", type=float, default=52.0)
    parser.add_argument("--out", type=Path, default=Path("bench-out/peers.jsonl"))
    arguments = parser.parse_args()
    cache = Cache(arguments.out)
    print("| clip | frames | peer | CRF | bytes | bpp | PSNR-Y | PSNR 6:1:1 | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for clip in arguments.clips:
        info, frames = read_frames(clip, *arguments.frames)
        for name in arguments.peers:
            peer = PEERS[name]
            limits = arguments.low, arguments.high
            for row in curve(peer, Path(clip).stem, info, frames, cache, *limits):
                cells = [row["clip"], row["frames"], name, row["quality"], row["bytes"]]
                cells += [
                    f"{row['bpp']:.4f}",
                    decibel_text(row["psnr_y"]),
                    decibel_text(row["psnr_611"]),
                ]
                print("|", " | ".join(map(str, [*cells, f"{row['seconds']:.1f}"])), "|", flush=True)


if __name__ == "__main__":
    main()
