"""What each part of the method is worth: the ablation table of the paper (section 5), and more.

    python benchmarks/ablation.py akiyo_cif.mkv foreman_cif_raw10f.mkv basketballpass_240p.mkv

Each row of the table is the preset with one switch. Every point is an `innvc encode` of its own:
the rate is the size of the file, the quality that of the decoded frames. Points are kept in a JSON
lines file, so a run that was stopped goes on where it was; after a change of the package they are
measured anew. The table goes to docs/results.md, between markers.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from innvc.bench.clips import BenchClip, open_clips
from innvc.bench.command import innvc
from innvc.bench.markdown import table
from innvc.bench.points import PointLog
from innvc.bench.provenance import code, commit, machine
from innvc.errors import UsageError
from innvc.metrics import bd_rate
from innvc.options import frames as frame_selection

ROOT = Path(__file__).resolve().parent.parent
MARKERS = "<!-- ablation: begin -->", "<!-- ablation: end -->"
Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        against: The row that its change is counted from; empty for the first of a kind.
        paper: BD-rate in PSNR that the paper gives for it.
    """

    name: str
    switches: tuple[str, ...] = ()
    against: str = "full"
    paper: str = ""


# Identity bases and a prior without contexts exclude the shipped starting point, whose weights are
# those of the DCT's channels and of these contexts: they count from the full model without it.
VARIANTS = (
    Variant("full", against=""),
    Variant("no masking", ("--no-mask",), paper="+85.9 %"),
    Variant("no modulation", ("--no-modulation",), paper="+32.4 %"),
    Variant("residual", ("--residual",), paper="+25.8 %"),
    Variant("grid as a context", ("--grid-context",)),
    Variant("no couplings", ("--no-coupling",)),
    Variant("no intra prediction", ("--no-intra",)),
    Variant("no motion", ("--no-motion",)),
    Variant("no post-filter", ("--no-filter",)),
    Variant("no temporal filter", ("--no-temporal-filter",)),
    Variant("analytic start", ("--start", "0")),
    Variant("no channel contexts", ("--no-context",), against="analytic start"),
    Variant("identity base", ("--base", "identity"), against="analytic start"),
)


def measure(clip: BenchClip, variant: Variant, lambda_: str, options: list[str]) -> Row:
    """Encodes one point; the encode itself decodes and measures what it wrote."""
    arguments = ["--frames", f"{clip.first}:{clip.first + clip.count}", "--lambda", lambda_]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "point.innv"
        run = innvc(
            *("encode", clip.path, "-o", file, "--no-audio", "--json", "--quiet"),
            *(*arguments, *options, *variant.switches),
        )
    return {key: run.output[key] for key in ("bytes", "bpp", "psnr_y", "psnr_611", "steps")} | {
        "steps_per_second": run.output["steps_per_second"],
        "seconds": run.seconds,
        "cpu_seconds": run.cpu_seconds,
    }


def points(
    log: PointLog, clip: BenchClip, variant: Variant, lambdas: list[str], options: list[str]
) -> list[Row]:
    """The points of a row on one clip, measured where the log does not have them."""
    found = []
    for lambda_ in lambdas:
        words = [*options, "--lambda", lambda_, *variant.switches]
        wanted = {"source": clip.source, "codec": "innvc", "options": " ".join(words)}
        wanted["library"] = code()
        row = log.find(wanted)
        if row is None:
            row = wanted | {"clip": clip.name, "variant": variant.name, "lambda": float(lambda_)}
            row |= measure(clip, variant, lambda_, options) | {"commit": commit()}
            log.add(row)
        print(
            f"{clip.name} {variant.name} lambda {lambda_}: {row['bytes']} bytes, "
            f"PSNR-Y {row['psnr_y']:.2f} dB, {row['seconds']:.0f} s",
            flush=True,
        )
        found.append(row)
    return found


