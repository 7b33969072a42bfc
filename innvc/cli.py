"""The command line: parse, call, show. stdout carries data or JSON only; words go to stderr."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from innvc.errors import INTERRUPTED, InnvcError, UsageError
from innvc.show import EncodeDisplay, FrameDisplay, print_info, say

app = typer.Typer(
    name="innvc",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="InnVC: an instance-adaptive neural video codec with real bitstreams.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

INPUT = "Video input"
FIT = "Fit"


def _time(text: str) -> float:
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


def _size(text: str) -> tuple[int, int]:
    width, x, height = text.lower().partition("x")
    if not (x and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UsageError(f"'{text}' is not a size.", "Write it like 1920x1080.")
    return int(width), int(height)


def _frames(text: str) -> tuple[int | None, int | None]:
    first, colon, last = text.partition(":")
    try:
        ends = (int(first) if first else None, int(last) if last else None)
    except ValueError:
        ends = (None, None)
        colon = ""
    if not colon or any(end is not None and end < 0 for end in ends):
        raise UsageError(f"'{text}' is not a range of frames.", "Write A:B, as in 0:16 or 100:.")
    return ends


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UsageError(f"'{text}' is not a frame rate.", "Write 25, 29.97 or 30000/1001.")
    return rate


def _given(parse: Callable[[str], Any], text: str | None) -> Any:
    return None if text is None else parse(text)


Overwrite = Annotated[
    bool, typer.Option("-y", "--overwrite", help="Replace an existing output.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no remarks.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Frames = Annotated[
    str | None, typer.Option(metavar="A:B", help="Half-open range of frames.")
]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where to compute.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads.")]
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


@app.command()
def encode(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Video, .yuv, .y4m or - (y4m).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .innv file.")],
    lambda_: Annotated[
        float,
        typer.Option("--lambda", "-l", help="Quality: 1 is about 48 dB, x10 about 10 dB more."),
    ] = 1.0,
    preset: Annotated[
        str, typer.Option("-p", "--preset", help="instant, fast, medium, slow or paper.")
    ] = "fast",
    overwrite: Overwrite = False,
    frames: Frames = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the fit of each segment.", rich_help_panel=FIT)
    ] = None,
    seconds: Annotated[
        str | None,
        typer.Option("--time", metavar="T", help="End the fit after 90s, 10m.", rich_help_panel=FIT),
    ] = None,
    gop: Annotated[
        int | None,
        typer.Option(help="Frames of a group: 1, 2, 4, 8, 16; chosen if absent.", rich_help_panel=FIT),
    ] = None,
    keyint: Annotated[
        int, typer.Option(help="Frames from one start of decoding to the next.", rich_help_panel=FIT)
    ] = 256,
    seed: Annotated[int, typer.Option(help="Of crops and noise.", rich_help_panel=FIT)] = 0,
    device: Device = "auto",
    threads: Threads = None,
    size: RawSize = None,
    pix_fmt: RawFormat = None,
    fps: RawRate = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Encode a video. Ctrl-C ends the fit and writes a valid file of what it has."""
    from innvc import api

    stop = _StopOnInterrupt(quiet)
    with stop, EncodeDisplay(quiet) as display:
        result = api.encode(
            source,
            output,
            lambda_=lambda_,
            preset=preset,
            steps=steps,
            seconds=_given(_time, seconds),
            gop=gop,
            keyint=keyint,
            seed=seed,
            device=device,
            threads=threads,
            size=_given(_size, size),
            pix_fmt=pix_fmt,
            fps=_given(_rate, fps),
            frames=_given(_frames, frames),
            overwrite=overwrite,
            progress=display.update,
            note=display.note,
            stop=stop,
        )
    if as_json:
        print(json.dumps(result.to_json()))
    if not quiet:
        say(
            f"{output}: {result.bytes} bytes, {result.bpp:.4f} bpp, PSNR-Y {result.psnr_y:.2f} dB, "
            f"6:1:1 {result.psnr_611:.2f} dB, {result.seconds:.1f} s"
        )


