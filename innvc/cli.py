"""The command line: parse, call, show. stdout carries data or JSON only; words go to stderr."""

from __future__ import annotations

import functools
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from innvc import options, process
from innvc.bench_command import bench
from innvc.edit_commands import concat, cut
from innvc.help import ABLATIONS, DETAILS, FIT, LONG, TARGET, Command, Group, HelpAll
from innvc.options import (
    Device,
    File,
    Frames,
    Json,
    Limits,
    Overwrite,
    Quiet,
    RawFormat,
    RawRate,
    RawSize,
    Threads,
    Verbose,
    given,
)
from innvc.show import EncodeDisplay, FrameDisplay, print_info, print_plan, say

app = typer.Typer(
    name="innvc",
    cls=Group,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="InnVC: an instance-adaptive neural video codec with real bitstreams.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

ablation = functools.partial(typer.Option, rich_help_panel=ABLATIONS)


@app.command(cls=Command)
def encode(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A video, .yuv, .y4m or - (y4m).")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The .innv file.")],
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
    no_filter: Annotated[
        bool, ablation("--no-filter", help="No post-filter of decoded frames.")
    ] = False,
    start: Annotated[
        int | None, ablation(metavar="ID", help="Starting point; 0 is the analytic one.")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    size: RawSize = None,
    pix_fmt: RawFormat = None,
    fps: RawRate = None,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
    help_all: HelpAll = False,
) -> None:
    """Encode a video. Ctrl-C ends the fit early, with a valid file."""
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
        directions=not no_directions,
        motion=not no_motion,
        prediction=not no_prediction,
        step_offsets=not no_step_offsets,
        dependent=not no_dependent,
        post_filter=not no_filter,
        start=start,
        device=device,
        threads=threads,
        size=given(options.size, size),
        pix_fmt=pix_fmt,
        fps=given(options.rate, fps),
        frames=given(options.frames, frames),
    )
    stop = process.StopOnInterrupt(quiet)
    if dry_run:
        with EncodeDisplay(quiet) as display:
            plan = api.plan(source, note=display.note, **arguments)
        print(json.dumps(plan.to_json())) if as_json else print_plan(plan)
        return
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


@app.command(cls=Command)
def decode(
    source: File,
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE", help=".y4m, .yuv, .mkv, .png, - or lossy .mp4."
        ),
    ],
    overwrite: Overwrite = False,
    frames: Frames = None,
    no_audio: Annotated[
        bool, typer.Option("--no-audio", help="Leave out audio and subtitles.")
    ] = False,
    layers: Annotated[
        int | None, typer.Option(metavar="K", help="Only the first layers: lower quality.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            help="field or latent: one part of the model.",
            autocompletion=options.choice("field", "latent"),
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="In float64: the same on every machine.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="The frames that a file cut short has.")
    ] = False,
    conceal: Annotated[
        bool, typer.Option("--conceal", help="Go on past damage; fill in lost frames.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    pix_fmt: Annotated[str | None, typer.Option(metavar="NAME", help="Convert the output.")] = None,
    limit: Limits = None,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Decode a file to video."""
    limits = given(options.limits, limit)
    from innvc.bitstream.reader import Reader

    # What is refused is refused before torch is loaded.
    Reader(source, limits, partial=partial).close()
    from innvc import api, decoder  # noqa: F401 - loads torch before the clock starts

    began = time.monotonic()
    with FrameDisplay("decode", quiet) as display:
        count = api.decode(
            source,
            output,
            frames=given(options.frames, frames),
            layers=layers,
            only=only,
            exact=exact,
            device=device,
            threads=threads,
            partial=partial,
            conceal=conceal,
            pix_fmt=pix_fmt,
            audio=not no_audio,
            overwrite=overwrite,
            limits=limits,
            progress=display.update,
            note=display.note,
        )
    seconds = time.monotonic() - began
    if as_json:
        print(
            json.dumps(
                {
                    "output": output,
                    "frames": count,
                    "seconds": seconds,
                    "frames_per_second": count / seconds,
                }
            ),
            file=sys.stderr if output == "-" else sys.stdout,
        )
    if not quiet:
        say(f"{output}: {count} frames, {count / seconds:.1f} frames/s")


@app.command(cls=Command)
def info(
    source: File,
    limit: Limits = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what a file is and where its bytes went."""
    from innvc.inspection import describe

    facts = describe(source, given(options.limits, limit))
    if as_json:
        print(json.dumps(facts))
    else:
        print_info(facts)


@app.command(cls=Command)
def verify(
    source: File,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Decode all frames and check their samples.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    limit: Limits = None,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Check every CRC and decode every symbol."""
    limits = given(options.limits, limit)
    from innvc import api

    if threads is not None:
        from innvc.device import limit_threads

        limit_threads(threads)
    with FrameDisplay("verify", quiet) as display:
        packets = api.verify(
            source,
            pixels=pixels,
            device=device,
            limits=limits,
            progress=display.update,
            note=display.note,
        )
    if as_json:
        print(json.dumps({"file": str(source), "ok": True, "packets": packets, "pixels": pixels}))
    if not quiet:
        what = "all checksums and samples agree" if pixels else "all checksums agree"
        say(f"{source}: {packets} packets, {what}")


@app.command(cls=Command)
def compare(
    reference: Annotated[str, typer.Argument(metavar="REF", help="The original.")],
    distorted: Annotated[
        str,
        typer.Argument(
            metavar="DIST", help="The copy, .innv or video.", autocompletion=options.innv_files
        ),
    ],
    frames: Annotated[
        str | None, typer.Option(metavar="A:B", help="Half-open range of frames of REF.")
    ] = None,
    device: Device = "auto",
    size: RawSize = None,
    pix_fmt: RawFormat = None,
    fps: RawRate = None,
    limit: Limits = None,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
    help_all: HelpAll = False,
) -> None:
    """Measure PSNR of each plane, 6:1:1, MS-SSIM, and bpp of an .innv."""
    from innvc import api

    with FrameDisplay("compare", quiet) as display:
        result = api.compare(
            reference,
            distorted,
            size=given(options.size, size),
            pix_fmt=pix_fmt,
            fps=given(options.rate, fps),
            frames=given(options.frames, frames),
            device=device,
            limits=given(options.limits, limit),
            progress=display.update,
            note=display.note,
        )
    if as_json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            shown = f"{value:.4f}" if isinstance(value, float) else "-" if value is None else value
            print(f"{key:10} {shown}")


for command in (cut, concat, bench):
    app.command(cls=Command)(command)


def _version(value: bool) -> None:
    if value:
        from innvc import __version__

        print(f"innvc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line and exits with the documented code."""
    process.main(app)
