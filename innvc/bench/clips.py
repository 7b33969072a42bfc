"""The clips of a benchmark: their frames, and a name for what the frames hold."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from innvc.errors import UsageError
from innvc.video.formats import Frame, VideoInfo
from innvc.video.source import open_source

Selection = tuple[int | None, int | None]


@dataclass(frozen=True)
class BenchClip:
    """A selection of frames of a video.

    Attributes:
        source: The first 16 hexadecimal digits of the SHA-256 of format, size and samples: a result
            that is kept under it never outlives the frames that it belongs to.
    """

    path: Path
    name: str
    first: int
    count: int
    info: VideoInfo
    source: str

    @property
    def pixels(self) -> int:
        """Samples of plane 0 in all frames, which bpp counts by."""
        return self.count * self.info.width * self.info.height


def read_frames(
    path: Path, first: int = 0, last: int | None = None
) -> tuple[VideoInfo, list[Frame]]:
    """Frames first to last (not included), as far as the clip has them, in its own format.

    Raises:
        InnvcError: the clip cannot be read, or has no frame at `first`.
    """
    with open_source(path, frames=(first, None)) as video:
        count = None if last is None else last - first
        return video.info, list(itertools.islice(video, count))


def fingerprint(info: VideoInfo, frames: Sequence[Frame]) -> str:
    """Names the samples (see BenchClip.source)."""
    digest = hashlib.sha256(f"{info.format.name} {info.width}x{info.height}".encode())
    for frame in frames:
        for plane in frame.planes:
            digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()[:16]


def open_clips(paths: Sequence[Path], selection: Selection) -> list[BenchClip]:
    """Reads every clip once.

    Raises:
        UsageError: two clips have one name, or the selection is empty.
        InnvcError: a clip cannot be read.
    """
    first, last = selection[0] or 0, selection[1]
    if last is not None and last <= first:
        raise UsageError(f"The frame selection {first}:{last} is empty.", "Write A:B with A < B.")
    clips: dict[str, BenchClip] = {}
    for path in paths:
        name = path.stem
        if name in clips:
            raise UsageError(f"Two clips are called '{name}'.", "Rename one, or give it once.")
        info, frames = read_frames(path, first, last)
        source = fingerprint(info, frames)
        clips[name] = BenchClip(path.resolve(), name, first, len(frames), info, source)
    return list(clips.values())
