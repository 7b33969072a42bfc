"""Writes what a benchmark found: CSV, JSON, Markdown, plots, a page, and a part of a document."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innvc.bench import plots
from innvc.bench.markdown import Facts, markdown
from innvc.bench.page import bench_page
from innvc.bench.peers import PEERS
from innvc.bench.points import PointLog
from innvc.bench.run import Outcome, Plan
from innvc.bench.tables import cells, means, with_envelope
from innvc.errors import InnvcError

if TYPE_CHECKING:
    from innvc.bench.main import Settings

MARKERS = "<!-- bench: begin -->", "<!-- bench: end -->"
COLUMNS = """clip source codec quality bytes bpp psnr_y psnr_u psnr_v psnr_611 msssim_y vmaf
lossless frames width height pix_fmt encode_seconds decode_seconds steps steps_per_second
frames_per_second parameters kmac_per_pixel encode_cpu_seconds decode_cpu_seconds encode_peak_bytes
decode_peak_bytes preset model device threads machine commit library options measured_on""".split()


def write(plan: Plan, outcome: Outcome, settings: Settings, log: PointLog) -> dict[str, Any]:
    """Writes all files into the folder of the settings.

    Returns:
        What results.json holds.

    Raises:
        InnvcError: a file cannot be written.
    """
    curves, tests = with_envelope(outcome.curves, [variant.name for variant in plan.variants])
    anchors = [peer.name for peer in plan.peers if len(peer.ladder) > 1]
    table = cells(curves, tests, anchors)
    averages = means(table)
    rows = [row for points in outcome.curves.values() for row in points]
    ours = [row for row in rows if row["codec"] not in PEERS]
    facts = Facts(plan, outcome, tests, anchors, table, averages, ours)
    result: dict[str, Any] = {
        "points": rows,
        "bd_rates": [item.to_json() for item in table],
        "means": [asdict(item) for item in averages],
        "peers": {peer.name: peer.describe() for peer in plan.peers},
        "remarks": outcome.remarks,
        "failed": outcome.failed,
        "measured": outcome.measured,
    }
    text = markdown(facts)
    folder = settings.folder
    try:
        _replace(folder / "results.csv", _csv(rows))
        _replace(folder / "results.md", f"# Results\n\n{text}")
        result["plots"] = _plots(facts, folder)
        _replace(folder / "report.html", bench_page(facts, log))
        _replace(folder / "results.json", json.dumps(result, indent=1) + "\n")
        if settings.document is not None:
            write_between_markers(settings.document, text)
    except OSError as error:
        place = error.filename or folder
        raise InnvcError(f"Cannot write '{place}': {error.strerror}.") from error
    return result


def _plots(facts: Facts, folder: Path) -> list[str]:
    names: list[str] = []
    for clip in facts.plan.clips:
        if not any(name == clip.name for name, _ in facts.outcome.curves):
            continue
        info = clip.info
        title = f"{clip.name}: {clip.count} frames of {info.width}x{info.height} {info.format.name}"
        own = [variant.name for variant in facts.plan.variants]
        names += plots.rate_distortion(clip.name, title, facts.outcome.curves, own, folder)
    return names + plots.summary(facts.table, facts.averages, folder)


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _replace(path: Path, text: str) -> None:
    """Writes a file that is whole or as it was."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_between_markers(path: Path, text: str) -> None:
    """Replaces what is between the markers of a document, or appends them, or makes the file."""
    begin, end = MARKERS
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    head, found, rest = old.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        head, tail = f"{old.rstrip()}\n\n", "\n"
    _replace(path, f"{head}{begin}\n\n{text}\n{end}{tail}")
