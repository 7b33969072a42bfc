"""Cuts a small lossless clip out of an 8-bit 4:2:0 video: halve, crop, keep some frames.

Halving is by 2x2 averages, so no filter of a library decides the samples.

python tests/data/make_clip.py SOURCE OUT.mkv --frames 0:6 --crop 352x288+200+36
"""

from __future__ import annotations

import argparse
from fractions import Fraction

import av
import numpy as np


def plane(frame: av.VideoFrame, index: int) -> np.ndarray:
    p = frame.planes[index]
    return np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width]


def halve(samples: np.ndarray) -> np.ndarray:
    height, width = (size // 2 for size in samples.shape)
    blocks = samples[: 2 * height, : 2 * width].reshape(height, 2, width, 2).astype(np.uint16)
    return ((blocks.sum(axis=(1, 3)) + 2) >> 2).astype(np.uint8)


def cut(source: str, first: int, last: int, crop: tuple[int, ...]) -> tuple[list, Fraction]:
    """Frames as [Y, U, V] of the halved and cropped pictures, and the frame rate."""
    width, height, left, top = crop
    if any(value % 2 for value in crop):
        raise SystemExit("The crop must be even: 4:2:0 chroma has half the size.")
    frames = []
    with av.open(source) as container:
        stream = container.streams.video[0]
        for index, frame in enumerate(container.decode(stream)):
            if frame.format.name != "yuv420p":
                raise SystemExit(f"{source} is {frame.format.name}, not yuv420p.")
            if first <= index < last:
                planes = []
                for p in range(3):
                    s = 1 if p else 0
                    rows = slice(top >> s, (top + height) >> s)
                    columns = slice(left >> s, (left + width) >> s)
                    planes.append(halve(plane(frame, p))[rows, columns])
                frames.append(planes)
        return frames, Fraction(stream.average_rate)


def write(path: str, frames: list, rate: Fraction, codec: str) -> None:
    options = {"ffv1": {"level": "3", "coder": "1", "context": "1", "slices": "4"}}.get(
        codec, {"preset": "veryslow", "x265-params": "lossless=1:keyint=-1:info=0:log-level=none"}
    )
    height, width = frames[0][0].shape
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.color_range = 1
        for index, planes in enumerate(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            for p, samples in enumerate(planes):
                target = frame.planes[p]
                buffer = np.zeros((target.height, target.line_size), np.uint8)
                buffer[:, : target.width] = samples
                target.update(buffer.tobytes())
            frame.pts, frame.time_base, frame.color_range = index, 1 / rate, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def check(path: str, frames: list) -> None:
    with av.open(path) as container:
        decoded = [[plane(f, p).copy() for p in range(3)] for f in container.decode(video=0)]
    same = len(decoded) == len(frames) and all(
        np.array_equal(a, b)
        for x, y in zip(decoded, frames, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    if not same:
        raise SystemExit(f"{path} is not lossless.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--frames", default="0:6", help="first:last, last not included")
    parser.add_argument("--crop", default="352x288+0+0", help="of the halved picture")
    parser.add_argument("--codec", default="ffv1", choices=("ffv1", "libx265"))
    arguments = parser.parse_args()
    first, last = (int(part) for part in arguments.frames.split(":"))
    crop = tuple(int(part) for part in arguments.crop.replace("x", "+").split("+"))
    frames, rate = cut(arguments.source, first, last, crop)
    write(arguments.out, frames, rate, arguments.codec)
    check(arguments.out, frames)


if __name__ == "__main__":
    main()
