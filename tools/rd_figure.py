"""docs/rd.svg: the points of docs/results.md in docs/rd-innvc.csv, and x265's in docs/rd-x265.csv.

Both have the columns that are used here of `results.csv`, which the command in docs/results.md
writes. x265 gives the same points wherever its version is the same.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

DOCS = Path(__file__).parents[1] / "docs"
OURS = DOCS / "rd-innvc.csv"
PEER = DOCS / "rd-x265.csv"
OUTPUT = DOCS / "rd.svg"
Curves = dict[str, list[tuple[float, float]]]  # (bpp, PSNR-Y) by clip


def ours() -> tuple[Curves, str]:
    """InnVC's curves, and the commit that was measured."""
    with OURS.open(newline="") as file:
        (commit,) = {row["commit"] for row in csv.DictReader(file)}
    return _curves(OURS), commit


def peer() -> Curves:
    """The curves of x265, random access."""
    return _curves(PEER)


def _curves(path: Path) -> Curves:
    curves: Curves = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            curves.setdefault(row["clip"], []).append((float(row["bpp"]), float(row["psnr_y"])))
    return {clip: sorted(points) for clip, points in curves.items()}


def identity() -> str:
    """SHA-256 of all that is drawn."""
    return hashlib.sha256(repr((ours(), peer())).encode()).hexdigest()


def draw() -> None:
    """Writes the figure."""
    (mine, commit), theirs = ours(), peer()
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    for axes, clip in zip(figure.subplots(2, 3).flat, mine, strict=True):
        low, high = mine[clip][0][1] - 2, mine[clip][-1][1] + 2
        shown = [point for point in theirs[clip] if low <= point[1] <= high]
        axes.semilogx(*zip(*shown, strict=True), "o-", color="#0072b2", ms=3, label="x265 veryslow")
        axes.semilogx(
            *zip(*mine[clip], strict=True), "s-", color="#d62728", ms=4, label="InnVC medium"
        )
        axes.set_title(clip, fontsize=9)
        axes.grid(True, which="both", alpha=0.3)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    axes.legend(loc="lower right", fontsize=8)
    figure.supxlabel("bits per pixel", fontsize=9)
    figure.supylabel("PSNR-Y, dB", fontsize=9)
    figure.suptitle(f"InnVC at commit {commit}, x265 random access tuned for PSNR", fontsize=9)
    with matplotlib.rc_context({"svg.hashsalt": "innvc", "svg.fonttype": "none"}):
        figure.savefig(OUTPUT, metadata={"Date": None, "Description": identity()})
