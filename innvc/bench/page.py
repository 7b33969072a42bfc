"""The page of a benchmark: curves to point at, BD-rates, and frames beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from innvc.bench.clips import BenchClip, read_frames
from innvc.bench.markdown import Facts, decibel_text, details, origin, summary
from innvc.bench.points import PointLog
from innvc.bench.tables import METRICS
from innvc.report.page import Block, Section, page
from innvc.report.pictures import Painter, data_uri, spread

Row = dict[str, Any]

AXES = {**{key: f"{name} (dB)" for key, name in METRICS.items()}, "msssim_y": "MS-SSIM-Y",
        "vmaf": "VMAF"}  # fmt: skip
POINTS = 3  # of a clip whose pictures are shown
COLUMNS = {"codec": "codec", "quality": "quality", "bytes": "bytes", "bpp": "bpp",
           "psnr_y": "PSNR-Y", "psnr_611": "PSNR 6:1:1", "msssim_y": "MS-SSIM-Y", "vmaf": "VMAF",
           "encode_seconds": "encode s", "decode_seconds": "decode s"}  # fmt: skip


def bench_page(facts: Facts, log: PointLog) -> str:
    """The page as HTML.

    Args:
        log: Of the points; their pictures are beside it.
    """
    plan, curves = facts.plan, facts.outcome.curves
    sections = []
    viewer = _viewer(facts, log)
    if viewer["items"]:
        sections.append(Section("Frames at similar rates", [viewer]))
    clips = [clip for clip in plan.clips if any(name == clip.name for name, _ in curves)]
    if clips:
        charts = [{"name": clip.name, "blocks": [_curves(clip, facts)]} for clip in clips]
        sections.append(Section("Rate and distortion", [_choice("Clip", charts)]))
    if facts.table:
        sections.append(Section("BD-rate", _bd_rates(facts)))
    if clips:
        points = [{"name": clip.name, "blocks": [_points(clip.name, facts)]} for clip in clips]
        sections.append(Section("Points", [_choice("Clip", points)]))
    lines = [line.removeprefix("- ").replace("`", "") for line in origin(facts)]
    lines += [*facts.outcome.remarks, *(f"Failed: {text}" for text in facts.outcome.failed)]
    sections.append(Section("This benchmark", [{"type": "text", "text": line} for line in lines]))
    subtitle = ", ".join(clip.name for clip in plan.clips)
    return page("InnVC beside other codecs", subtitle, sections)


def _choice(name: str, options: Sequence[Block]) -> Block:
    return {"type": "choice", "name": name, "options": options}


def _curves(clip: BenchClip, facts: Facts) -> Block:
    options = []
    for metric, axis in AXES.items():
        series = []
        own = [variant.name for variant in facts.plan.variants]
        codecs = sorted(facts.plan.order, key=lambda codec: codec not in own)
        for colour, codec in enumerate(codecs):
            points = [
                [row["bpp"], row[metric], f"{row['quality']:g}, {row['bytes']:,} bytes"]
                for row in facts.outcome.curves.get((clip.name, codec), ())
                if row.get(metric) is not None and not row["lossless"]
            ]
            one = {"name": codec, "points": points, "large": codec in own, "colour": colour}
            series += [one] if points else []
        if series:
            chart = {
                "type": "chart",
                "title": f"{clip.name}: {clip.count} frames of "
                f"{clip.info.width}x{clip.info.height} {clip.info.format.name}",
                "x": {"name": "rate (bits per pixel)", "log": True},
                "y": {"name": axis},
                "series": series,
                "note": "A lossless point has no place here; it is in the table of points.",
            }
            options.append({"name": axis.removesuffix(" (dB)"), "blocks": [chart]})
    return _choice("Measure", options)


def _bd_rates(facts: Facts) -> list[Block]:
    blocks: list[Block] = []
    for test in facts.tests:
        if not any(cell.test == test for cell in facts.table):
            continue
        head, rows = summary(facts, test)
        means = {"type": "table", "head": head, "rows": rows}
        options = [{"name": f"{test}: means", "blocks": [means]}]
        for metric, name in METRICS.items():
            head, rows = details(facts, test, metric)
            table = {"type": "table", "head": head, "rows": rows, "left": 2}
            options.append({"name": f"{name} of each clip", "blocks": [table]})
        blocks.append(_choice("Table", options))
    text = (
        "Negative is fewer bits than the peer at equal quality, in the interval in dB behind it; "
    )
    text += "a star marks few points or a narrow interval."
    return [*blocks, {"type": "text", "text": text}]


def _points(clip: str, facts: Facts) -> Block:
    rows = [
        [row.get(key) for key in COLUMNS]
        for codec in facts.plan.order
        for row in facts.outcome.curves.get((clip, codec), ())
    ]
    return {"type": "table", "head": list(COLUMNS.values()), "rows": rows}


def _viewer(facts: Facts, log: PointLog) -> Block:
    """Of each clip: the original, points of InnVC, and a peer's at the nearest rate."""
    files: list[str] = []
    items: list[Block] = []
    for clip in facts.plan.clips:
        ours = _pictured(clip, [variant.name for variant in facts.plan.variants], facts, log)
        theirs = _pictured(clip, facts.plan.pictured_peers, facts, log)
        if not ours or not theirs:
            continue
        middle = clip.first + clip.count // 2
        painter = Painter(clip.info)
        frames = read_frames(clip.path, middle, middle + 1)[1]
        files.append(data_uri(painter.webp(frames[0].planes)))
        original = len(files) - 1
        for index in spread(len(ours), POINTS):
            own = ours[index]
            other = min(theirs, key=lambda row: abs(math.log(row["bytes"] / own["bytes"])))
            files += [data_uri(log.picture(row).read_bytes()) for row in (own, other)]
            items.append(
                {
                    "name": f"{clip.name}, frame {middle}",
                    "detail": f"{_label(own)} | {_label(other)}",
                    "pictures": [original, len(files) - 2, len(files) - 1],
                    "labels": ["original", _label(own), _label(other)],
                    "aspect": painter.aspect,
                }
            )
    return {
        "type": "viewer",
        "step": "Point",
        "names": ["Original", "InnVC", "Peer"],
        "pair": [1, 2],
        "files": files,
        "items": items,
        "note": "In 8-bit RGB; what is wider or higher than 1280 is scaled down.",
    }


def _pictured(clip: BenchClip, codecs: Sequence[str], facts: Facts, log: PointLog) -> list[Row]:
    """The points of the first codec that has pictures."""
    for codec in codecs:
        rows = facts.outcome.curves.get((clip.name, codec), ())
        found = [row for row in rows if log.picture(row).is_file()]
        if found:
            return found
    return []


def _label(row: Row) -> str:
    quality = decibel_text(row["psnr_y"])
    return f"{row['codec']} {row['quality']:g}: {row['bpp']:.3f} bpp, {quality} dB"
