"""Video in a container or an image sequence, decoded by PyAV."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
from av.container import InputContainer

from innvc.bitstream.streams import StreamsRecord
from innvc.errors import InnvcError, InputError, UnsupportedError
from innvc.video.color_names import RGB, UNKNOWN
from innvc.video.convert import Converter, source_family
from innvc.video.ffv1 import SliceCheck
from innvc.video.formats import PIXEL_FORMATS, ColorTags, Frame, VideoInfo, pixel_format
from innvc.video.layouts import LAYOUTS, frame_to_planes, narrow_planes, shifts_from_16_bits
from innvc.video.matroska import chroma_location, missing_bytes
from innvc.video.place import find_place
from innvc.video.streams import copy_out
from innvc.video.timing import (
    DEFAULT_FRAME_RATE,
    constant_rate,
    fraction,
    mean_rate,
    standard_rate,
)

# Demuxers that render text, or that only point at other files and addresses.
_REFUSED_DEMUXERS = {"tty", "bin", "xbin", "adf", "idf", "concat", "hls", "dash", "sdp", "imf"}


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns what PyAV raises into InputError."""
    try:
        yield
    except InnvcError:
        raise
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{name} cannot be read as video: {reason}.",
            "The file is damaged, cut short, or of a kind that FFmpeg does not know.",
        ) from error


