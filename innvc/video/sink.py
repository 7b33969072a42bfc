"""Opening a video for writing; nothing stands under the final name before it is whole."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Protocol

import av

from innvc.errors import InnvcError, OutputExistsError, UsageError
from innvc.video.convert import Converter
from innvc.video.encode import ContainerWriter, Encoding, ffv1, lossy
from innvc.video.formats import Frame, PixelFormat, VideoInfo, pixel_format
from innvc.video.images import ImageWriter, image_format
from innvc.video.layouts import frame_to_planes, planes_to_frame
from innvc.video.raw import RawWriter
from innvc.video.streams import StreamsPart
from innvc.video.y4m import Y4mWriter, format_tag

_LOSSY = (".mp4", ".mov", ".webm")
EXTENSIONS = (".mkv", ".y4m", ".yuv", ".png", *_LOSSY)
_NUMBER = re.compile(r"%0?\d*d")


class _Writer(Protocol):
    lossless: bool
    notes: list[str]

    def write(self, frame: Frame) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


@contextlib.contextmanager
def _writing(name: str) -> Iterator[None]:
    """Turns what the file system and PyAV raise into InnvcError."""
    try:
        yield
    except InnvcError:
        raise
    except BrokenPipeError as error:
        raise InnvcError(f"{name} was closed before the end of the video.") from error
    except (OSError, av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InnvcError(f"{name} cannot be written: {reason}.") from error


class VideoSink:
    """Takes frames in order. close() puts the result in place, abort() leaves nothing.

    As a context manager it closes, or aborts after an exception.

    Attributes:
        lossless: whether what is written gives back exactly the frames handed in.
        notes: one-line remarks for the user; complete after close().
    """

    def __init__(
        self,
        name: str,
        info: VideoInfo,
        writer: _Writer,
        converter: Converter | None,
        finish: Callable[[], None],
        discard: Callable[[], None],
    ) -> None:
        self._name = name
        self._info = info
        self._writer = writer
        self._converter = converter
        self._finish = finish
        self._discard = discard
        self._open = True
        self.lossless = writer.lossless and converter is None
        self._converter_notes = list(converter.notes) if converter else []
        if converter and writer.lossless:
            self._converter_notes.append("the conversion is not lossless")

    @property
    def notes(self) -> list[str]:
        return self._converter_notes + self._writer.notes

    def _check(self, frame: Frame) -> None:
        form, width, height = self._info.format, self._info.width, self._info.height
        wanted = [form.plane_size(p, width, height) for p in range(form.planes)]
        if [p.shape for p in frame.planes] != wanted:
            raise UsageError(f"A frame for {self._name} is not {form.name} of {width}x{height}.")

    def write(self, frame: Frame) -> None:
        """Writes the next frame, which must have the format and size of the sink's info."""
        self._check(frame)
        with _writing(self._name):
            if self._converter:
                picture = planes_to_frame(frame.planes, self._info.format)
                frame = Frame(frame_to_planes(self._converter.convert(picture)), frame.pts)
            self._writer.write(frame)

    def close(self) -> None:
        """Finishes the output and moves it into place. A second call does nothing."""
        if not self._open:
            return
        try:
            with _writing(self._name):
                self._writer.close()
                self._finish()
        except BaseException:
            self.abort()
            raise
        self._open = False

    def abort(self) -> None:
        """Gives up; nothing is left behind. Does nothing after close()."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(OSError, av.FFmpegError, ValueError):
            self._writer.abort()
        with contextlib.suppress(OSError):
            self._discard()

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _existing(path: str) -> list[str]:
    """The files that an output would replace or mix with."""
    folder, name = os.path.split(path)
    number = _NUMBER.search(name)
    if not number:
        return [path] if os.path.lexists(path) else []
    start, end = name[: number.start()], name[number.end() :]
    found = glob.glob(os.path.join(glob.escape(folder), f"{glob.escape(start)}*{glob.escape(end)}"))
    middle = re.compile(re.escape(start) + r"\d+" + re.escape(end))
    return [f for f in found if middle.fullmatch(os.path.basename(f))]


def _check_output(path: str, overwrite: bool) -> None:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"The folder {folder} does not exist.", "Make it first.")
    if os.path.isdir(path):
        raise UsageError(f"{path} is a folder.", "Name a file in it.")
    existing = _existing(path)
    if existing and not overwrite:
        raise OutputExistsError(f"{existing[0]} exists.", "Use -y to replace it.")


def _wanted(extension: str, info: VideoInfo, form: PixelFormat) -> tuple[PixelFormat, Encoding]:
    """The format that the writer takes, and the encoding for a container."""
    facts = VideoInfo(info.width, info.height, form)
    if extension in _LOSSY:
        encoding = lossy(extension, facts)
        return encoding.format, encoding
    if extension == ".png":
        form = image_format(form)
    elif extension in (".y4m", "-"):
        format_tag(form, 0)  # refuses what y4m cannot hold before anything is made
    return form, ffv1(facts)


def check_sink(path: str, overwrite: bool) -> str:
    """Refuses an output that could not be put in place, before any work is done.

    Returns:
        Its extension, or "-".

    Raises:
        UsageError, OutputExistsError: as of `open_sink`.
    """
    if path == "-":
        return path
    extension = os.path.splitext(path)[1].lower()
    if extension not in EXTENSIONS:
        raise UsageError(
            f"It is not known how to write '{os.path.basename(path)}'.",
            f"Use one of {', '.join(EXTENSIONS)}, or - for y4m on standard output.",
        )
    _check_output(path, overwrite)
    return extension


def open_sink(
    path: str | os.PathLike[str],
    info: VideoInfo,
    *,
    pix_fmt: str | None = None,
    overwrite: bool = False,
    streams: StreamsPart | None = None,
) -> VideoSink:
    """Opens a video for writing.

    The extension decides: .mkv (FFV1), .y4m and .yuv are lossless; .png is, for grey and RGB; .mp4,
    .mov and .webm are lossy copies for viewing. A .png name with %04d numbers the frames from 1.

    Args:
        path: where to write, or '-' for y4m on standard output.
        info: of the frames that will be written.
        pix_fmt: convert the frames to this native format before writing.
        overwrite: replace what exists.
        streams: audio and subtitles, for files that can hold them.

    Raises:
        UsageError: the extension is not known, or the folder does not exist.
        OutputExistsError: the output exists and `overwrite` is not set.
        UnsupportedError: the file type cannot hold the format.
        InnvcError: the file cannot be made.
    """
    path = os.fspath(path)
    extension = check_sink(path, overwrite)
    form, encoding = _wanted(extension, info, pixel_format(pix_fmt) if pix_fmt else info.format)
    converter = Converter(info.format.name, info, form) if form != info.format else None
    written = converter.info if converter else info
    if extension == "-":
        if sys.stdout.isatty():
            raise UsageError("Standard output is a terminal.", "Pipe it, or name a file.")
        with _writing("standard output"):
            writer: _Writer = Y4mWriter(sys.stdout.buffer, written, keep_open=True)
        return VideoSink("standard output", info, writer, converter, _nothing, _nothing)

    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0]
    # Not by the process number: in containers that is often the same as of one that was killed.
    temporary = os.path.join(folder, f".{stem}.{secrets.token_hex(4)}.tmp{extension}")
    discard = _remove_folder(temporary) if extension == ".png" else _remove(temporary)
    finish = _move(temporary, path)
    try:
        with _writing(name):
            if extension == ".png":
                os.mkdir(temporary)
                writer = ImageWriter(temporary, name, written)
                finish = _move_images(writer, temporary, folder)
            elif extension == ".yuv":
                writer = RawWriter(open(temporary, "wb"), written)
            elif extension == ".y4m":
                writer = Y4mWriter(open(temporary, "wb"), written)
            else:
                writer = ContainerWriter(temporary, written, encoding, streams)
                streams = None
    except BaseException:
        discard()
        raise
    if streams is not None:
        writer.notes.append(f"audio and subtitles are left out: {extension} holds pictures only")
    return VideoSink(name, info, writer, converter, finish, discard)


def _nothing() -> None:
    pass


def _move(temporary: str, path: str) -> Callable[[], None]:
    return lambda: os.replace(temporary, path)


def _remove(path: str) -> Callable[[], None]:
    def remove() -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)

    return remove


def _remove_folder(path: str) -> Callable[[], None]:
    return lambda: shutil.rmtree(path, ignore_errors=True)


def _move_images(writer: ImageWriter, temporary: str, folder: str) -> Callable[[], None]:
    def move() -> None:
        for name in writer.written:
            os.replace(os.path.join(temporary, name), os.path.join(folder, name))
        left = len(_existing(os.path.join(folder, writer.name))) - len(writer.written)
        if left > 0:
            writer.notes.append(f"{left} older files of the same pattern are left")
        os.rmdir(temporary)

    return move
