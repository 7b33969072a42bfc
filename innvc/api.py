"""The layer above everything: encode, decode, verify, compare."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from innvc import __version__
from innvc.bitstream.container import Reader, Writer
from innvc.bitstream.header import HeaderRecord, to_ratio
from innvc.clip import Clip, refuse_innv
from innvc.comparison import Selection, compare
from innvc.errors import CorruptError, UsageError, VerificationError
from innvc.metrics import Quality, QualityMeter, to_json_value
from innvc.output import OutputFile, check_output, same_file
from innvc.reader import VideoReader, frame_range
from innvc.video.sink import open_sink
from innvc.video.source import open_source

if TYPE_CHECKING:
    import torch

    from innvc.config import ModelConfig
    from innvc.fit.loop import Progress

__all__ = ["EncodeProgress", "EncodeResult", "compare", "decode", "encode", "open_video", "verify"]

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
    _check_settings(lambda_, steps, seconds, gop, keyint, seed)
    name, target = os.fspath(source), Path(output)
    check_output(target, name, overwrite)
    from innvc.device import limit_threads, select
    from innvc.presets import PRESETS

    if preset not in PRESETS:
        raise UsageError(f"There is no preset '{preset}'.", f"Choose one of {', '.join(PRESETS)}.")
    where = select(device)
    limit_threads(threads)
    refuse_innv(name)
    notes: list[str] = []

    def remark(texts: list[str]) -> None:
        for text in texts:
            if text not in notes:
                notes.append(text)
                if note is not None:
                    note(text)

    with ExitStack() as stack:
        video = stack.enter_context(
            open_source(name, size=size, pix_fmt=pix_fmt, fps=fps, frames=frames)
        )
        remark(video.notes)
        clip = Clip(video, from_stdin=name == "-")
        run = _Encode(clip, lambda_, preset, steps, seconds, gop, keyint, seed, where)
        result = stack.enter_context(OutputFile(target, overwrite))
        with open(result.path, "wb") as file:
            taken = run.write(Writer(file), progress, stop)
            file.flush()
            os.fsync(file.fileno())
        remark(video.notes)
        quality = _measure(result.path, clip, device)
        total = result.path.stat().st_size
        result.commit()
    info, config = clip.info, run.header.model
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


class _Encode:
    """One encode: the header, and the segments one after the other."""

    def __init__(
        self,
        clip: Clip,
        lambda_: float,
        preset: str,
        steps: int | None,
        seconds: float | None,
        gop: int | None,
        keyint: int,
        seed: int,
        device: torch.device,
    ) -> None:
        from innvc import presets
        from innvc.decoder import layout_of
        from innvc.encoder import EncodeSettings
        from innvc.model.model import step_base_of

        info = clip.info
        self.clip = clip
        self.device = device
        layout = layout_of(info.format.name)
        longest = min(clip.count, clip.segment_frames)
        config, fit = presets.make(preset, presets.Clip(layout, info.width, info.height, longest))
        if gop is not None:
            config = msgspec.structs.replace(config, gop=gop)
        if steps is not None:
            fit = msgspec.structs.replace(fit, steps=steps)
        share = None if seconds is None else seconds / clip.segment_count
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
            rotation=cast(Literal[0, 90, 180, 270], info.rotation),
            keyint=keyint,
            lambda_=lambda_,
            preset=preset,
            step_base=max(step_base_of(lambda_, layout), _finest_step_base(config, layout.family)),
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
        planned, segments = self.settings.fit.steps, self.clip.segment_count
        for number, frames in enumerate(self.clip.segments()):
            encoder = SegmentEncoder(self.header, frames, first, self.settings, self.device)

            def report(state: Progress, number: int = number) -> None:
                if progress is not None:
                    progress(EncodeProgress(number, segments, planned, state))

            record, steps = encoder.fit(report, stop)
            taken += steps
            writer.begin_segment(encoder.segment)
            writer.write_parameters(record)
            for packet in encoder.packets(record):
                writer.write_packet(packet)
            first += len(frames)
        writer.finish()
        return taken


def _finest_step_base(config: ModelConfig, family: str) -> int:
    """Least step_base at which the latent of any video fits the symbols' range.

    The largest latent is that of a flat white group: half the range times the gain of the
    orthonormal transforms over the block, the group and, for RGB, the planes. A quarter of the
    range is left for what the fit does to the steps.
    """
    from innvc.bitstream.latent import RESIDUAL_LIMIT

    gain = config.packing * 2 ** (config.stages - 1) * math.sqrt(config.gop)
    if family == "rgb":
        gain *= math.sqrt(3)
    return math.ceil(16 * math.log2(255 / 2 * gain / (0.75 * RESIDUAL_LIMIT)))


def _measure(path: Path, clip: Clip, device: str) -> Quality:
    """Quality of the file as the decoder reads it."""
    meter = QualityMeter(clip.info.format, msssim=True)
    try:
        with VideoReader(path, device=device) as reader:
            for original, decoded in zip(clip, reader, strict=True):
                meter.update(original.planes, decoded.planes)
    except CorruptError as error:
        raise VerificationError(
            f"The file that was written does not decode: {error.message}", "Please report it."
        ) from error
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
    """Decodes an .innv file to video.

    The name decides: .yuv, .y4m ("-" is y4m on standard output), .mkv (FFV1) and, for grey and RGB,
    .png hold the very samples; .mp4, .mov and .webm are lossy copies for viewing.

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
    if target != "-" and same_file(source, target):
        raise UsageError("Output and input are the same file.", "Choose another output.")
    with VideoReader(source, device=device, exact=exact, layers=layers) as reader:
        first, last = frame_range(frames, len(reader))
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


def open_video(
    path: str | os.PathLike[str],
    *,
    device: str = "auto",
    exact: bool = False,
    layers: int | None = None,
    torch_planes: bool = False,
) -> VideoReader:
    """Opens an .innv file for random access; also `innvc.open`."""
    return VideoReader(path, device=device, exact=exact, layers=layers, torch_planes=torch_planes)


def _check_settings(
    lambda_: float,
    steps: int | None,
    seconds: float | None,
    gop: int | None,
    keyint: int,
    seed: int,
) -> None:
    if not (math.isfinite(lambda_) and 1e-4 <= lambda_ <= 1e4):
        raise UsageError(
            f"Lambda {lambda_:g} is out of range.",
            "Give a number from 0.0001 to 10000; 1 is about 48 dB.",
        )
    if steps is not None and steps < 0:
        raise UsageError(f"Cannot take {steps} steps.", "Give a number from 0.")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"Cannot fit for {seconds:g} seconds.", "Give a time above 0, as in 90s.")
    if gop is not None and gop not in (1, 2, 4, 8, 16):
        raise UsageError(f"Groups of {gop} frames are not possible.", "Give 1, 2, 4, 8 or 16.")
    if not 1 <= keyint < 1 << 31:
        raise UsageError(
            f"A key interval of {keyint} frames is not possible.", "Give a number from 1."
        )
    if not 0 <= seed < 1 << 63:
        raise UsageError(f"The seed {seed} is out of range.", "Give a number from 0.")
