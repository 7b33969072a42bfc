"""Opening a video: which reader it takes, which frames of it, and what is known of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

from innvc.bitstream.streams import StreamsRecord
from innvc.errors import InputError, UsageError
from innvc.video.container import ContainerReader, reading
from innvc.video.convert import Converter
from innvc.video.formats import AS_TAGGED, ColorTags, Frame, VideoInfo, pixel_format
from innvc.video.layouts import frame_to_planes, planes_to_frame
from innvc.video.place import is_pattern
from innvc.video.raw import RawReader
from innvc.video.y4m import MAGIC, Y4mReader


class _Reader(Protocol):
    info: VideoInfo
    has_audio: bool
    notes: list[str]

    @property
    def frame_count(self) -> int | None: ...

    def frames(self, start: int, stop: int | None) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class VideoSource:
    """An opened video. Iteration yields its selected frames in display order.

    Every iteration starts at the first selected frame; only standard input goes once.

    Attributes:
        info: size, format, colour and timing of the frames.
        frame_count: number of selected frames, None where only reading would tell. Containers
            are taken at their word.
        has_audio: whether there is audio beside the video.
        notes: one-line remarks for the user; complete when an iteration has ended.
    """

    def __init__(
        self,
        name: str,
        reader: _Reader,
        selection: tuple[int, int | None],
        converter: Converter | None,
    ) -> None:
        self._name = name
        self._reader = reader
        self._start, self._stop = selection
        self._converter = converter
        self.info = converter.info if converter else reader.info
        self.has_audio = reader.has_audio
        self.notes = reader.notes
        if converter:
            self.notes += converter.notes
        if reader.frame_count is not None:
            self._check_selection(reader.frame_count)

    @property
    def frame_count(self) -> int | None:
        total = self._reader.frame_count
        stop = total if self._stop is None else self._stop
        return None if stop is None else stop - self._start

    def _check_selection(self, total: int) -> None:
        if total == 0:
            raise InputError(f"{self._name} has no frames.")
        if self._start >= total or (self._stop or 0) > total:
            last = "" if self._stop is None else self._stop
            raise UsageError(
                f"Frames {self._start}:{last} are not all in {self._name}, which has {total}.",
                f"Choose within 0:{total}.",
            )

    def __iter__(self) -> Iterator[Frame]:
        count = 0
        first_pts = 0
        with reading(self._name):
            for frame in self._reader.frames(self._start, self._stop):
                if frame.pts is not None:
                    first_pts = first_pts if count else frame.pts
                    frame.pts -= first_pts
                count += 1
                yield self._converted(frame)
        if not count and not self._start:
            raise InputError(f"{self._name} has no frames.")
        if not count or (self._stop is not None and count < self._stop - self._start):
            self._check_selection(self._start + count)

    def streams(self) -> StreamsRecord | None:
        """Audio and subtitles beside the selected frames, None where there are none."""
        if not isinstance(self._reader, ContainerReader):
            return None
        return self._reader.streams(self._start, self._stop)

    def _converted(self, frame: Frame) -> Frame:
        if self._converter is None:
            return frame
        picture = planes_to_frame(frame.planes, self._reader.info.format)
        return Frame(frame_to_planes(self._converter.convert(picture)), frame.pts)

    def close(self) -> None:
        """Frees what is held open."""
        self._reader.close()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _selection(frames: tuple[int | None, int | None] | None) -> tuple[int, int | None]:
    start, stop = frames or (None, None)
    start = 0 if start is None else start
    if start < 0 or (stop is not None and stop <= start):
        raise UsageError(
            f"The frame selection {start}:{'' if stop is None else stop} is empty or negative.",
            "A:B takes frames A to B-1, counted from 0.",
        )
    return start, stop


def _check_path(path: str) -> None:
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder, not a video.", "Name a file or frame_%04d.png.")
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist.")
    if not os.path.isfile(path):
        raise InputError(f"{path} is not a regular file.", "Use - to read y4m from a pipe.")
    if not os.path.getsize(path):
        raise InputError(f"{path} is empty.")


def _begins_with(path: str, magic: bytes) -> bool:
    with open(path, "rb") as stream:
        return stream.read(len(magic)) == magic


def open_source(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    pix_fmt: str | None = None,
    fps: Fraction | None = None,
    frames: tuple[int | None, int | None] | None = None,
    color: ColorTags = AS_TAGGED,
) -> VideoSource:
    """Opens a video for reading.

    Args:
        path: a file that FFmpeg reads, a raw .yuv file, an image sequence such as
            'frame_%04d.png', a y4m file, or '-' for y4m on standard input.
        size: (width, height), for raw files.
        pix_fmt: of a raw file, the format it is in; of others, the format to convert to.
        fps: frame rate; of raw files and images the only one, of others it replaces theirs, and
            timestamps are dropped.
        frames: half-open range of frame indices in display order; None is the start or the end.
        color: tags that replace the file's, also for the conversion to `pix_fmt`.

    Raises:
        InputError: there is no readable, whole video.
        UsageError: the arguments do not fit the file.
        UnsupportedError: the format is not coded natively and `pix_fmt` is not given.
        LimitError: a side of the picture is too large.
    """
    path = os.fspath(path)
    name = "standard input" if path == "-" else os.path.basename(path)
    selection = _selection(frames)
    if fps is not None and fps <= 0:
        raise UsageError(f"A frame rate of {fps} is not positive.")
    if size is not None and min(size) < 1:
        raise UsageError(f"A frame size of {size[0]}x{size[1]} is not positive.")
    target = pixel_format(pix_fmt) if pix_fmt else None
    converter = None
    with reading(name):
        reader: _Reader
        if path != "-" and not is_pattern(path):
            _check_path(path)
        if path == "-" or (not is_pattern(path) and _begins_with(path, MAGIC)):
            reader = Y4mReader(path, fps, color)
            if target and target != reader.info.format:
                converter = Converter(reader.info.format.name, reader.info, target)
        elif path.lower().endswith(".yuv"):
            reader = RawReader(path, size, pix_fmt, fps, color)
        else:
            reader = ContainerReader(path, pix_fmt, fps, color)
    found = (reader.info.width, reader.info.height)
    if size is not None and size != found:
        raise UsageError(
            f"{name} has frames of {found[0]}x{found[1]}, not {size[0]}x{size[1]}.",
            "--size is for raw files only.",
        )
    return VideoSource(name, reader, selection, converter)
