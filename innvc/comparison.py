"""The quality of one video against another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from typing import NotRequired, TypedDict

from innvc.bitstream.header import Limits
from innvc.clip import is_innv
from innvc.errors import InputError
from innvc.metrics import QualityMeter, to_json_value
from innvc.reader import VideoReader, frame_range
from innvc.video.formats import Frame, VideoInfo
from innvc.video.source import open_source

Path = str | os.PathLike[str]
Selection = tuple[int | None, int | None]


class Comparison(TypedDict):
    """What `compare` finds, as `metrics.Quality` has it; identical planes have None for decibels.

    The bytes of an .innv file and its bits per pixel are there where the distorted video is one.
    """

    frames: int
    psnr_y: float | None
    psnr_u: float | None
    psnr_v: float | None
    psnr_611: float | None
    msssim_y: float | None
    bytes: NotRequired[int]
    bpp: NotRequired[float]


def compare(
    reference: Path,
    distorted: Path,
    *,
    size: tuple[int, int] | None = None,
    pix_fmt: str | None = None,
    fps: Fraction | None = None,
    frames: Selection | None = None,
    device: str = "auto",
    limits: Limits | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Comparison:
    """Quality of a video against its reference: PSNR of each plane, 6:1:1, MS-SSIM; bpp of .innv.

    An .innv file is decoded in float64: its figures are those of `encode`, on every machine.

    Args:
        reference, distorted: Videos, either may be an .innv file. A raw one takes what is not
            given, or in its name, from the other.
        size, pix_fmt, fps: Of raw video; pix_fmt converts other video.
        frames: Half-open range of the reference.
        device: Where an .innv file is decoded: "auto", "cpu" or "cuda[:n]".
        limits: What an .innv file may declare; None is the defaults.
        progress: Called with frames done and frames in all.
        note: Called with remarks on .innv files.

    Returns:
        psnr_y, psnr_u, psnr_v and psnr_611 in dB, msssim_y, frames; of an .innv its bytes and bpp.

    Raises:
        InnvcError: they differ in size, format or length, or cannot be read.
    """
    readers: list[VideoReader] = []
    with ExitStack() as stack:

        def opened(
            path: Path, selection: Selection | None, other: VideoInfo | None
        ) -> tuple[VideoInfo, Iterator[Frame], int | None]:
            if is_innv(path):
                reader = stack.enter_context(
                    VideoReader(path, device=device, exact=True, limits=limits)
                )
                readers.append(reader)
                first, last = frame_range(selection, len(reader))
                return reader.info, (reader[i] for i in range(first, last)), last - first
            raw = other is not None and os.fspath(path).lower().endswith(".yuv")
            video = stack.enter_context(
                open_source(
                    os.fspath(path),
                    size=(other.width, other.height) if raw and other and not size else size,
                    pix_fmt=other.format.name if raw and other and not pix_fmt else pix_fmt,
                    fps=other.frame_rate if raw and other and not fps else fps,
                    frames=selection,
                )
            )
            return video.info, iter(video), video.frame_count

        raw_first = os.fspath(reference).lower().endswith(".yuv") and not size
        if raw_first:
            other, decoded, _ = opened(distorted, None, None)
            info, originals, count = opened(reference, frames, other)
        else:
            info, originals, count = opened(reference, frames, None)
            other, decoded, _ = opened(distorted, None, info)
        if (info.width, info.height, info.format) != (other.width, other.height, other.format):
            raise InputError(
                f"The videos differ: {info.width}x{info.height} {info.format.name} "
                f"and {other.width}x{other.height} {other.format.name}.",
                "Compare videos of one size and pixel format; --pix-fmt converts.",
            )
        meter = QualityMeter(info.format, msssim=True)
        done = 0
        while True:
            a, b = next(originals, None), next(decoded, None)
            if a is None or b is None:
                if a is not b:
                    longer = "copy" if a is None else "reference"
                    raise InputError(
                        f"The {longer} has more than the {done} frames of the other video.",
                        "--frames chooses those of the reference; cut the copy to as many.",
                    )
                break
            meter.update(a.planes, b.planes)
            done += 1
            if progress is not None:
                progress(done, count)
        quality = meter.result()
        for text in dict.fromkeys(text for reader in readers for text in reader.notes):
            if note is not None:
                note(text)
    result: Comparison = {
        "frames": quality.frames,
        "psnr_y": to_json_value(quality.psnr_y),
        "psnr_u": to_json_value(quality.psnr_u),
        "psnr_v": to_json_value(quality.psnr_v),
        "psnr_611": to_json_value(quality.psnr_611),
        "msssim_y": to_json_value(quality.msssim_y),
    }
    if is_innv(distorted):
        total = os.path.getsize(distorted)
        result["bytes"] = total
        result["bpp"] = 8 * total / (quality.frames * info.width * info.height)
    return result
