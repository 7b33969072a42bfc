"""Peers and VMAF through the ffmpeg program that the package imageio-ffmpeg brings."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from innvc.bench.peers import NotPossible, Peer, coded_format
from innvc.bench.planes import Planes, from_coded, padded_size, to_coded
from innvc.bench.pyav import Coded
from innvc.video.formats import Frame, PixelFormat, VideoInfo


@functools.cache
def program() -> str | None:
    """Where ffmpeg is; None where imageio-ffmpeg is not installed."""
    try:
        import imageio_ffmpeg
    except ImportError:
        return None
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:  # no binary for this platform
        return None


@functools.cache
def version() -> str:
    """As "ffmpeg 7.0.2"."""
    import imageio_ffmpeg

    return f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}"


def _run(*arguments: str | Path) -> None:
    command = [program() or "", "-hide_banner", "-nostdin", "-loglevel", "error", "-y"]
    result = subprocess.run(
        [*command, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if result.returncode:
        words = re.sub(r"\[[^\]]*\] ?", "", result.stderr).strip().partition("\n")[0]
        raise RuntimeError(f"ffmpeg: {words[:200] or f'exit code {result.returncode}'}")


def _raw(form: PixelFormat, width: int, height: int, rate: Fraction | None) -> list[str]:
    size = f"{width}x{height}"
    return ["-f", "rawvideo", "-pix_fmt", form.name, "-s", size, "-r", str(rate or 25)]


def write_raw(path: Path, pictures: Iterable[Sequence[np.ndarray]]) -> None:
    """Writes planes one after the other."""
    with path.open("wb") as file:
        for planes in pictures:
            for plane in planes:
                file.write(np.ascontiguousarray(plane).data)


def read_raw(path: Path, form: PixelFormat, width: int, height: int) -> list[Planes]:
    """Reads what `write_raw` or ffmpeg wrote."""
    data = np.fromfile(path, form.dtype)
    shapes = [form.plane_size(index, width, height) for index in range(form.planes)]
    ends = np.cumsum([rows * columns for rows, columns in shapes])
    return [
        [part.reshape(shape) for part, shape in zip(np.split(row, ends[:-1]), shapes, strict=True)]
        for row in data.reshape(-1, int(ends[-1]))
    ]


def code(
    peer: Peer, info: VideoInfo, frames: Sequence[Frame], quality: float, folder: Path
) -> Coded:
    """Encodes to an elementary stream in a file and decodes it.

    Raises:
        NotPossible: the peer cannot code the clip, or ffmpeg is not there.
    """
    coded = coded_format(peer, info.format)
    if program() is None:
        raise NotPossible("imageio-ffmpeg is not installed: pip install innvc[bench]")
    width, height = padded_size(info.format, info.width, info.height)
    original, stream, decoded = (folder / name for name in ("in.yuv", "out.bin", "rec.yuv"))
    write_raw(original, (to_coded(frame.planes, info.format, coded) for frame in frames))
    options = [part for k, v in peer.options_at(quality).items() for part in (f"-{k}", v)]
    raw = _raw(coded, width, height, info.frame_rate)
    color = ["-color_range", str(info.color_range)] if info.color_range else []
    began = time.monotonic()
    _run(*raw, "-i", original, "-c:v", peer.encoder, *options, *color, "-f", peer.stream, stream)
    middle = time.monotonic()
    _run("-threads", "1", "-f", peer.stream, "-i", stream, "-fps_mode", "passthrough",
         "-f", "rawvideo", "-pix_fmt", coded.name, decoded)  # fmt: skip
    seconds = time.monotonic() - middle
    pictures = read_raw(decoded, coded, width, height)
    if len(pictures) != len(frames):
        raise RuntimeError(f"{peer.name} gave {len(pictures)} of {len(frames)} frames")
    planes = [from_coded(p, info.format, coded, info.width, info.height) for p in pictures]
    return Coded(stream.stat().st_size, planes, middle - began, seconds)


def vmaf(
    info: VideoInfo, frames: Sequence[Frame], decoded: Sequence[Planes], folder: Path
) -> float | None:
    """VMAF (the model built into libvmaf, mean over frames); None without ffmpeg or for non-YUV."""
    if program() is None or info.format.family != "yuv":
        return None
    original, copy, log = (folder / name for name in ("ref.yuv", "dist.yuv", "vmaf.json"))
    write_raw(original, (frame.planes for frame in frames))
    write_raw(copy, decoded)
    raw = _raw(info.format, info.width, info.height, info.frame_rate)
    # A relative name: libvmaf's option cannot hold every character of a path.
    command = [program() or "", "-hide_banner", "-nostdin", "-loglevel", "error", *raw]
    command += ["-i", copy.name, *raw, "-i", original.name, "-lavfi"]
    command += [f"libvmaf=log_fmt=json:log_path={log.name}:n_threads=1", "-f", "null", "-"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=folder)
    if result.returncode:
        return None
    return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])
