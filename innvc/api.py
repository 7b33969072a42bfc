"""The layer above everything: encode, decode, verify, compare."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innvc import __version__
from innvc.bitstream.header import Limits
from innvc.checkpoint import SECONDS, Checkpoint
from innvc.comparison import Selection, compare
from innvc.config import ModelConfig
from innvc.decoding import decode
from innvc.encoding import EncodeResult
from innvc.errors import UsageError
from innvc.output import OutputFile, check_output, check_report
from innvc.passes import Passes
from innvc.progress import EncodeProgress
from innvc.reader import VideoReader
from innvc.request import AUTO, EncodeRequest
from innvc.switches import Switches
from innvc.verification import verify
from innvc.video.formats import ColorTags
from innvc.workers import check_workers, runner

if TYPE_CHECKING:
    from innvc.planning import EncodePlan

__all__ = [
    "EncodeProgress",
    "EncodeResult",
    "Limits",
    "compare",
    "decode",
    "encode",
    "open_video",
    "verify",
]

KEYINT = 256


def encode(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    lambda_: float | None = None,
    quality: float | None = None,
    target_psnr: float | None = None,
    target_bytes: int | None = None,
    bitrate: float | None = None,
    preset: str = "fast",
    steps: int | None = None,
    seconds: float | None = None,
    gop: int | None = None,
    keyint: int = KEYINT,
    segment: int | None = None,
    seed: int = 0,
    model: str = "innvc",
    mask: bool = True,
    modulation: bool = True,
    residual: bool = False,
    base: str | None = None,
    coupling: bool = True,
    context: bool = True,
    grid_context: bool = False,
    intra: bool = True,
    scale_network: bool = True,
    directions: bool = True,
    motion: bool = True,
    prediction: bool = True,
    step_offsets: bool = True,
    dependent: bool = True,
    trellis_states: int | None = None,
    paths: int | None = None,
    post_filter: bool = True,
    filter_steps: int | None = None,
    temporal_filter: bool = True,
    start: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    size: tuple[int, int] | None = None,
    pix_fmt: str | None = None,
    fps: Fraction | None = None,
    frames: Selection | None = None,
    cicp: tuple[int, int, int] | None = None,
    color_range: int | None = None,
    audio: bool = True,
    overwrite: bool = False,
    resume: bool = False,
    checkpoint: float = SECONDS,
    report: str | os.PathLike[str] | None = None,
    progress: Callable[[EncodeProgress], None] | None = None,
    note: Callable[[str], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> EncodeResult:
    """Encodes a video to an .innv file, decodes it again and measures the result.

    Args:
        source: Any video that PyAV reads, .yuv, .y4m, or "-" for y4m on standard input.
        output: The .innv file; it appears whole or not at all.
        lambda_: Weight of the distortion: 1 is about 48 dB, a factor of ten about ten dB. It or one
            of the next four may be given; else it is 1.
        quality: 0 to 100, in place of lambda: about 25 to 60 dB, 50 is about 42.
        target_psnr: PSNR-Y in dB, to be reached within 0.1 dB.
        target_bytes: Size of the file, of which it shall have 98 to 100 %.
        bitrate: The same, in bits a second.
        preset: How large a model, how long a fit.
        steps: Steps of the fit, in place of the preset's.
        seconds: Bound on the time of the fit.
        gop: Most frames of a group (1 to 32), all being nearly equal; None lets the encoder
            choose.
        keyint: Frames from one packet that decodes alone to the next, at most.
        segment: Frames of each segment, which is fitted by itself; None chooses by their size and
            by scene cuts.
        seed: Of crops and noise.
        model: "innvc", or "nvrc": a field with a pixel head and no latent, for low rates.
        mask, modulation, residual, base, coupling, context, grid_context, intra: Parts of the
            method, turned off or replaced for ablations; see `innvc.switches.Switches`.
        directions, motion, prediction, step_offsets, dependent, post_filter: The same.
        scale_network, temporal_filter, trellis_states, paths, filter_steps, start: The same.
        device: "auto", "cpu" or "cuda[:n]".
        threads: Of torch on the CPU.
        workers: Processes that encode segments side by side and share the threads; 1 if absent.
            Frames of `workers` + 1 segments are in memory. The file is the same.
        ray: Address of a Ray cluster that encodes the segments, as of `ray.init`; "local" begins
            one here. A segment takes `threads` CPUs, 1 if absent, or a GPU.
        size, pix_fmt, fps: Of raw video; pix_fmt converts other video.
        frames: Half-open range of frames.
        cicp: Colour primaries, transfer and matrix in place of the input's, by their numbers in
            ITU-T H.273.
        color_range: 1 limited, 2 full, in place of the input's.
        audio: Copy audio and subtitles of the input into the file, too.
        overwrite: Replace an existing output.
        resume: Go on where an encode of the same input to the same output was cut off. On the CPU,
            with as many threads and without `seconds`, the file is the one it would have been.
        checkpoint: Seconds from one save of what there is to the next, in a folder beside the
            output that is gone when the encode ends.
        report: An .html file to write: charts, and pictures of a few frames.
        progress: Called after every step of the fit.
        note: Called with remarks for the user.
        stop: Asked before every step; True ends the fit, and what there is becomes the file.

    Raises:
        InnvcError: with a sentence, a hint and an exit code.
    """
    began = time.monotonic()
    path = Path(output)
    request = EncodeRequest(
        os.fspath(source),
        lambda_=lambda_,
        quality=quality,
        target_psnr=target_psnr,
        target_bytes=target_bytes,
        bitrate=bitrate,
        preset=preset,
        steps=steps,
        seconds=seconds,
        gop=gop,
        keyint=keyint,
        segment=segment,
        seed=seed,
        switches=Switches(
            model=model,
            mask=mask,
            modulation=modulation,
            residual=residual,
            base=base,
            coupling=coupling,
            context=context,
            grid_context=grid_context,
            intra=intra,
            scale_network=scale_network,
            directions=directions,
            motion=motion,
            prediction=prediction,
            step_offsets=step_offsets,
            dependent=dependent,
            trellis_states=trellis_states,
            paths=paths,
            post_filter=post_filter,
            filter_steps=filter_steps,
            temporal_filter=temporal_filter,
            start=start,
        ),
        device=device,
        threads=threads,
        workers=workers or 1,
        size=size,
        pix_fmt=pix_fmt,
        fps=fps,
        frames=frames,
        color=ColorTags(cicp, color_range),
    )
    request.check()
    check_workers(workers)
    check_output(path, source, overwrite)
    if report is not None:
        check_report(Path(report), path, source, overwrite)
    if not checkpoint >= 0:
        raise UsageError(f"Cannot save every {checkpoint:g} seconds.", "Give a time, as in 60s.")
    if resume and preset == AUTO:
        raise UsageError("To go on, an encode needs its preset.", "Name the one it chose.")
    kept = Checkpoint(path, checkpoint, resume, overwrite)
    notes: list[str] = []

    def remark(text: str) -> None:
        if text not in notes:
            notes.append(text)
            if note is not None:
                note(text)

    with ExitStack() as stack:
        opened = stack.enter_context(request.open(remark))
        clip = opened.clip
        first = opened.make(clip, opened.lambda_)  # refuses what cannot be done
        if seconds is not None and not first.settings.fit.steps:
            remark(f"preset {first.header.preset} fits nothing that could end after a time")
        if resume and not kept.found:
            remark("There is no checkpoint; the encode begins anew.")
        streams = clip.streams() if audio else None
        tell = progress or (lambda state: None)
        recorder = None
        if report is not None:
            from innvc.report.recorder import Recorder

            recorder = Recorder(clip.info, clip.count)
            tell = recorder.following(tell)
        passes = Passes(
            clip,
            opened.make,
            lambda: stack.enter_context(OutputFile(path, overwrite)),
            streams,
            device,
            tell,
            stop,
            stack.enter_context(runner(len(clip.lengths), workers, ray, threads, first.device)),
            recorder,
        )
        if opened.target is None:
            made, count = passes.once(first, kept), 1
        else:
            made, count = passes.search(opened.target, kept, remark)
        total = made.output.path.stat().st_size
        made.output.commit()
    kept.remove()
    info, job, found = clip.info, made.job, made.quality
    result = EncodeResult(
        bytes=total,
        bpp=8 * total / (clip.count * info.width * info.height),
        psnr_y=found.psnr_y,
        psnr_u=found.psnr_u,
        psnr_v=found.psnr_v,
        psnr_611=found.psnr_611,
        msssim_y=found.msssim_y,
        width=info.width,
        height=info.height,
        frames=clip.count,
        steps=made.steps,
        steps_per_second=made.steps / made.fit_seconds if made.fit_seconds else None,
        seconds=time.monotonic() - began,
        lambda_=job.header.lambda_,
        preset=job.header.preset,
        device=str(job.device),
        model=_summary(job.header.model),
        version=__version__,
        interrupted=stop(),
        target_psnr=target_psnr,
        target_bytes=None if opened.target is None else opened.target.bytes,
        passes=count,
        notes=notes,
    )
    if report is not None and recorder is not None and made.record is not None:
        from innvc.report.encode import write_report

        write_report(Path(report), path, request, result, recorder, made.record, overwrite)
    return result


def plan(
    source: str | os.PathLike[str],
    *,
    progress: Callable[[EncodeProgress], None] | None = None,
    note: Callable[[str], None] | None = None,
    **options: Any,
) -> EncodePlan:
    """What `encode` would do and take; encodes a few frames for that.

    Args:
        source: As of `encode`.
        progress: Called after every frame and step of the encode that is timed.
        note: Called with remarks for the user.
        options: As of `encode`, those that decide what the file holds: from `lambda_` to `frames`.

    Raises:
        InnvcError: `encode` would be refused.
    """
    from innvc.passes import TRIES
    from innvc.planning import Timing

    names = [field.name for field in fields(Switches)]
    switches = Switches(**{name: options.pop(name) for name in names if name in options})
    color = ColorTags(options.pop("cicp", None), options.pop("color_range", None))
    request = EncodeRequest(os.fspath(source), switches=switches, color=color, **options)
    request.check()
    with request.open(note or (lambda text: None)) as opened:
        passes = 1 if opened.target is None else TRIES
        timing = Timing(opened.clip, request.device, progress)
        return timing.plan(lambda clip: opened.make(clip, opened.lambda_), passes)


def _summary(config: ModelConfig) -> str:
    if config.field_role == "picture":
        return "nvrc"
    return f"innvc start {config.start}, {sum(config.groups)} channels, gop {config.gop}"


open_video = VideoReader
"""Opens an .innv file for random access; also `innvc.open`."""
