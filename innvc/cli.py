"""The command line: parse, call, show. stdout carries data or JSON only; words go to stderr."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from innvc import options, process
from innvc.bench_command import bench
from innvc.edit_commands import concat, cut
from innvc.encode_command import encode
from innvc.help import Command, Group, HelpAll
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
from innvc.show import FrameDisplay, print_info, say

app = typer.Typer(
    name="innvc",
    cls=Group,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="InnVC: an instance-adaptive neural video codec with real bitstreams.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(cls=Command)(encode)


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
    from innvc.decoding import check_output

    # What is refused is refused before torch is loaded.
    Reader(source, limits, partial=partial).close()
    check_output(source, output, overwrite)
    from innvc import api, decoder  # noqa: F401 - loads torch before the clock starts

    began, notes = time.monotonic(), list[str]()
    with FrameDisplay("decode", quiet) as display:

        def note(text: str) -> None:
            notes.append(text)
            display.note(text)

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
            note=note,
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
                    "notes": notes,
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
