"""Small clips, the command line as a process, and PSNR computed anew."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from innvc.video.formats import Frame, VideoInfo, pixel_format
from innvc.video.sink import open_sink
from innvc.video.source import open_source

DATA = Path(__file__).parent / "data"
QUICK = {"preset": "instant", "steps": 2}  # of innvc.encode
QUICK_OPTIONS = ["--preset", "instant", "--steps", "2"]


def make_frames(pix_fmt="yuv420p", width=48, height=32, count=3, seed=0):
    """Frames of a moving gradient with a bright square and some noise."""
    form = pixel_format(pix_fmt)
    random = np.random.default_rng(seed)
    frames = []
    for t in range(count):
        planes = []
        for plane in range(form.planes):
            rows, columns = form.plane_size(plane, width, height)
            y, x = np.mgrid[:rows, :columns]
            values = 90 + 40 * np.sin((x + 2 * t) / 7 + plane) + 30 * np.cos(y / 5 - t / 3)
            values = values + 60 * ((abs(x - 3 * t - 8) < 5) & (abs(y - 9) < 5))
            values = values + random.normal(0, 2, values.shape)
            scaled = np.clip(values, 0, 255) * form.peak / 255
            planes.append(np.floor(scaled + 0.5).astype(form.dtype))
        frames.append(Frame(planes))
    return frames


def write_clip(path, frames, pix_fmt="yuv420p", **facts):
    """Writes frames to a lossless video; `facts` go into its VideoInfo."""
    height, width = frames[0].planes[0].shape
    info = VideoInfo(width, height, pixel_format(pix_fmt), Fraction(25))
    info = VideoInfo(**{**info.__dict__, **facts})
    with open_sink(path, info, overwrite=True) as sink:
        for frame in frames:
            sink.write(frame)
    return Path(path)


def make_clip(path, pix_fmt="yuv420p", width=48, height=32, count=3, seed=0, **facts):
    return write_clip(path, make_frames(pix_fmt, width, height, count, seed), pix_fmt, **facts)


def read_frames(path, **options):
    with open_source(path, **options) as source:
        return list(source)


def crop(frame, height, width):
    """The middle of a frame of yuv420p."""
    parts = zip(frame.planes, (1, 2, 2), strict=True)
    rows, columns = frame.planes[0].shape
    top, left = (rows - height) // 4 * 2, (columns - width) // 4 * 2
    return Frame(
        [
            p[top // s : (top + height) // s, left // s : (left + width) // s].copy()
            for p, s in parts
        ]
    )


def same(a, b):
    """Whether two lists of frames hold the same samples."""
    return len(a) == len(b) and all(
        len(f.planes) == len(g.planes) and all(map(np.array_equal, f.planes, g.planes))
        for f, g in zip(a, b, strict=True)
    )


def psnr(reference, decoded, plane, peak):
    """PSNR of one plane over all frames, by its definition."""
    errors = [
        (a.planes[plane].astype(np.float64) - b.planes[plane].astype(np.float64)).ravel() ** 2
        for a, b in zip(reference, decoded, strict=True)
    ]
    mse = np.concatenate(errors).mean()
    return math.inf if mse == 0 else 10 * math.log10(peak**2 / mse)


def innvc(*arguments, **options):
    """Runs `python -m innvc` in a process of its own."""
    command = [sys.executable, "-m", "innvc", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=300, **options)