def change(anchor: list[Row], test: list[Row]) -> tuple[float | None, str]:
    """Bits more at the same quality, in percent, and as a cell of the table.

    BD-rate in PSNR-Y where rows have several points. With one, the slope of the curve there, which
    is lambda, turns the difference in distortion into one in rate.
    """
    if len(anchor) == 1:
        costs = [
            row["bpp"] + row["lambda"] * 255**2 / 10 ** (row["psnr_611"] / 10)
            for row in (*anchor, *test)
        ]
        percent = 100 * (costs[1] - costs[0]) / anchor[0]["bpp"]
        return percent, f"{percent:+.1f} %"
    curves = [[(row["bytes"], row["psnr_y"]) for row in rows] for rows in (anchor, test)]
    try:
        result = bd_rate(*curves)
    except UsageError as error:
        return None, error.message
    if result.percent is None:
        return None, "no overlap"
    return result.percent, f"{result.percent:+.1f} %"


def report(
    clips: list[BenchClip], rows: dict[tuple[str, str], list[Row]], options: list[str]
) -> str:
    """The Markdown between the markers."""
    lines = []
    for variant in VARIANTS:
        cells: list[Any] = [variant.name, " ".join(variant.switches) or "-", variant.against or "-"]
        changes = []
        for clip in clips:
            if not variant.against:
                cells.append("0")
                continue
            anchor, test = rows[variant.against, clip.name], rows[variant.name, clip.name]
            percent, text = change(anchor, test)
            changes.append(percent)
            cells.append(text)
        known = [c for c in changes if c is not None]
        complete = known and len(known) == len(clips)
        cells.append(f"**{mean(known):+.1f} %**" if complete else "" if changes else "0")
        lines.append([*cells, variant.paper])
    every = [row for found in rows.values() for row in found]
    commits = ", ".join(sorted({row["commit"] for row in every}))
    details = []
    for (name, clip), found in rows.items():
        for row in found:
            kbytes = f"{row['bytes'] / 1000:.1f}"
            psnr = f"{row['psnr_y']:.2f}", f"{row['psnr_611']:.2f}"
            speed = f"{row['steps_per_second']:.1f}"
            cells = [clip, name, row["lambda"], kbytes, f"{row['bpp']:.4f}", *psnr, speed]
            details.append([*cells, f"{row['cpu_seconds'] or row['seconds']:.0f}"])
    head = ["", "switch", "against", *(clip.name for clip in clips), "mean", "paper"]
    frames = ", ".join(f"{clip.name} {clip.count}" for clip in clips)
    return "\n".join(
        [
            *_explanation(len(every) // len(rows)),
            "",
            f"- Made by `benchmarks/ablation.py` on {datetime.date.today()}, commit {commits}",
            f"- Machine: {machine()}; one thread",
            f"- Options of every row: {' '.join(options)}; frames: {frames}",
            "",
            *table(head, lines),
            "",
            *table(
                ["clip", "", "lambda", "kB", "bpp", "PSNR-Y", "6:1:1", "steps/s", "CPU s"], details
            ),
        ]
    )


def _explanation(count: int) -> list[str]:
    if count > 1:
        return [
            f"BD-rate in PSNR-Y over {count} points of each row, whole files; positive is worse."
        ]
    return [
        "Bits more at the same quality (PSNR 6:1:1), whole files; positive is worse. A row has",
        "one point: (difference of bpp + lambda x that of the mean squared error) / bpp, since",
        "lambda is the slope of the curve there. For large changes this is a rough figure.",
    ]


def write(path: Path, text: str) -> None:
    """Replaces what is between the markers of a document, or appends them."""
    begin, end = MARKERS
    old = path.read_text() if path.exists() else "# Results\n"
    head, found, rest = old.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        head, tail = f"{old.rstrip()}\n\n## Ablation\n\n", "\n"
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", default="0:8", help="A:B of each clip")
    parser.add_argument("--lambdas", default="0.3")
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--steps", type=int, help="of the fit, in place of the preset's")
    parser.add_argument("--log", type=Path, default=ROOT / "bench-out" / "ablation.jsonl")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results.md")
    arguments = parser.parse_args()
    options = ["--preset", arguments.preset, "--threads", "1"]
    if arguments.steps is not None:
        options += ["--steps", str(arguments.steps)]
    clips = open_clips(arguments.clips, frame_selection(arguments.frames))
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    log = PointLog(arguments.log)
    lambdas = arguments.lambdas.split(",")
    rows = {
        (variant.name, clip.name): points(log, clip, variant, lambdas, options)
        for clip in clips
        for variant in VARIANTS
    }
    write(arguments.output, report(clips, rows, options))


if __name__ == "__main__":
    main()
