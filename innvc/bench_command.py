"""The command `innvc bench`; what it does is in innvc.bench, which is imported when it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from innvc import options
from innvc.errors import InnvcError, UsageError
from innvc.options import Device, Json, Quiet, Threads, Verbose
from innvc.show import PointDisplay, say

INNVC = "InnVC"


def _numbers(text: str, name: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"'{text}' is not a list of numbers.", f"Write {name} .1,1,10.") from None


def _words(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _range(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError:
        raise UsageError(f"'{text}' is not a range of dB.", "Write LOW:HIGH, as 28:54.") from None


def bench(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Videos.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")
    ],
    lambdas: Annotated[
        str, typer.Option(metavar="L,L,...", help="InnVC's qualities.", rich_help_panel=INNVC)
    ] = "0.03,0.15,0.7,3",
    preset: Annotated[
        str,
        typer.Option(
            "-p", "--preset", metavar="P,...", help="Presets of encode.", rich_help_panel=INNVC
        ),
    ] = "fast",
    model: Annotated[
        str | None,
        typer.Option(metavar="M,...", help="Models of encode.", rich_help_panel=INNVC),
    ] = None,
    encode_options: Annotated[
        str,
        typer.Option(
            "--options", metavar="TEXT", help="More options of encode.", rich_help_panel=INNVC
        ),
    ] = "",
    codecs: Annotated[
        str | None,
        typer.Option(metavar="C,...", help="innvc and peers, in this order; absent: all."),
    ] = None,
    frames: Annotated[
        str, typer.Option(metavar="A:B", help="Frames A to B-1 of each clip.")
    ] = "0:16",
    psnr: Annotated[str, typer.Option(metavar="A:B", help="dB of PSNR-Y to cover.")] = "28:54",
    jobs: Annotated[int, typer.Option(metavar="N", help="Points measured side by side.")] = 1,
    threads: Threads = None,
    device: Device = "auto",
    any_commit: Annotated[
        bool, typer.Option("--any-commit", help="Keep points of other versions of InnVC.")
    ] = False,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="Only write what was measured before.")
    ] = False,
    doc: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Put results into a Markdown file.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure InnVC beside other codecs; goes on where it stopped."""
    low, high = _range(psnr)
    wanted = _numbers(lambdas, "--lambdas")
    selection = options.frames(frames)
    from innvc.bench.main import Settings
    from innvc.bench.main import bench as run

    settings = Settings(
        clips=clips,
        folder=output,
        lambdas=wanted,
        presets=_words(preset),
        models=_words(model),
        codecs=_words(codecs),
        frames=selection,
        psnr=(low, high),
        options=encode_options,
        device=device,
        jobs=jobs,
        threads=threads,
        any_code=any_commit,
        measure=not no_measure,
        document=doc,
    )
    with PointDisplay(quiet) as display:
        result = run(settings, display.update)
        for text in result["remarks"]:
            display.note(text)
    if as_json:
        print(json.dumps(result))
    if not quiet:
        say(f"{output / 'results.md'}: {len(result['points'])} points")
    if result["failed"]:
        count = len(result["failed"])
        raise InnvcError(
            f"{count} of InnVC's points failed, the first: {result['failed'][0]}",
            "The others are written.",
        )
