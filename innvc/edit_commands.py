"""`innvc cut` and `innvc concat`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from innvc import options
from innvc.options import File, Frames, Json, Limits, Overwrite, Quiet, Verbose, given
from innvc.show import say

Output = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The new .innv file.")]


def cut(
    source: File,
    output: Output,
    frames: Frames = None,
    layers: Annotated[
        int | None, typer.Option(metavar="K", help="Keep the first K layers.")
    ] = None,
    overwrite: Overwrite = False,
    limit: Limits = None,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Copy frames or layers of a file without coding them again."""
    from innvc import editing

    first, last = editing.cut(
        source,
        output,
        frames=given(options.frames, frames),
        layers=layers,
        overwrite=overwrite,
        limits=given(options.limits, limit),
        note=lambda text: _note(text, quiet),
    )
    _tell(output, last - first, quiet, as_json, first=first)


def concat(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="The .innv files.", autocompletion=options.innv_files
        ),
    ],
    output: Output,
    overwrite: Overwrite = False,
    limit: Limits = None,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Put files of one size, format and model one after the other."""
    from innvc import editing

    count = editing.concat(
        sources,
        output,
        overwrite=overwrite,
        limits=given(options.limits, limit),
        note=lambda text: _note(text, quiet),
    )
    _tell(output, count, quiet, as_json)


def _note(text: str, quiet: bool) -> None:
    if not quiet:
        say(f"note: {text}")


def _tell(output: Path, count: int, quiet: bool, as_json: bool, **facts: int) -> None:
    size = output.stat().st_size
    if as_json:
        print(json.dumps({"output": str(output), "bytes": size, "frames": count, **facts}))
    if not quiet:
        say(f"{output}: {count} frames, {size} bytes")
