"""Rate-distortion curves of each clip, and a summary of BD-rates, as PNG and SVG."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from innvc.bench.tables import METRICS, RANGES, Cell, Curves, Mean, front

logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # fonts that are not there

MOST_CURVES = 8
# What is drawn first where there are more curves than a reader can tell apart.
_PRIORITY = ("x265-ra", "svt-av1", "vvenc", "x265-intra", "libaom", "x264", "vp9", "prores",
             "x265-ra-10bit", "x265-intra-10bit")  # fmt: skip
_STYLE = {  # colours that stay apart for most kinds of colour vision
    "x265-ra": ("#0072b2", "o"),
    "x265-ra-10bit": ("#56b4e9", "o"),
    "x265-intra": ("#7f7f7f", "s"),
    "x265-intra-10bit": ("#b0b0b0", "s"),
    "svt-av1": ("#009e73", "^"),
    "x264": ("#e69f00", "v"),
    "vp9": ("#8c564b", "<"),
    "prores": ("#bcbd22", "D"),
    "vvenc": ("#9467bd", ">"),
    "libaom": ("#17becf", "P"),
}
_OURS = ("#d62728", "#000000", "#ff69b4", "#6b0000")
_SHADES = {"below 40 dB": "#9ecae1", "above 40 dB": "#3182bd", "whole": "#08306b"}


def _save(figure: Figure, folder: Path, name: str) -> list[str]:
    """Writes both formats; the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    with matplotlib.rc_context({"svg.hashsalt": "innvc", "svg.fonttype": "none"}):
        figure.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return [f"{name}.png", f"{name}.svg"]


def _chosen(names: Sequence[str], tests: Sequence[str]) -> list[str]:
    ours = [name for name in names if name in tests][:MOST_CURVES]
    peers = sorted((n for n in names if n in _PRIORITY), key=_PRIORITY.index)
    return peers[: MOST_CURVES - len(ours)] + ours


def rate_distortion(
    clip: str, title: str, curves: Curves, tests: Sequence[str], folder: Path
) -> list[str]:
    """PSNR over bits per pixel of one clip.

    Args:
        tests: Names of InnVC's curves, drawn in front.
        folder: Where rd-CLIP.png and rd-CLIP.svg go.

    Returns:
        The names of the files.
    """
    rows = {codec: points for (name, codec), points in curves.items() if name == clip}
    chosen = _chosen(list(rows), tests)
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    for axes, (metric, label) in zip(figure.subplots(1, 2), METRICS.items(), strict=True):
        for codec in chosen:
            points = front(rows[codec], metric)
            if not points:
                continue
            pixels = 8 * rows[codec][0]["bytes"] / rows[codec][0]["bpp"]
            rates = [8 * size / pixels for size, _ in points]
            ours = codec in tests
            color, marker = (
                (_OURS[list(tests).index(codec) % len(_OURS)], "*") if ours else _STYLE[codec]
            )
            axes.plot(
                rates,
                [db for _, db in points],
                color=color,
                marker=marker,
                markersize=11 if ours else 5,
                linewidth=2.4 if ours else 1.3,
                zorder=3 if ours else 2,
                label=codec,
            )
        lossless = [(c, p) for c, points in rows.items() for p in points if p["lossless"]]
        for codec, point in lossless[:1]:
            axes.axvline(point["bpp"], color="#444444", linestyle=":", label=f"{codec} (lossless)")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("bits per pixel")
        axes.set_ylabel(f"{label} (dB)")
        axes.grid(True, which="both", linewidth=0.4, alpha=0.5)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="lower right")
    figure.suptitle(title)
    return _save(figure, folder, f"rd-{clip}")


def summary(table: Sequence[Cell], averages: Sequence[Mean], folder: Path) -> list[str]:
    """Mean BD-rates for PSNR-Y as bars, with a dot for each clip; a panel for each of InnVC's
    curves.

    Returns:
        The names of the files; none where there is no BD-rate.
    """
    shown = [m for m in averages if m.metric == "psnr_y" and m.percent is not None]
    tests = list(dict.fromkeys(m.test for m in shown))
    anchors = list(dict.fromkeys(m.anchor for m in shown))
    if not shown:
        return []
    height = 1.4 + 0.62 * len(anchors)
    figure = Figure(figsize=(6.5 * len(tests), height), layout="constrained")
    panels = figure.subplots(1, len(tests), squeeze=False, sharey=True)[0]
    for axes, test in zip(panels, tests, strict=True):
        for place, range_ in enumerate(RANGES):
            _bars(axes, test, range_, place, anchors, shown, table)
        axes.set_yticks(range(len(anchors)), anchors)
        axes.invert_yaxis()
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlabel("BD-rate (%), PSNR-Y; left is fewer bits")
        axes.set_title(f"{test} against")
        axes.grid(True, axis="x", linewidth=0.4, alpha=0.5)
        axes.legend(fontsize=8)
    return _save(figure, folder, "bd-rate")


def _bars(
    axes: Any,
    test: str,
    range_: str,
    place: int,
    anchors: Sequence[str],
    averages: Sequence[Mean],
    table: Sequence[Cell],
) -> None:
    thick = 0.26
    known = {m.anchor: m.percent for m in averages if m.test == test and m.range == range_}
    offsets = [index + (place - 1) * thick for index in range(len(anchors))]
    values = [known.get(anchor) or 0.0 for anchor in anchors]
    axes.barh(offsets, values, thick, color=_SHADES[range_], label=range_)
    dots = [
        (c.percent, offsets[anchors.index(c.anchor)])
        for c in table
        if c.test == test and c.range == range_ and c.metric == "psnr_y" and c.percent is not None
    ]
    if dots:
        axes.plot(*zip(*dots, strict=True), "|", color="black", markersize=6, alpha=0.6)