class ContainerReader:
    """Decodes the first video stream of a file.

    The packets are read once without decoding them, for the timestamps and the count.

    Attributes:
        info: of the frames that come out. time_base is set where the rate varies.
        frame_count: number of frames by the container's account, None where it gives none.
        has_audio: whether there is an audio stream.
        notes: one-line remarks.

    Args:
        path: a file or an image sequence's pattern.
        pix_fmt: convert to this native format; None keeps the file's own.
        fps: frame rate to use in place of the file's; for images the only one there is.
        color: tags to use in place of the file's.

    Raises:
        InputError: the file holds no readable video.
        UnsupportedError: the format is not coded natively and no `pix_fmt` is given.
    """

    def __init__(
        self, path: str, pix_fmt: str | None, fps: Fraction | None, color: ColorTags
    ) -> None:
        self.notes: list[str] = []
        self._name = os.path.basename(path)
        self._target = pixel_format(pix_fmt) if pix_fmt else None
        self._place = find_place(path, fps or DEFAULT_FRAME_RATE)
        with reading(self._name), self._open() as (container, stream):
            self._check_complete(container, stream)
            self._pts = self._scan(container, stream)
        with reading(self._name), self._open() as (container, stream):
            first = next(container.decode(stream), None)
            if first is None:
                raise InputError(f"{self._name} has no picture that can be decoded.")
            self._drop_leading(first)
            self._describe(container, stream, first, fps, color)

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[InputContainer, av.VideoStream]]:
        place = self._place
        with av.open(place.url, format=place.demuxer, options=place.options) as container:
            if _REFUSED_DEMUXERS & set(container.format.name.split(",")):
                raise InputError(f"{self._name} is not a video file.")
            streams = [
                stream
                for stream in container.streams.video
                if not stream.disposition & av.stream.Disposition.attached_pic
            ]
            if not streams:
                raise InputError(f"{self._name} has no video stream.")
            if streams[0].codec_context is None:
                raise InputError(f"{self._name} is coded in a way that FFmpeg cannot decode.")
            streams[0].thread_type = "AUTO"
            streams[0].codec_context.options = {"err_detect": "explode"}
            yield container, streams[0]

    def _check_complete(self, container: InputContainer, stream: av.VideoStream) -> None:
        """Finds cut files that FFmpeg would read to their early end without a word."""
        if self._place.images:
            return
        size = os.path.getsize(self._place.url)
        missing = 0
        if "matroska" in container.format.name:
            missing = missing_bytes(self._place.url)
        elif "mov" in container.format.name:
            entries = stream.index_entries
            ends = (entry.pos + entry.size for entry in entries)
            missing = max(0, max(ends, default=0) - size)
        if missing:
            raise InputError(
                f"{self._name} is cut short: {missing} bytes are missing at its end.",
                "Copy or download it again.",
            )

    def _scan(self, container: InputContainer, stream: av.VideoStream) -> list[int] | None:
        """Timestamps of all pictures in display order; None where a packet has none."""
        pts: list[int | None] = []
        # Versions below 3 have neither extradata nor checksums.
        context = stream.codec_context
        check = SliceCheck() if context.name == "ffv1" and context.extradata else None
        for packet in container.demux(stream):
            if check and packet.size and not check.is_intact(bytes(packet)):
                raise InputError(f"{self._name} is damaged: checksums of frame {len(pts)} differ.")
            if packet.size and not packet.is_discard:
                pts.append(packet.pts)
        known = {t for t in pts if t is not None}
        if len(known) < len(pts) or not pts:
            return None
        return sorted(known)

    def _drop_leading(self, first: av.VideoFrame) -> None:
        """Leaves out pictures before the first that decodes, as after a cut in an open group."""
        if self._pts and first.pts is not None:
            kept = [t for t in self._pts if t >= first.pts]
            if missing := len(self._pts) - len(kept):
                self._pts = kept
                self.notes.append(
                    f"{missing} pictures at the start need others that are not in the file"
                )

    def _describe(
        self,
        container: InputContainer,
        stream: av.VideoStream,
        first: av.VideoFrame,
        fps: Fraction | None,
        color: ColorTags,
    ) -> None:
        context = stream.codec_context

        def tag(name: str, unknown: int) -> int:
            value = int(getattr(first, name))
            return value if value != unknown else int(getattr(context, name))

        self._geometry = (first.width, first.height, first.format.name)
        layout, target = LAYOUTS.get(first.format.name), self._target
        form = layout.format if layout else target
        if form is None:
            raise UnsupportedError(
                f"Pixel format '{first.format.name}' of {self._name} is not supported.",
                f"Supported are {', '.join(PIXEL_FORMATS)}; --pix-fmt converts to one of them.",
            )
        info = VideoInfo(
            first.width,
            first.height,
            form,
            color_range=2 if layout and layout.full_range else tag("color_range", 0),
            color_primaries=tag("color_primaries", UNKNOWN),
            color_transfer=tag("color_trc", UNKNOWN),
            color_matrix=tag("colorspace", UNKNOWN),
            chroma_location=chroma_location(stream),
            sample_aspect=fraction(stream.sample_aspect_ratio),
            rotation=self._rotation(first),
        )
        if not info.format.shift_x:
            info = replace(info, chroma_location=0)
        if layout and layout.format.family == "gray" and info.color_matrix == RGB:
            info = replace(info, color_matrix=UNKNOWN)  # as FFmpeg tags grey PNG
        info = color.on(info, source_family(first.format.name))
        self._converter = None
        self._narrows = target is not None and shifts_from_16_bits(first.format.name, target)
        if target and self._narrows:
            self.notes.append(f"16-bit samples are cut to their upper {target.depth} bits")
        elif target and (layout is None or layout.format != target):
            self._converter = Converter(first.format.name, info, target)
            self.notes += self._converter.notes
            info = self._converter.info
        self.info = self._timed(info, stream, fps)
        self.has_audio = bool(container.streams.audio)
        if len(container.streams.video) > 1:
            self.notes.append(f"only the first of {len(container.streams.video)} video streams")
        if first.interlaced_frame:
            self.notes.append("the video is interlaced; its frames are coded as they are")
        # PyAV's own types have none of these.
        kinds = {entry.type.name for entry in first.side_data}  # type: ignore[attr-defined]
        if any(kind.startswith("DOVI") for kind in kinds):
            self.notes.append("Dolby Vision metadata is not kept")
        if kinds & {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS"}:
            self.notes.append("HDR mastering metadata is not kept")

    def _rotation(self, first: av.VideoFrame) -> int:
        matrix = first.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return 0
        numbers = bytes(matrix)[:36]  # type: ignore[call-overload]
        a, b, _, c, d, *_ = struct.unpack("<9i", numbers)
        angle = first.rotation
        if a * d - b * c < 0:
            self.notes.append("the display matrix mirrors the picture, which is not kept")
            return 0
        if angle % 90:
            self.notes.append(f"a display rotation by {angle} degrees is not kept")
            return 0
        return angle % 360

    def _timed(self, info: VideoInfo, stream: av.VideoStream, fps: Fraction | None) -> VideoInfo:
        images, pts = self._place.images, self._pts
        self._time_base = time_base = fraction(stream.time_base)
        self._new_rate = False
        self.frame_count = images or (len(pts) if pts else None)
        if images:
            if not fps:
                self.notes.append(f"frame rate not given, taken to be {DEFAULT_FRAME_RATE}")
            return replace(info, frame_rate=fps or DEFAULT_FRAME_RATE)
        rates = (stream.guessed_rate, stream.average_rate, stream.base_rate)
        declared = [standard_rate(fraction(rate)) for rate in rates]
        fallback = next((rate for rate in declared if rate), None)
        rate = constant_rate(pts, time_base, declared) if pts and time_base else fallback
        if fps:
            if fps != rate:
                was = rate or fraction(stream.average_rate)
                self.notes.append(f"frame rate {fps} as given, where the file says {was}")
                self._new_rate = True
            return replace(info, frame_rate=fps)
        if rate:
            return replace(info, frame_rate=rate)
        if pts and time_base:
            mean = fraction(stream.average_rate) or mean_rate(pts, time_base)
            self.notes.append("the frame rate varies; timestamps are kept")
            return replace(info, frame_rate=mean, time_base=time_base)
        self.notes.append(f"the file says no frame rate, taken to be {DEFAULT_FRAME_RATE}")
        return replace(info, frame_rate=DEFAULT_FRAME_RATE)

    def frames(self, start: int, stop: int | None) -> Iterator[Frame]:
        """Frames start to stop (exclusive; None is the end) in display order."""
        index = 0
        with reading(self._name), self._open() as (container, stream):
            for picture in container.decode(stream):
                if stop is not None and index >= stop:
                    return
                if (picture.width, picture.height, picture.format.name) != self._geometry:
                    raise InputError(
                        f"{self._name} changes from {self._geometry} to "
                        f"{(picture.width, picture.height, picture.format.name)} at frame {index}.",
                        "Cut it into parts of one size and format.",
                    )
                if index >= start:
                    yield self._frame(picture, index)
                index += 1
        self._check_count(index)

    def streams(self, start: int, stop: int | None) -> StreamsRecord | None:
        """Audio and subtitles beside some frames, None where there are none."""
        pts, base = self._pts, self.info.time_base or self._time_base
        if self._place.images or not pts or base is None:
            return None
        if self._new_rate:
            if self.has_audio:
                self.notes.append("audio is left out: it does not follow the given frame rate")
            return None
        whole = start == 0 and (stop is None or stop >= len(pts))
        end = pts[stop] if stop is not None and stop < len(pts) else 2 * pts[-1] - pts[-2:][0]
        with reading(self._name), self._open() as (container, _):
            return copy_out(container, pts[start] * base, None if whole else end * base, self.notes)

    def _frame(self, picture: av.VideoFrame, index: int) -> Frame:
        pts = picture.pts if self.info.time_base else None
        if self.info.time_base and pts is None:
            raise InputError(f"{self._name}: frame {index} has no timestamp.", "Give --fps.")
        if self._narrows:
            return Frame(narrow_planes(picture, self.info.format), pts)
        if self._converter:
            picture = self._converter.convert(picture)
        return Frame(frame_to_planes(picture), pts)

    def _check_count(self, decoded: int) -> None:
        if self.frame_count and decoded < self.frame_count:
            raise InputError(
                f"{self._name} has {self.frame_count} pictures, of which {decoded} decode.",
                "The file is damaged or cut short.",
            )

    def close(self) -> None:
        """Nothing is held open between iterations."""
