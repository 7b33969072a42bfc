"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from fractions import Fraction
from glob import escape, glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from innvc.errors import UsageError
from innvc.help import INPUT
from innvc.video import color_names
from innvc.video.timing import nominal_rate

if TYPE_CHECKING:
    from innvc.bitstream.header import Limits as FileLimits

T = TypeVar("T")
R = TypeVar("R")


def choice(*values: str) -> Callable[[str], list[str]]:
    """Completes one of some values in a shell."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


def innv_files(incomplete: str) -> list[str]:
    """Completes .innv files and the folders beside them; where none fits the shell completes."""
    names = sorted(glob(escape(incomplete) + "*"))
    files = [name for name in names if name.endswith(".innv")]
    return files + [name + os.sep for name in names if files and os.path.isdir(name)]


LARGEST = 1 << 31
PRESETS = ("instant", "fast", "medium", "auto", "compact", "slow", "paper")

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="The .innv file.", autocompletion=innv_files)
]
Overwrite = Annotated[bool, typer.Option("-y", "--overwrite", help="Replace an existing output.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no remarks.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Frames = Annotated[str | None, typer.Option(metavar="A:B", help="Frames A to B-1, counted from 0.")]
Device = Annotated[
    str,
    typer.Option(
        metavar="D", help="auto, cpu, cuda or cuda:N.", autocompletion=choice("auto", "cpu", "cuda")
    ),
]
Threads = Annotated[int | None, typer.Option(metavar="N", help="CPU threads.")]
RawSize = Annotated[
    str | None, typer.Option(metavar="WxH", help="Size of raw video.", rich_help_panel=INPUT)
]
RawFormat = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Pixel format of raw video; converts other video.",
        rich_help_panel=INPUT,
    ),
]
RawRate = Annotated[
    str | None, typer.Option(metavar="N", help="Frame rate of raw video.", rich_help_panel=INPUT)
]
Cicp = Annotated[
    str | None,
    typer.Option(
        metavar="P/T/M",
        help="Colour primaries, transfer, matrix: bt709/bt709/bt709 or 9/16/9.",
        rich_help_panel=INPUT,
    ),
]
ColorRange = Annotated[
    str | None,
    typer.Option(
        metavar="R",
        help="limited or full.",
        autocompletion=choice("limited", "full"),
        rich_help_panel=INPUT,
    ),
]

Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=N",
        help="Change a limit, as in memory-bytes=32G.",
    ),
]


def _be_verbose(context: typer.Context, value: bool) -> None:
    if value and context.obj is not None:
        context.obj["verbose"] = True


Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", callback=_be_verbose, help="Show the traceback of an error."),
]


def given(parse: Callable[[T], R], text: T | None) -> R | None:
    """What the text says, None where the option is absent."""
    return None if text is None else parse(text)


def seconds(text: str) -> float:
    """Seconds of "90", "90s", "10m", "1.5h" or "1:30:00"."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        if ":" in text:
            total = 0.0
            for part in text.split(":"):
                total = 60 * total + float(part)
            return total
        if text[-1:] in units:
            return float(text[:-1]) * units[text[-1]]
        return float(text)
    except ValueError:
        raise UsageError(f"'{text}' is not a time.", "Write 90s, 10m, 1.5h or 1:30:00.") from None


def amount(text: str) -> int:
    """A number of bytes or bits: "900k", "2.5M", "1G" (powers of 1000), "4Mi" (of 1024)."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([kKMG]?)(i?)B?", text)
    if not match or (match[3] and not match[2]):
        raise UsageError(f"'{text}' is not an amount.", "Write 900k, 2.5M or 1G.")
    power = " kMG".index((match[2] or " ").replace("K", "k"))
    return int(Fraction(match[1]) * (1024 if match[3] else 1000) ** power)


def size(text: str) -> tuple[int, int]:
    """(width, height) of "1920x1080"."""
    match = re.fullmatch(r"([0-9]{1,6})[xX]([0-9]{1,6})", text)
    if not match or not int(match[1]) or not int(match[2]):
        raise UsageError(f"'{text}' is not a size.", "Write it like 1920x1080.")
    return int(match[1]), int(match[2])


def limits(texts: list[str]) -> FileLimits:
    """The limits on a file, some of them set by "NAME=VALUE"; K, M, G are powers of 1024."""
    from innvc.bitstream.header import Limits as FileLimits

    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        match = re.fullmatch(r"([0-9]{1,20})([KMG]?)", value)
        if name not in FileLimits.names() or not match:
            raise UsageError(
                f"'{text}' sets no limit.", f"Write NAME=VALUE of {', '.join(FileLimits.names())}."
            )
        found[name.replace("-", "_")] = int(match[1]) << 10 * " KMG".index(match[2] or " ")
    return FileLimits(**found)


def frames(text: str) -> tuple[int | None, int | None]:
    """The ends of "A:B", each of which may be absent."""
    match = re.fullmatch(r"([0-9]{0,18}):([0-9]{0,18})", text)
    if not match:
        raise UsageError(f"'{text}' is not a range of frames.", "Write A:B, as in 0:16 or 100:.")
    first, last = (int(end) if end else None for end in match.groups())
    return first, last


def cicp(text: str) -> tuple[int, int, int]:
    """Numbers of colour primaries, transfer and matrix "P/T/M", each a name or a number."""
    parts = text.split("/")
    if len(parts) != 3:
        raise UsageError(f"'{text}' is not P/T/M.", "Write bt709/bt709/bt709, or 9/16/9.")
    primaries, transfer, matrix = map(
        color_names.number, ("primaries", "transfer", "matrix"), parts
    )
    return primaries, transfer, matrix


def color_range(text: str) -> int:
    """1 of "limited", 2 of "full"."""
    for value, name in color_names.RANGES.items():
        if text == name:
            return value
    raise UsageError(f"'{text}' is not a range.", "Write limited or full.")


def rate(text: str) -> Fraction:
    """A frame rate; 29.97 and its like are the fractions of 1001 that they stand for."""
    found = Fraction(0)
    if re.fullmatch(r"[0-9]{1,9}\.[0-9]{0,9}", text):
        found = nominal_rate(float(text))
    elif re.fullmatch(r"[0-9]{1,9}(/[0-9]{0,8}[1-9][0-9]{0,8})?", text):
        found = Fraction(text)
    if not 0 < found < LARGEST or found.denominator >= LARGEST:
        raise UsageError(f"'{text}' is not a frame rate.", "Write 25, 29.97 or 30000/1001.")
    return found