@app.command()
def decode(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="The .innv file.")],
    output: Annotated[
        str, typer.Option("-o", "--output", help=".yuv, .y4m, - (y4m), .mkv, .png, lossy .mp4.")
    ],
    overwrite: Overwrite = False,
    frames: Frames = None,
    layers: Annotated[
        int | None, typer.Option(help="Decode only the first layers: lower quality.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Synthesis in float64: the same on every machine.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    pix_fmt: Annotated[
        str | None, typer.Option(metavar="NAME", help="Convert the output.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Decode a file to video."""
    from innvc import api

    began = time.monotonic()
    with FrameDisplay("decode", quiet) as display:
        count = api.decode(
            source,
            output,
            frames=_given(_frames, frames),
            layers=layers,
            exact=exact,
            device=device,
            threads=threads,
            pix_fmt=pix_fmt,
            overwrite=overwrite,
            progress=display.update,
            note=display.note,
        )
    seconds = time.monotonic() - began
    if as_json:
        print(
            json.dumps({"output": output, "frames": count, "seconds": seconds}),
            file=sys.stderr if output == "-" else sys.stdout,
        )
    if not quiet:
        say(f"{output}: {count} frames, {count / seconds:.1f} frames/s")


@app.command()
def info(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="The .innv file.")],
    as_json: Json = False,
) -> None:
    """Show what a file is and where its bytes went."""
    from innvc.inspection import describe

    facts = describe(source)
    if as_json:
        print(json.dumps(facts))
    else:
        print_info(facts)


@app.command()
def verify(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="The .innv file.")],
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check every CRC and decode every symbol."""
    from innvc import api

    if threads is not None:
        from innvc.device import limit_threads

        limit_threads(threads)
    with FrameDisplay("verify", quiet) as display:
        packets = api.verify(source, progress=display.update)
    if as_json:
        print(json.dumps({"file": str(source), "ok": True, "packets": packets}))
    if not quiet:
        say(f"{source}: {packets} packets, all checksums agree")


@app.command()
def compare(
    reference: Annotated[str, typer.Argument(metavar="REF", help="The original.")],
    distorted: Annotated[str, typer.Argument(metavar="DIST", help="The copy, .innv or video.")],
    frames: Annotated[
        str | None, typer.Option(metavar="A:B", help="Half-open range of frames of REF.")
    ] = None,
    device: Device = "auto",
    size: RawSize = None,
    pix_fmt: RawFormat = None,
    fps: RawRate = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure PSNR of each plane, PSNR 6:1:1 and MS-SSIM; bpp of an .innv."""
    from innvc import api

    with FrameDisplay("compare", quiet) as display:
        result = api.compare(
            reference,
            distorted,
            size=_given(_size, size),
            pix_fmt=pix_fmt,
            fps=_given(_rate, fps),
            frames=_given(_frames, frames),
            device=device,
            progress=display.update,
        )
    if as_json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            shown = f"{value:.4f}" if isinstance(value, float) else "-" if value is None else value
            print(f"{key:10} {shown}")


class _StopOnInterrupt:
    """First Ctrl-C asks the fit to end; the second one interrupts."""

    def __init__(self, quiet: bool) -> None:
        self._asked = False
        self._quiet = quiet

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self) -> _StopOnInterrupt:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, *_: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        if not self._quiet:
            say("Ending the fit; the file is being written. Ctrl-C again gives up.")


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
) -> None:
    pass


def main() -> None:
    """Runs the command line and exits with the documented code."""
    try:
        app()
    except InnvcError as error:
        say(f"innvc: {error.message}" + (f" {error.hint}" if error.hint else ""))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("innvc: Interrupted.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(1)
    except MemoryError:
        say("innvc: Not enough memory. Encode fewer frames at once with --frames.")
        sys.exit(6)
