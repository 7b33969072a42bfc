"""Where the bytes of a file went, for its page.

`facts` are those of `inspection.describe`, `packets` those of `packets_of`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from innvc.model.subbands import frames_of, level_of, low_counts
from innvc.report.page import Block

KINDS = {
    "latent": "latent",
    "motion": "motion",
    "filter": "gains of the filters",
    "side": "steps and scales",
    "grid": "grid of the field",
    "weights": "weights",
    "header": "header",
    "streams": "audio and subtitles",
    "container": "container",
}


def packets_of(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All packets, with the number of their first frame and their bytes."""
    for segment in facts["segments"]:
        first = segment["first_frame"]
        for packet in segment["packets"]:
            beside = packet["motion"] + packet["filter"] + packet["side"]
            total = beside + sum(packet["latent_by_layer"])
            yield packet | {"first": first, "total": total, "beside": beside}
            first += packet["frames"]


def kinds(facts: dict[str, Any]) -> Block:
    """By kind, by layer and by temporal level."""
    spent = facts["bytes"]
    parts = [[text, spent[kind]] for kind, text in KINDS.items() if spent[kind]]
    tables = [{"name": "Kind", "parts": parts}]
    layers, levels = spent["latent_by_layer"], spent["latent_by_level"]
    if len(layers) > 1:
        rows = [[f"layer {n}", size] for n, size in enumerate(layers, 1)]
        tables.append({"name": "Layer of the latent", "parts": rows})
    if len(levels) > 1:
        rows = [[_level(level), size] for level, size in enumerate(levels) if size]
        tables.append({"name": "Temporal level of the latent", "parts": rows})
    return {"type": "shares", "unit": "bytes", "tables": tables}


def _level(level: int) -> str:
    return f"details, level {level}" if level else "low-pass"


def over_time(facts: dict[str, Any], packets: list[dict[str, Any]]) -> Block:
    """Of each frame, group of frames and segment."""
    options = [
        {"name": "Frames", "blocks": [_by_frame(packets)]},
        {"name": "Groups of frames", "blocks": [_by_group(packets)]},
    ]
    segments = facts["segments"]
    if len(segments) > 1:
        kinds = "side", "grid", "weights"
        bars = {
            "type": "bars",
            "title": "Bytes of the parameters of each segment",
            "x": "first frame of the segment",
            "y": "bytes",
            "labels": [f"from frame {s['first_frame']}" for s in segments],
            "ticks": [s["first_frame"] for s in segments],
            "series": [{"name": KINDS[k], "values": [s[k] for s in segments]} for k in kinds],
        }
        options.append({"name": "Segments", "blocks": [bars]})
    return {"type": "choice", "name": "Bytes over time", "options": options}


def _by_frame(packets: list[dict[str, Any]]) -> Block:
    count = sum(packet["frames"] for packet in packets)
    levels = max(len(low_counts(packet["frames"])) for packet in packets)
    rows = [[0] * count for _ in range(levels)]
    beside = [0] * count
    for packet in packets:
        group, first = packet["frames"], packet["first"]
        of_level = [level_of(subband, group) for subband in range(group)]
        for subband, (level, frame) in enumerate(zip(of_level, frames_of(group), strict=True)):
            size, parts = packet["latent_by_level"][level], of_level.count(level)
            part = subband - of_level.index(level)
            rows[level][first + frame] = size * (part + 1) // parts - size * part // parts
        beside[first + frames_of(group)[0]] = packet["beside"]
    series = [{"name": _level(level), "values": row} for level, row in enumerate(rows)]
    return {
        "type": "bars",
        "title": "Bytes of each frame",
        "x": "frame",
        "y": "bytes",
        "labels": [f"frame {number}" for number in range(count)],
        "series": [*series, {"name": "motion, filter, offsets", "values": beside}],
        "note": "A group of frames becomes one low-pass frame and details of several levels, 1 the "
        "finest, which share the bytes of their level. What a group has once stands at its "
        "low-pass frame.",
    }


def _by_group(packets: list[dict[str, Any]]) -> Block:
    layers = max(len(packet["latent_by_layer"]) for packet in packets)
    series = [
        {
            "name": f"layer {n + 1}" if layers > 1 else "latent",
            "values": [sum(p["latent_by_layer"][n : n + 1]) for p in packets],
        }
        for n in range(layers)
    ]
    beside = {"motion": "motion", "filter": "filters", "side": "step offsets"}
    series += [{"name": name, "values": [p[k] for p in packets]} for k, name in beside.items()]
    return {
        "type": "bars",
        "title": "Bytes of each group of frames",
        "x": "first frame of the group",
        "y": "bytes",
        "labels": [group_text(packet) for packet in packets],
        "ticks": [packet["first"] for packet in packets],
        "series": series,
    }


def group_text(packet: dict[str, Any]) -> str:
    """A packet as text."""
    last = packet["first"] + packet["frames"] - 1
    kind = "key" if packet["key"] else "predicted" if packet["predicted"] else ""
    return f"frames {packet['first']} to {last}" + (f", {kind}" if kind else "")
