"""Where scenes change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from innvc.video.formats import Frame, VideoInfo

if TYPE_CHECKING:
    from av.filter import Graph

SCORE = 0.3  # of FFmpeg's scene detection, from which on a frame begins a scene
# Of the pictures that are compared. FFmpeg compares narrow ones by what lies beside them in memory.
WIDTH = 160


def scene_cuts(frames: Iterable[Frame], info: VideoInfo) -> list[int]:
    """Indices of the frames that begin a scene but the first, ascending, by FFmpeg's `select`.

    Args:
        frames: In order of display.
        info: Of the frames.
    """
    import av
    import av.filter

    height = max(1, round(info.height * min(info.width, WIDTH) / info.width))
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=info.width, height=info.height, format=av.VideoFormat("gray"), time_base=Fraction(1)
    )
    scale = graph.add("scale", f"{WIDTH}:{height}:flags=area")
    select = graph.add("select", f"gt(scene\\,{SCORE})")
    sink = graph.add("buffersink")
    graph.link_nodes(source, scale, select, sink).configure()
    found: list[int] = []
    for number, frame in enumerate(frames):
        luma = (frame.planes[0] >> info.format.depth - 8).astype(np.uint8)
        picture = av.VideoFrame.from_ndarray(luma, format="gray")
        picture.pts, picture.time_base = number, Fraction(1)
        graph.push(picture)
        found += _ready(graph)
    graph.push(None)
    return [*found, *_ready(graph)]


def _ready(graph: Graph) -> Iterator[int]:
    """Numbers of the frames that came through."""
    import av

    while True:
        try:
            number = graph.pull().pts
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert number is not None  # as it was given
        yield number
