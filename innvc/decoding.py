"""From an .innv file to video."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from innvc.bitstream.header import Limits
from innvc.comparison import Selection
from innvc.errors import CorruptError, UsageError
from innvc.output import same_file
from innvc.reader import VideoReader, frame_range
from innvc.video.sink import check_sink, open_sink
from innvc.video.streams import StreamsPart


def decode(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    frames: Selection | None = None,
    layers: int | None = None,
    only: str | None = None,
    exact: bool = False,
    device: str = "auto",
    threads: int | None = None,
    partial: bool = False,
    conceal: bool = False,
    pix_fmt: str | None = None,
    audio: bool = True,
    overwrite: bool = False,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> int:
    """Decodes an .innv file to video.

    The name decides: .yuv, .y4m ("-" is y4m on standard output), .mkv (FFV1) and, for grey and RGB,
    .png hold the very samples; .mp4, .mov and .webm are lossy copies for viewing.

    Args:
        source: The .innv file.
        output: The video; it appears whole or not at all.
        frames: Half-open range of frames.
        layers: Decode only the first layers: a lower quality from fewer bytes.
        only: "field" or "latent" decodes this part of the model alone; None is both.
        exact: Synthesis in float64: the same samples on every machine.
        device: "auto", "cpu" or "cuda[:n]"; symbols are decoded on the CPU.
        threads: Of torch on the CPU.
        pix_fmt: Converts the output.
        overwrite: Replace an existing output.
        limits: What the file may declare; None is the defaults.
        audio: Copy audio and subtitles, if the output can hold them.
        partial: Of a file that was cut short decode the frames that are there; `note` is told how
            many of how many.
        conceal: Go on past damage, with the field's picture or the nearest frame in place of each
            lost one; `note` is told which.
        progress: Called with frames done and frames in all.
        note: Called with remarks for the user.

    Returns:
        The number of frames written.

    Raises:
        InnvcError: with a sentence, a hint and an exit code.
    """
    target = os.fspath(output)
    check_output(source, target, overwrite)
    with VideoReader(
        source,
        device=device,
        exact=exact,
        layers=layers,
        only=only,
        partial=partial,
        conceal=conceal,
        limits=limits,
    ) as reader:
        first, last = frame_range(frames, len(reader))
        if threads is not None:
            from innvc.device import limit_threads

            limit_threads(threads)
        streams = _streams(reader, first, last, partial or conceal, note) if audio else None
        with open_sink(
            target, reader.info, pix_fmt=pix_fmt, overwrite=overwrite, streams=streams
        ) as sink:
            origin = None
            for done, frame in enumerate(reader.read(first, last), 1):
                if frame.pts is not None:
                    origin = frame.pts if origin is None else origin
                    frame = replace(frame, pts=frame.pts - origin)
                sink.write(frame)
                if progress is not None:
                    progress(done, last - first)
        for text in [*reader.notes, *sink.notes]:
            if note is not None:
                note(text)
    return last - first


def check_output(source: str | os.PathLike[str], target: str, overwrite: bool) -> None:
    """Refuses an output that could not be put in place, before anything is decoded.

    Raises:
        UsageError: the name, the folder, or the source itself is in the way.
        OutputExistsError: it exists and `overwrite` is not set.
    """
    if target != "-" and same_file(source, target):
        raise UsageError("Output and input are the same file.", "Choose another output.")
    check_sink(target, overwrite)


def _streams(
    reader: VideoReader,
    first: int,
    last: int,
    lenient: bool,
    note: Callable[[str], None] | None,
) -> StreamsPart | None:
    """Audio and subtitles beside some frames; where they are damaged `lenient` goes on without."""
    try:
        found = reader.streams()
    except CorruptError as error:
        if not lenient:
            raise
        if note is not None:
            note(f"audio and subtitles are left out: {error.message}")
        return None
    if found is None:
        return None
    whole = (first, last) == (0, len(reader))
    return found, reader.time(first), None if whole else reader.time(last)
