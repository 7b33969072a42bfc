"""`innvc encode`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from innvc import options, process
from innvc.errors import UsageError
from innvc.help import ABLATIONS, DETAILS, FIT, LONG, TARGET, HelpAll
from innvc.options import (
    Cicp,
    ColorRange,
    Device,
    Frames,
    Json,
    Overwrite,
    Quiet,
    RawFormat,
    RawRate,
    RawSize,
    Threads,
    Verbose,
    given,
)
from innvc.show import EncodeDisplay, print_plan, say

ablation = functools.partial(typer.Option, rich_help_panel=ABLATIONS)


def encode(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A video, .yuv, .y4m or - (y4m).")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="The .innv file; --dry-run needs none."
        ),
    ] = None,
    lambda_: Annotated[
        float | None,
        typer.Option(
            "--lambda",
            "-l",
            metavar="L",
            help="10 times as much: 10 dB more.",
            rich_help_panel=TARGET,
        ),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(metavar="Q", help="0 to 100: 25 to 60 dB, 50 is 42.", rich_help_panel=TARGET),
    ] = None,
    target_psnr: Annotated[
        float | None, typer.Option(metavar="DB", help="Aim at a PSNR-Y.", rich_help_panel=TARGET)
    ] = None,
    target_size: Annotated[
        str | None,
        typer.Option(metavar="N", help="Aim at a file of 900k, 10M bytes.", rich_help_panel=TARGET),
    ] = None,
    bitrate: Annotated[
        str | None,
        typer.Option(
            "--bitrate", "-b", metavar="N", help="Aim at 800k, 2.5M bits/s.", rich_help_panel=TARGET
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            "-p",
            "--preset",
            metavar="P",
            help=", ".join(options.PRESETS) + ".",
            autocompletion=options.choice(*options.PRESETS),
            rich_help_panel=FIT,
        ),
    ] = "fast",
    model: Annotated[
        str,
        typer.Option(
            metavar="M",
            help="innvc, or nvrc: the field alone.",
            autocompletion=options.choice("innvc", "nvrc"),
            rich_help_panel=FIT,
        ),
    ] = "innvc",
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page of charts and pictures, .html."),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would take, by a few frames.")
    ] = False,
    frames: Frames = None,
    no_audio: Annotated[
        bool, typer.Option("--no-audio", help="Leave out audio and subtitles.")
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Steps for each segment.", rich_help_panel=DETAILS),
    ] = None,
    seconds: Annotated[
        str | None,
        typer.Option(
            "--time", metavar="T", help="End the fit after 90s, 10m.", rich_help_panel=FIT
        ),
    ] = None,
    gop: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Most frames of a group, 1 to 32; chosen if absent.",
            rich_help_panel=DETAILS,
        ),
    ] = None,
    keyint: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Frames from one start of decoding to the next.",
            rich_help_panel=DETAILS,
        ),
    ] = 256,
    segment: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Frames that are fitted together; by size and scenes if absent.",
            rich_help_panel=LONG,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Segments side by side.", rich_help_panel=LONG),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Ray cluster for the segments, or local.", rich_help_panel=LONG
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where this encode was cut off.", rich_help_panel=FIT),
    ] = False,
    checkpoint: Annotated[
        str,
        typer.Option(
            metavar="T", help="From one save for --resume to the next.", rich_help_panel=DETAILS
        ),
    ] = "60s",
    seed: Annotated[
        int, typer.Option(metavar="N", help="Of crops and noise.", rich_help_panel=DETAILS)
    ] = 0,
    no_mask: Annotated[
        bool, ablation("--no-mask", help="All latent channels from the first step.")
    ] = False,
    no_modulation: Annotated[bool, ablation("--no-modulation", help="No field.")] = False,
    residual: Annotated[
        bool,
        ablation(
            "--residual", help="The field predicts the samples, the backbone codes the difference."
        ),
    ] = False,
    base: Annotated[
        str | None,
        ablation(
            metavar="B",
            help="Fixed matrices of the backbone: dct or identity.",
            autocompletion=options.choice("dct", "identity"),
        ),
    ] = None,
    no_coupling: Annotated[bool, ablation("--no-coupling", help="No affine couplings.")] = False,
    no_context: Annotated[
        bool, ablation("--no-context", help="The prior does not read earlier channel groups.")
    ] = False,
    grid_context: Annotated[
        bool, ablation("--grid-context", help="The prior reads the field's grid.")
    ] = False,
    no_intra: Annotated[
        bool, ablation("--no-intra", help="No intra prediction of low-pass frames.")
    ] = False,
    no_scale_network: Annotated[
        bool, ablation("--no-scale-network", help="Scales are sums of log-magnitudes alone.")
    ] = False,
    no_directions: Annotated[
        bool, ablation("--no-directions", help="No coded directions in intra prediction.")
    ] = False,
    no_motion: Annotated[
        bool, ablation("--no-motion", help="No motion compensation in the lifting.")
    ] = False,
    no_prediction: Annotated[
        bool,
        ablation("--no-prediction", help="No motion from one packet's low-pass frame to the next."),
    ] = False,
    no_step_offsets: Annotated[
        bool, ablation("--no-step-offsets", help="The same steps everywhere in low-pass frames.")
    ] = False,
    no_dependent: Annotated[
        bool, ablation("--no-dependent", help="Every symbol is quantised by itself.")
    ] = False,
    trellis_states: Annotated[
        int | None,
        ablation(metavar="N", help="States of dependent quantisation: 8, 16, 32 ... 256."),
    ] = None,
    paths: Annotated[
        int | None,
        ablation(metavar="N", help="Paths tried for each block, for what rounded samples err."),
    ] = None,
    no_filter: Annotated[
        bool, ablation("--no-filter", help="No post-filter of decoded frames.")
    ] = False,
    filter_steps: Annotated[
        int | None,
        ablation(metavar="N", help="Steps of the post-filter's fit to the clip; 0 is none."),
    ] = None,
    no_temporal_filter: Annotated[
        bool, ablation("--no-temporal-filter", help="No filter of decoded frames along the motion.")
    ] = False,
    start: Annotated[
        int | None, ablation(metavar="ID", help="Starting point; 0 is the analytic one.")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    size: RawSize = None,
    pix_fmt: RawFormat = None,
    fps: RawRate = None,
    cicp: Cicp = None,
    color_range: ColorRange = None,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
    help_all: HelpAll = False,
) -> None:
    """Encode a video. Ctrl-C ends the fit early, with a valid file."""
    if output is None and not dry_run:
        raise UsageError("Missing option '-o' / '--output'.", "See 'innvc encode --help'.")
    from innvc import api

    arguments: dict[str, Any] = dict(
        lambda_=lambda_,
        quality=quality,
        target_psnr=target_psnr,
        target_bytes=given(options.amount, target_size),
        bitrate=given(options.amount, bitrate),
        preset=preset,
        steps=steps,
        seconds=given(options.seconds, seconds),
        gop=gop,
        keyint=keyint,
        segment=segment,
        seed=seed,
        model=model,
        mask=not no_mask,
        modulation=not no_modulation,
        residual=residual,
        base=base,
        coupling=not no_coupling,
        context=not no_context,
        grid_context=grid_context,
        intra=not no_intra,
        scale_network=not no_scale_network,
        directions=not no_directions,
        motion=not no_motion,
        prediction=not no_prediction,
        step_offsets=not no_step_offsets,
        dependent=not no_dependent,
        trellis_states=trellis_states,
        paths=paths,
        post_filter=not no_filter,
        filter_steps=filter_steps,
        temporal_filter=not no_temporal_filter,
        start=start,
        device=device,
        threads=threads,
        size=given(options.size, size),
        pix_fmt=pix_fmt,
        fps=given(options.rate, fps),
        frames=given(options.frames, frames),
        cicp=given(options.cicp, cicp),
        color_range=given(options.color_range, color_range),
    )
    stop = process.StopOnInterrupt(quiet)
    if dry_run:
        with EncodeDisplay(quiet) as display:
            plan = api.plan(source, progress=display.update, note=display.note, **arguments)
        print(json.dumps(plan.to_json())) if as_json else print_plan(plan)
        return
    assert output is not None
    with stop, EncodeDisplay(quiet) as display:
        result = api.encode(
            source,
            output,
            **arguments,
            workers=workers,
            ray=ray,
            audio=not no_audio,
            overwrite=overwrite,
            resume=resume,
            checkpoint=options.seconds(checkpoint),
            report=report,
            progress=display.update,
            note=display.note,
            stop=stop,
        )
    if as_json:
        print(json.dumps(result.to_json()))
    if not quiet:
        asked = "" if result.target_psnr is None else f" of {result.target_psnr:g}"
        of = "" if result.target_bytes is None else f" of {result.target_bytes}"
        say(
            f"{output}: {result.bytes}{of} bytes, {result.bpp:.4f} bpp, "
            f"PSNR-Y {result.psnr_y:.2f}{asked} dB, 6:1:1 {result.psnr_611:.2f} dB, "
            f"{result.seconds:.1f} s"
        )
