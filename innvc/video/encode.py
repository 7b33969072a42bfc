"""Writing into a container through PyAV: FFV1, which is lossless, and a few lossy codecs."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import av

from innvc.video.formats import Frame, PixelFormat, VideoInfo, pixel_format
from innvc.video.layouts import planes_to_frame
from innvc.video.matroska import HELD_LOCATIONS, write_sample_aspect
from innvc.video.streams import StreamCopier, StreamsPart
from innvc.video.timing import DEFAULT_FRAME_RATE

_LOCATION_NAMES = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")
_MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Encoding:
    """A codec, the native format it is given, and its options."""

    codec: str
    format: PixelFormat
    options: dict[str, str] = field(default_factory=dict)
    lossless: bool = False


def ffv1(info: VideoInfo) -> Encoding:
    """FFV1 version 3 with a checksum for each slice; takes every native format."""
    options = {"level": "3", "slicecrc": "1"}
    small = info.width <= 352 and info.height <= 288
    if min(info.width, info.height) < 64 and small:
        options["slices"] = "1"  # the default number does not fit into a few pixels
    elif min(info.width, info.height) < 16:
        options = {"level": "1"}  # version 3 wants more slices than a thin picture can give
    return Encoding("ffv1", info.format, options, lossless=True)


def _with(form: PixelFormat, sampling: str, depth: int) -> PixelFormat:
    return pixel_format(f"yuv{sampling}p" + ("" if depth == 8 else f"{depth}le"))


def _sampling(form: PixelFormat) -> str:
    return {(1, 1): "420", (1, 0): "422", (0, 0): "444"}[form.shift_x, form.shift_y]


def lossy(extension: str, info: VideoInfo) -> Encoding:
    """The encoding for a viewing copy: .mp4 and .mov (H.264) or .webm (VP9)."""
    form = info.format
    sampling = "420" if form.family == "gray" else _sampling(form)
    if extension == ".webm":
        return Encoding("libvpx-vp9", _with(form, sampling, 8), {"crf": "14", "b": "0"})
    if (info.width % 2 and sampling != "444") or (info.height % 2 and sampling == "420"):
        sampling = "444"  # x264 refuses odd sizes with subsampled chroma
    # Not x265 for 12 bits: it corrupts the heap on pictures below 64 pixels a side.
    target = _with(form, sampling, min(form.depth, 10))
    return Encoding("libx264", target, {"crf": "14", "preset": "medium"})


class ContainerWriter:
    """Encodes frames into a file whose extension names the container.

    Attributes:
        lossless: whether the samples come back bit-exactly.
        notes: what the container does not hold; complete after close().

    Args:
        path: where to write.
        info: of the frames; its format must be the encoding's.
        encoding: how to code them.
        streams: audio and subtitles to copy, and the times in the video of what is written.
    """

    def __init__(
        self, path: str, info: VideoInfo, encoding: Encoding, streams: StreamsPart | None = None
    ) -> None:
        self.lossless = encoding.lossless
        self.notes = [] if encoding.lossless else [f"{encoding.codec} is lossy: for viewing only"]
        self._path = path
        self._info = info
        self._layout = "bgr0" if encoding.codec == "ffv1" and info.format.name == "gbrp" else ""
        self._matroska = path.lower().endswith((".mkv", ".webm"))
        self._rate = info.frame_rate or DEFAULT_FRAME_RATE
        self._time_base = info.time_base or 1 / self._rate
        self._count = 0
        # The checksums of Matroska's header would be wrong once the display size is put in.
        options = {"write_crc32": "0"} if self._matroska else {}
        self._container = av.open(path, "w", options=options)
        self._stream = self._add_stream(encoding)
        self._copier = None
        if streams is not None:
            record, first, last = streams
            self._copier = StreamCopier(record, self._container, first, last, self.notes)
        if info.time_base and self._matroska and (info.time_base / _MILLISECOND).denominator > 1:
            self.notes.append("timestamps are rounded to milliseconds by the container")

        if self._matroska and info.chroma_location not in HELD_LOCATIONS:
            self.notes.append("Matroska does not hold this chroma location")

    def _add_stream(self, encoding: Encoding) -> av.VideoStream:
        info = self._info
        options = dict(encoding.options)
        if info.chroma_location and info.format.shift_x:
            options["chroma_sample_location"] = _LOCATION_NAMES[info.chroma_location]
        stream = self._container.add_stream(encoding.codec, rate=self._rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = info.width, info.height
        stream.pix_fmt = self._layout or info.format.name
        context = stream.codec_context
        context.thread_type = "AUTO"  # PyAV's default, slices, costs x264 a few per cent
        context.time_base = self._time_base
        self._tag(context)
        if info.sample_aspect:
            context.sample_aspect_ratio = info.sample_aspect
        if info.rotation:
            if hasattr(stream, "set_display_rotation"):
                stream.set_display_rotation((info.rotation + 180) % 360 - 180)
            else:
                self.notes.append("this version of PyAV cannot write the rotation")
        return stream

    def _tag(self, target: av.VideoFrame | av.VideoCodecContext) -> None:
        target.color_range = self._info.color_range
        target.color_primaries = self._info.color_primaries
        target.color_trc = self._info.color_transfer
        # H.273's matrix 0 is RGB, which encoders refuse on other samples.
        no_matrix = self._info.color_matrix == 0 and self._info.format.family != "rgb"
        target.colorspace = 2 if no_matrix else self._info.color_matrix

    def write(self, frame: Frame) -> None:
        picture = planes_to_frame(frame.planes, self._info.format, layout=self._layout)
        self._tag(picture)
        step = 1 / (self._rate * self._time_base)
        pts = frame.pts if self._info.time_base is not None else None
        picture.pts = pts = round(self._count * step) if pts is None else pts
        picture.time_base = self._time_base
        picture.duration = max(1, round(step))
        self._count += 1
        if self._copier is not None:
            self._copier.write(pts * self._time_base)
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        if self._copier is not None:
            self._copier.write(None)
            self._copier.close()
        self._container.close()
        aspect = self._info.sample_aspect
        if aspect and self._matroska:
            size = self._info.width, self._info.height
            if not write_sample_aspect(self._path, *size, aspect):
                self.notes.append(f"the sample aspect ratio {aspect} is not written")

    def abort(self) -> None:
        self._container.close()
