"""The layer above everything: encode, decode, verify, compare."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from innvc import __version__
from innvc.bitstream.container import Reader, Writer
from innvc.bitstream.header import HeaderRecord, to_ratio
from innvc.errors import (
    InnvcError,
    InputError,
    OutputExistsError,
    UsageError,
    VerificationError,
)
from innvc.metrics import Quality, QualityMeter, to_json_value
from innvc.reader import VideoReader
from innvc.video.formats import Frame, VideoInfo
from innvc.video.sink import open_sink
from innvc.video.source import VideoSource, open_source

if TYPE_CHECKING:
    from innvc.fit.loop import Progress

Selection = tuple[int | None, int | None]
SEGMENT_SAMPLES = 1 << 26  # of all planes: what a segment may hold in memory
SEGMENT_FRAMES = 32  # at least, whatever their size
KEYINT = 256


@dataclass(frozen=True)
class EncodeProgress:
    """Where an encode is: a step of the fit of one segment."""

    segment: int
    segments: int
    steps: int  # planned for this segment
    fit: Progress


@dataclass(frozen=True)
class EncodeResult:
    """What `encode` made. bpp is 8 bytes / (frames width height) of the whole file."""

    bytes: int
    bpp: float
    psnr_y: float
    psnr_u: float | None
    psnr_v: float | None
    psnr_611: float
    msssim_y: float | None
    width: int
    height: int
    frames: int
    steps: int
    seconds: float
    lambda_: float
    preset: str
    device: str
    model: str
    version: str
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """The result as JSON values; infinite decibels become null."""
        values = asdict(self)
        values["lambda"] = values.pop("lambda_")
        return {k: to_json_value(v) if isinstance(v, float) else v for k, v in values.items()}


def encode(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    lambda_: float = 1.0,
    preset: str = "fast",
    steps: int | None = None,
    seconds: float | None = None,
    gop: int | None = None,
    keyint: int = KEYINT,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    size: tuple[int, int] | None = None,
    pix_fmt: str | None = None,
    fps: Fraction | None = None,
    frames: Selection | None = None,
    overwrite: bool = False,
    progress: Callable[[EncodeProgress], None] | None = None,
    note: Callable[[str], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> EncodeResult:
    """Encodes a video to an .innv file, decodes it again and measures the result.

    Args:
        source: Any video that PyAV reads, .yuv, .y4m, or "-" for y4m on standard input.
        output: The .innv file; it appears whole or not at all.
        lambda_: Weight of the distortion: 1 is about 48 dB, a factor of ten about ten dB.
        preset: How large a model, how long a fit.
        steps: Steps of the fit, in place of the preset's.
        seconds: Bound on the time of the fit.
        gop: Frames of every group (1, 2, 4, 8, 16); None lets the encoder choose.
        keyint: Frames from one packet that decodes alone to the next, at most.
        seed: Of crops and noise.
        device: "auto", "cpu" or "cuda[:n]".
        threads: Of torch on the CPU.
        size, pix_fmt, fps: Of raw video; pix_fmt converts other video.
        frames: Half-open range of frames.
        overwrite: Replace an existing output.
        progress: Called after every step of the fit.
        note: Called with remarks for the user.
        stop: Asked before every step; True ends the fit, and what there is becomes the file.

    Raises:
        InnvcError: with a sentence, a hint and an exit code.
    """
    began = time.monotonic()
    _check_settings(lambda_, steps, seconds, gop, keyint)
    target = Path(output)
    _check_output(target, source, overwrite)
    from innvc.config import ModelConfig
    from innvc.device import limit_threads, select
    from innvc.presets import PRESETS

    if preset not in PRESETS:
        raise UsageError(f"There is no preset '{preset}'.", f"Choose one of {', '.join(PRESETS)}.")
    where = select(device)
    limit_threads(threads)
    notes: list[str] = []

    def remark(text: str) -> None:
        if text not in notes:
            notes.append(text)
            if note is not None:
                note(text)

    with ExitStack() as stack:
        video = stack.enter_context(open_source(os.fspath(source), size=size, pix_fmt=pix_fmt,
                                                fps=fps, frames=frames))
        for text in video.notes:
            remark(text)
        clip = _Clip(video, from_stdin=os.fspath(source) == "-")
        run = _Encode(clip, lambda_, preset, steps, seconds, gop, keyint, seed, where)
        temporary = _temporary_beside(target, stack)
        with open(temporary, "wb") as file:
            taken = run.write(Writer(file), progress, stop)
            file.flush()
            os.fsync(file.fileno())
        for text in video.notes:
            remark(text)
        quality = _measure(temporary, clip, device)
        total = temporary.stat().st_size
        _put_in_place(temporary, target, overwrite)
    info = clip.info
    config: ModelConfig = run.header.model
    return EncodeResult(
        bytes=total,
        bpp=8 * total / (clip.count * info.width * info.height),
        psnr_y=quality.psnr_y,
        psnr_u=quality.psnr_u,
        psnr_v=quality.psnr_v,
        psnr_611=quality.psnr_611,
        msssim_y=quality.msssim_y,
        width=info.width,
        height=info.height,
        frames=clip.count,
        steps=taken,
        seconds=time.monotonic() - began,
        lambda_=lambda_,
        preset=preset,
        device=str(where),
        model=f"innvc start {config.start}, {sum(config.groups)} channels, gop {config.gop}",
        version=__version__,
        interrupted=stop(),
        notes=notes,
    )


class _Clip:
    """The selected frames of a source, countable and readable twice."""

    def __init__(self, video: VideoSource, from_stdin: bool) -> None:
        self.info: VideoInfo = video.info
        self._video = video
        self._kept: list[Frame] | None = list(video) if from_stdin else None
        if self._kept is not None:
            self.count = len(self._kept)
        elif video.frame_count is not None:
            self.count = video.frame_count
        else:
            self.count = sum(1 for _ in video)
        if not self.count:
            raise InputError("The input has no frames.")

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._video if self._kept is None else self._kept)

    def segments(self, longest: int) -> Iterator[list[Frame]]:
        """Runs of up to `longest` frames; the total must be what was counted."""
        run: list[Frame] = []
        total = 0
        for frame in self:
            run.append(frame)
            total += 1
            if len(run) == longest:
                yield run
                run = []
        if run:
            yield run
        if total != self.count:
            raise InputError(f"The input gave {total} frames where {self.count} were expected.")


class _Encode:
    """One encode: the header, and the segments one after the other."""

    def __init__(self, clip, lambda_, preset, steps, seconds, gop, keyint, seed, device) -> None:
        from innvc.decoder import layout_of
        from innvc.encoder import EncodeSettings
        from innvc.model.model import step_base_of
        from innvc.presets import Clip, make

        info: VideoInfo = clip.info
        self.clip = clip
        self.device = device
        samples = info.format.frame_bytes(info.width, info.height) // info.format.dtype.itemsize
        longest = max(SEGMENT_FRAMES, SEGMENT_SAMPLES // samples // 16 * 16)
        self.count = -(-clip.count // longest)
        # Equal segments, in whole groups of 16.
        self.longest = min(longest, -(-clip.count // self.count // 16) * 16)
        self.count = -(-clip.count // self.longest)
        layout = layout_of(info.format.name)
        config, fit = make(preset, Clip(layout, info.width, info.height,
                                        min(clip.count, self.longest)))
        if gop is not None:
            config = replace_struct(config, gop=gop)
        if steps is not None:
            fit = replace_struct(fit, steps=steps)
        share = None if seconds is None else seconds / self.count
        self.settings = EncodeSettings(fit, lambda_, gop, share, seed)
        self.header = HeaderRecord(
            width=info.width,
            height=info.height,
            pix_fmt=info.format.name,
            frames=clip.count,
            frame_rate=to_ratio(info.frame_rate),
            time_base=to_ratio(info.time_base),
            color_range=info.color_range,
            color_primaries=info.color_primaries,
            color_transfer=info.color_transfer,
            color_matrix=info.color_matrix,
            chroma_location=info.chroma_location,
            sample_aspect=to_ratio(info.sample_aspect),
            rotation=info.rotation,
            keyint=keyint,
            lambda_=lambda_,
            preset=preset,
            step_base=step_base_of(lambda_, layout),
            encoder=f"innvc {__version__}",
            model=config,
        )

    def write(
        self,
        writer: Writer,
        progress: Callable[[EncodeProgress], None] | None,
        stop: Callable[[], bool],
    ) -> int:
        """Fits and writes all segments; returns the steps taken."""
        from innvc.encoder import SegmentEncoder

        writer.write_header(self.header)
        first, taken = 0, 0
        planned = self.settings.fit.steps
        for number, frames in enumerate(self.clip.segments(self.longest)):
            encoder = SegmentEncoder(self.header, frames, first, self.settings, self.device)

            def report(state: Progress, number: int = number) -> None:
                if progress is not None:
                    progress(EncodeProgress(number, self.count, planned, state))

            record, steps = encoder.fit(report, stop)
            taken += steps
            writer.begin_segment(encoder.segment)
            writer.write_parameters(record)
            for packet in encoder.packets(record):
                writer.write_packet(packet)
            first += len(frames)
        writer.finish()
        return taken


def replace_struct(struct, **changes):
    """A frozen configuration with some fields changed and checked again."""
    import msgspec

    return msgspec.structs.replace(struct, **changes)


def _measure(path: Path, clip: _Clip, device: str) -> Quality:
    """Quality of the file as the decoder reads it."""
    meter = QualityMeter(clip.info.format, msssim=True)
    with VideoReader(path, device=device) as reader:
        for original, decoded in zip(clip, reader, strict=True):
            meter.update(original.planes, decoded.planes)
    return meter.result()


def decode(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    frames: Selection | None = None,
    layers: int | None = None,
    exact: bool = False,
    device: str = "auto",
    threads: int | None = None,
    pix_fmt: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> int:
    """Decodes an .innv file to .yuv, .y4m ("-" on standard output), .mkv (FFV1), .png or lossy video.

    Args:
        frames: Half-open range of frames.
        layers: Decode only the first layers: a lower quality from fewer bytes.
        exact: Synthesis in float64.
        progress: Called with frames done and frames in all.

    Returns:
        The number of frames written.

    Raises:
        InnvcError: with a sentence, a hint and an exit code.
    """
    target = os.fspath(output)
    if target != "-" and _same_file(source, target):
        raise UsageError("Output and input are the same file.", "Choose another output.")
    with VideoReader(source, device=device, exact=exact, layers=layers) as reader:
        first, last = _range(frames, len(reader))
        if threads is not None:
            from innvc.device import limit_threads

            limit_threads(threads)
        with open_sink(target, reader.info, pix_fmt=pix_fmt, overwrite=overwrite) as sink:
            origin = None
            for done, index in enumerate(range(first, last), 1):
                frame = reader[index]
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


def verify(
    source: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
) -> int:
    """Checks every CRC and decodes every symbol of a file.

    Returns:
        The number of packets.

    Raises:
        CorruptError: something is damaged, or a symbol differs from the encoder's.
    """
    with Reader(source) as reader:
        reader.check_all()
        places = [(s, p) for s, p, _ in reader.packets()]
    with VideoReader(source, device="cpu") as video:
        for done, (segment, packet) in enumerate(places, 1):
            video.check_symbols(segment, packet)
            if progress is not None:
                progress(done, len(places))
    return len(places)


def compare(
    reference: str | os.PathLike[str],
    distorted: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    pix_fmt: str | None = None,
    fps: Fraction | None = None,
    frames: Selection | None = None,
    device: str = "auto",
    progress: Callable[[int, int | None], None] | None = None,
) -> dict[str, object]:
    """Quality of a video against its reference: PSNR of each plane, 6:1:1, MS-SSIM, and bpp of .innv.

    Args:
        reference, distorted: Videos, either may be an .innv file.
        size, pix_fmt, fps: Of raw video.
        frames: Half-open range of the reference.

    Raises:
        InnvcError: they differ in size, format or length, or cannot be read.
    """
    with ExitStack() as stack:

        def opened(path: str | os.PathLike[str], selection: Selection | None):
            if _is_innv(path):
                reader = stack.enter_context(VideoReader(path, device=device))
                first, last = _range(selection, len(reader))
                return reader.info, (reader[i] for i in range(first, last)), last - first
            video = stack.enter_context(
                open_source(os.fspath(path), size=size, pix_fmt=pix_fmt, fps=fps, frames=selection)
            )
            return video.info, iter(video), video.frame_count

        info, originals, count = opened(reference, frames)
        other, decoded, _ = opened(distorted, None)
        if (info.width, info.height, info.format) != (other.width, other.height, other.format):
            raise InputError(
                f"The videos differ: {info.width}x{info.height} {info.format.name} "
                f"and {other.width}x{other.height} {other.format.name}.",
                "Compare videos of one size and pixel format.",
            )
        meter = QualityMeter(info.format, msssim=True)
        done, end = 0, object()
        while True:
            a, b = next(originals, end), next(decoded, end)
            if a is end or b is end:
                if a is not b:
                    raise InputError(
                        f"One video ends after {done} frames, the other goes on.",
                        "Use --frames to compare a part of the reference.",
                    )
                break
            meter.update(a.planes, b.planes)
            done += 1
            if progress is not None:
                progress(done, count)
        quality = meter.result()
    result: dict[str, object] = {
        key: to_json_value(value) if isinstance(value, float) else value
        for key, value in asdict(quality).items()
    }
    if _is_innv(distorted):
        total = os.path.getsize(distorted)
        result["bytes"] = total
        result["bpp"] = 8 * total / (quality.frames * info.width * info.height)
    return result


def open_video(
    path: str | os.PathLike[str],
    *,
    device: str = "auto",
    exact: bool = False,
    layers: int | None = None,
    torch_planes: bool = False,
) -> VideoReader:
    """Opens an .innv file for random access; also `innvc.open`."""
    return VideoReader(
        path, device=device, exact=exact, layers=layers, torch_planes=torch_planes
    )


def _check_settings(lambda_, steps, seconds, gop, keyint) -> None:
    if not (math.isfinite(lambda_) and 1e-4 <= lambda_ <= 1e4):
        raise UsageError(
            f"Lambda {lambda_:g} is out of range.", "Give a number from 0.0001 to 10000; 1 is about 48 dB."
        )
    if steps is not None and steps < 0:
        raise UsageError(f"Cannot take {steps} steps.", "Give a number from 0.")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"Cannot fit for {seconds:g} seconds.", "Give a time above 0, as in 90s.")
    if gop is not None and gop not in (1, 2, 4, 8, 16):
        raise UsageError(f"Groups of {gop} frames are not possible.", "Give 1, 2, 4, 8 or 16.")
    if keyint < 1:
        raise UsageError(f"A key interval of {keyint} frames is not possible.", "Give a number from 1.")


def _check_output(target: Path, source: str | os.PathLike[str], overwrite: bool) -> None:
    if target.suffix.lower() != ".innv":
        raise UsageError(f"The output '{target}' does not end in .innv.", "Name it like out.innv.")
    if not target.parent.is_dir():
        raise UsageError(f"The folder '{target.parent}' does not exist.", "Make it first.")
    if target.is_dir():
        raise UsageError(f"The output '{target}' is a folder.", "Give a file name.")
    if _same_file(source, target):
        raise UsageError("Output and input are the same file.", "Choose another output.")
    if target.exists() and not overwrite:
        raise OutputExistsError(f"The output '{target}' exists.", "Use -y to replace it.")


def _same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return os.path.abspath(a) == os.path.abspath(b)


def _temporary_beside(target: Path, stack: ExitStack) -> Path:
    """A temporary file in the target's folder, removed when the stack ends unless renamed."""
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}.", suffix=".innv.tmp", dir=target.parent
        )
    except OSError as error:
        raise InnvcError(f"Cannot write to '{target.parent}': {error.strerror}.") from error
    os.close(handle)
    temporary = Path(name)
    stack.callback(lambda: temporary.unlink(missing_ok=True))
    return temporary


def _put_in_place(temporary: Path, target: Path, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise OutputExistsError(f"The output '{target}' appeared meanwhile.", "Use -y to replace it.")
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)
    os.replace(temporary, target)


def _range(frames: Selection | None, count: int) -> tuple[int, int]:
    first, last = frames or (None, None)
    first = 0 if first is None else first
    last = count if last is None else last
    if not 0 <= first < last <= count:
        raise UsageError(
            f"Frames {first}:{last} are not in the video's {count}.", f"Choose within 0:{count}."
        )
    return first, last


def _is_innv(path: str | os.PathLike[str]) -> bool:
    return os.fspath(path).lower().endswith(".innv")
