"""An encode job: a clip, fitted segment by segment and written, and what is told of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from innvc import __version__
from innvc.bitstream.chunks import VERSION
from innvc.bitstream.header import HeaderRecord, to_ratio
from innvc.bitstream.streams import StreamsRecord
from innvc.bitstream.writer import Writer
from innvc.checkpoint import Checkpoint
from innvc.clip import Clip
from innvc.errors import CorruptError, UsageError, VerificationError
from innvc.metrics import Quality, QualityMeter, to_json_value
from innvc.progress import EncodeProgress
from innvc.reader import VideoReader
from innvc.samples import SamplesCrc
from innvc.segment_task import SegmentTask
from innvc.workers import Runner

if TYPE_CHECKING:
    import torch

    from innvc.encoder import Decisions
    from innvc.report.recorder import PassRecord
    from innvc.switches import Switches


@dataclass(frozen=True)
class EncodeResult:
    """What `encode` made: measured on the file and on what it decodes to.

    Attributes:
        bytes: Size of the file.
        bpp: 8 x bytes / (frames x width x height).
        psnr_y, psnr_u, psnr_v: PSNR of the mean squared error of all frames, in dB, of each plane
            (G, B, R of RGB); None where there is no such plane, infinite without loss.
        psnr_611: (6 Y + U + V) / 8 of them, in dB; of RGB their mean.
        msssim_y: MS-SSIM of plane 0, 0 to 1; None for pictures too small for it.
        width, height, frames: Of the video, in samples of plane 0.
        steps, steps_per_second: Of the fit; the speed is None where no step was taken.
        seconds: Of the whole encode.
        lambda_, preset: With which the file was made.
        device: Of torch.
        model, version: A summary of the model, and the version of the package.
        interrupted: Whether `stop` ended the fit.
        target_psnr, target_bytes: What was asked for, in dB or bytes; None if nothing was.
        passes: Over the whole clip.
        notes: Remarks for the user.
    """

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
    steps_per_second: float | None
    seconds: float
    lambda_: float
    preset: str
    device: str
    model: str
    version: str
    interrupted: bool = False
    target_psnr: float | None = None
    target_bytes: int | None = None
    passes: int = 1
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """The result as JSON values; infinite decibels become null."""
        values = asdict(self)
        values["lambda"] = values.pop("lambda_")
        return {k: to_json_value(v) if isinstance(v, float) else v for k, v in values.items()}


def check_settings(
    lambda_: float,
    steps: int | None,
    seconds: float | None,
    gop: int | None,
    keyint: int,
    seed: int,
    segment: int | None,
) -> None:
    """Checks what the options of an encode may be.

    Raises:
        UsageError: one is out of its range.
    """
    if not (math.isfinite(lambda_) and 1e-5 <= lambda_ <= 1e4):
        raise UsageError(
            f"Lambda {lambda_:g} is out of range.",
            "Give a number from 0.00001 to 10000; 1 is about 48 dB.",
        )
    if steps is not None and steps < 0:
        raise UsageError(f"Cannot take {steps} steps.", "Give a number from 0.")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"Cannot fit for {seconds:g} seconds.", "Give a time above 0, as in 90s.")
    if gop is not None and not 1 <= gop <= 32:
        raise UsageError(f"Groups of {gop} frames are not possible.", "Give a number from 1 to 32.")
    if not 1 <= keyint < 1 << 31:
        raise UsageError(
            f"A key interval of {keyint} frames is not possible.", "Give a number from 1."
        )
    if segment is not None and not 1 <= segment < 1 << 31:
        raise UsageError(f"Segments of {segment} frames are not possible.", "Give a number from 1.")
    if not 0 <= seed < 1 << 63:
        raise UsageError(f"The seed {seed} is out of range.", "Give a number from 0.")


class EncodeJob:
    """One encode: the header, and the segments one after the other.

    Attributes:
        header: Of the file.
        fit_seconds: Time that the steps of all fits took.
    """

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
        switches: Switches,
    ) -> None:
        from innvc import presets
        from innvc.decoder import layout_of
        from innvc.encoder import EncodeSettings
        from innvc.model.model import even_lambda, finest_step_base, step_base_of

        info = clip.info
        self.clip = clip
        self.device = device
        self.fit_seconds = 0.0
        layout = layout_of(info.format.name)
        facts = presets.Clip(layout, info.width, info.height, max(clip.lengths))
        config, fit = presets.make(preset, facts, switches, lambda_)
        if gop is not None:
            config = msgspec.structs.replace(config, gop=gop)
        if steps is not None:
            fit = msgspec.structs.replace(fit, steps=steps, least_bytes=0)
        share = None if seconds is None else seconds / len(clip.lengths)
        self.settings = EncodeSettings(fit, even_lambda(lambda_, layout), gop, share, seed)
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
            step_base=max(step_base_of(lambda_, layout), finest_step_base(config, layout)),
            encoder=f"innvc {__version__}",
            model=config,
        )

    def write(
        self,
        writer: Writer,
        progress: Callable[[EncodeProgress], None],
        stop: Callable[[], bool],
        runner: Runner,
        checkpoint: Checkpoint | None = None,
        known: Sequence[Decisions] | None = None,
        streams: StreamsRecord | None = None,
    ) -> tuple[int, list[Decisions]]:
        """Fits and writes all segments.

        Args:
            runner: Encodes them.
            known: Of each segment, in place of a fit.
            streams: Audio and subtitles.

        Returns:
            The steps taken, and what was decided for each segment.
        """
        from innvc.encoder import Decisions

        writer.write_header(self.header)
        if streams is not None:
            writer.write_streams(streams)
        steps, self.fit_seconds = 0, 0.0
        decided: list[Decisions] = []
        tasks = self._tasks(checkpoint, known)
        for number, coded in enumerate(runner.run(tasks, progress, stop)):
            if checkpoint is not None and not stop():
                checkpoint.keep(number, coded)
            writer.begin_segment(coded.segment)
            writer.write_parameters(coded.parameters)
            for packet in coded.packets:
                writer.write_packet(packet)
            motion = [(packet.subbands, packet.motion) for packet in coded.packets]
            decided.append(Decisions(coded.parameters, motion))
            steps += coded.steps
            self.fit_seconds += coded.seconds
        writer.finish()
        return steps, decided

    def _tasks(
        self, checkpoint: Checkpoint | None, known: Sequence[Decisions] | None
    ) -> Iterator[SegmentTask]:
        first = 0
        for number, frames in enumerate(self.clip.segments()):
            part = coded = None
            if checkpoint is not None:
                part = checkpoint.segment(number, self._settings(first), frames)
                coded = part.coded()
            yield SegmentTask(
                number,
                len(self.clip.lengths),
                first,
                frames,
                self.header,
                self.settings,
                str(self.device),
                None if known is None else known[number],
                part,
                coded,
            )
            first += len(frames)

    def _settings(self, first: int) -> bytes:
        """All that decides how the segment from this frame on is coded, beside its frames."""
        parts = VERSION, self.header, self.settings, self.device.type, first
        return msgspec.json.encode(parts)


def measure(
    path: Path,
    clip: Clip,
    device: str,
    report: Callable[[EncodeProgress], None],
    record: PassRecord | None = None,
) -> tuple[Quality, list[int]]:
    """Quality of the file, and the CRC of each segment's samples.

    Synthesis is in float64: its samples hold everywhere. Those of `decode` without `exact` differ
    by one code value in a few samples at most.

    Args:
        record: Is shown every frame.

    Raises:
        VerificationError: the file does not decode.
    """
    meter = QualityMeter(clip.info.format, msssim=True)
    try:
        with VideoReader(path, device=device, exact=True) as reader:
            samples = SamplesCrc(reader.segments)
            for done, (original, decoded) in enumerate(zip(clip, reader, strict=True), 1):
                samples.add(decoded)
                decibels = meter.update(original.planes, decoded.planes)
                if record is not None:
                    record.add(original.planes, decoded.planes, decibels)
                report(EncodeProgress("measure", done, clip.count, 0, 1))
    except CorruptError as error:
        raise VerificationError(
            f"The file that was written does not decode: {error.message}", "Please report it."
        ) from error
    return meter.result(), samples.values
