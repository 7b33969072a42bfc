"""The page of an encode."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from innvc.encoding import EncodeResult
from innvc.errors import InnvcError
from innvc.inspection import describe
from innvc.metrics import psnr
from innvc.output import OutputFile
from innvc.report.bytes_spent import group_text, kinds, over_time, packets_of
from innvc.report.page import Block, Section, page
from innvc.report.pictures import data_uri
from innvc.report.recorder import PassRecord, Recorder
from innvc.request import EncodeRequest
from innvc.switches import Switches


def write_report(
    report: Path,
    output: Path,
    request: EncodeRequest,
    result: EncodeResult,
    recorder: Recorder,
    record: PassRecord,
    overwrite: bool,
) -> None:
    """Writes the page; it appears whole or not at all.

    Args:
        report: Where.
        output: The .innv file, which is there.
        record: Of the pass that it is from.

    Raises:
        InnvcError: it cannot be written.
    """
    text = encode_page(output, request, result, recorder, record)
    try:
        with OutputFile(report, overwrite) as file:
            with file.writing() as stream:
                stream.write(text.encode())
            file.commit()
    except InnvcError as error:
        raise type(error)(error.message, f"The video is in '{output}', whole.") from error


def encode_page(
    output: Path,
    request: EncodeRequest,
    result: EncodeResult,
    recorder: Recorder,
    record: PassRecord,
) -> str:
    """The page as HTML."""
    facts = describe(output)
    packets = list(packets_of(facts))
    sections = [
        Section("", [_numbers(result, facts)]),
        Section("Pictures", [_viewer(recorder, record)]),
        Section("Where the bytes went", [kinds(facts), over_time(facts, packets)]),
        Section("Quality of each frame", [_quality(recorder, record)]),
        Section("Rate and distortion", _rate_distortion(facts, packets, recorder, record)),
        Section("Fit", _fit(recorder, result)),
        Section("This encode", [_facts(request, result, facts, recorder)]),
    ]
    name = os.path.basename(request.source) if request.source != "-" else "standard input"
    return page(output.name, f"{name}, encoded by InnVC {result.version}", sections)


def _numbers(result: EncodeResult, facts: dict[str, Any]) -> Block:
    seconds = facts["video"]["duration_seconds"]
    items = [
        ["Size", f"{result.bytes:,} bytes"],
        ["Rate", f"{result.bpp:.4f} bpp"],
        ["Bit rate", f"{result.bytes / seconds / 125:,.0f} kbit/s" if seconds else "-"],
        ["PSNR-Y", decibels(result.psnr_y)],
        ["PSNR 6:1:1", decibels(result.psnr_611)],
        ["MS-SSIM-Y", "-" if result.msssim_y is None else f"{result.msssim_y:.5f}"],
    ]
    return {"type": "facts", "items": items, "large": True}


def decibels(value: float | None) -> str:
    """PSNR as text; infinite is what is identical."""
    return "-" if value is None else "identical" if value == float("inf") else f"{value:.2f} dB"


def _viewer(recorder: Recorder, record: PassRecord) -> Block:
    rate, painter = recorder.info.frame_rate, recorder.painter
    files, items = list[str](), list[Block]()
    for number, pictures in sorted(record.pictures.items()):
        time = f", {float(number / rate):.2f} s" if rate else ""
        item = {
            "name": f"Frame {number}{time}",
            "detail": f"PSNR-Y {decibels(record.decibels[number][0])}",
            "pictures": [len(files), len(files) + 1],
            "aspect": painter.aspect,
        }
        files += map(data_uri, pictures)
        items.append(item)
    note = f"{len(items)} of {len(record.decibels)} frames, in 8-bit RGB without loss"
    if painter.scaled:
        note += ", scaled down to {}x{}".format(*painter.size)
    return {
        "type": "viewer",
        "step": "Frame",
        "names": ["Original", "Decoded"],
        "pair": [0, 1],
        "files": files,
        "items": items,
        "note": note + ".",
    }


def _quality(recorder: Recorder, record: PassRecord) -> Block:
    family = recorder.info.format.family
    names = {"yuv": "YUV", "rgb": "GBR", "gray": "Y"}[family]
    series = [
        {
            "name": f"PSNR-{name}",
            "points": [[n, values[plane]] for n, values in enumerate(record.decibels)],
        }
        for plane, name in enumerate(names)
    ]
    return {
        "type": "chart",
        "title": "PSNR of each frame",
        "x": {"name": "frame", "whole": True},
        "y": {"name": "PSNR (dB)"},
        "series": series,
        "note": "A plane that is identical to the original has no point.",
    }


def _rate_distortion(
    facts: dict[str, Any],
    packets: list[dict[str, Any]],
    recorder: Recorder,
    record: PassRecord,
) -> list[Block]:
    video = facts["video"]
    pixels = video["width"] * video["height"]
    whole = [
        [
            8 * p.bytes / (pixels * video["frames"]),
            p.psnr_y,
            f"{p.bytes:,} bytes, λ {p.lambda_:.4g}",
        ]
        for p in recorder.passes
    ]
    groups = []
    for packet in packets:
        first, count = packet["first"], packet["frames"]
        errors = [10 ** (-values[0] / 10) for values in record.decibels[first : first + count]]
        quality = psnr(sum(errors) / count, 1)
        groups.append([8 * packet["total"] / (pixels * count), quality, group_text(packet)])
    name = "passes, whole file" if len(whole) > 1 else "whole file"
    chart = {
        "type": "chart",
        "title": "Quality over rate",
        "x": {"name": "rate (bits per pixel)"},
        "y": {"name": "PSNR-Y (dB)"},
        "series": [
            {"name": "groups of frames", "points": groups, "kind": "dots"},
            {"name": name, "points": sorted(whole), "large": True},
        ],
    }
    return [chart]


def _fit(recorder: Recorder, result: EncodeResult) -> list[Block]:
    if not recorder.fits:
        text = "The fit was done by the encode that this one goes on from."
        return [{"type": "text", "text": text if result.steps else "Nothing was fitted."}]
    run = max(curve.run for curve in recorder.fits.values())
    note = "Of random crops" + (f", means over {run} steps." if run > 1 else ".")
    values = {
        "Loss": "bits per pixel + λ · distortion",
        "Rate": "rate (bits per pixel)",
        "Distortion": "mean squared error (8-bit code values)",
    }
    options = []
    for place, (name, axis) in enumerate(values.items(), 1):
        series = [
            {
                "name": f"segment {number + 1}",
                "points": [[point[0], point[place]] for point in curve.points()],
            }
            for number, curve in sorted(recorder.fits.items())
        ]
        chart = {
            "type": "chart",
            "title": f"{name} along the fit",
            "x": {"name": "step", "whole": True},
            "y": {"name": axis},
            "series": series,
            "note": note,
        }
        options.append({"name": name, "blocks": [chart]})
    return [{"type": "choice", "name": "Curve", "options": options}]


def _facts(
    request: EncodeRequest, result: EncodeResult, facts: dict[str, Any], recorder: Recorder
) -> Block:
    video = facts["video"]
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in recorder.seconds.items())
    asked = result.target_psnr, result.target_bytes
    items = [
        ["Input", request.source],
        ["Video", f"{video['width']}x{video['height']} {video['pix_fmt']}, {video['frames']} frames"
         f" at {video['frame_rate']} frames/s"],
        ["Preset", f"{result.preset}, λ {result.lambda_:.6g}"],
        ["Settings", _settings(request) or "as the preset has them"],
        ["Model", result.model],
        ["Target", "-" if asked == (None, None) else decibels(asked[0]) if asked[0] is not None
         else f"{asked[1]:,} bytes"],
        ["Passes", str(result.passes)],
        ["Steps of the fit", str(result.steps) + (", interrupted" if result.interrupted else "")],
        ["Time", f"{result.seconds:.1f} s: {phases}"],
        ["Device", result.device],
        ["Chroma PSNR", f"{decibels(result.psnr_u)}, {decibels(result.psnr_v)}"],
        ["Streams", ", ".join(facts["streams"]) or "-"],
        ["Notes", "; ".join(result.notes) or "-"],
    ]  # fmt: skip
    return {"type": "facts", "items": items}


def _settings(request: EncodeRequest) -> str:
    """What is not as it is by default."""
    found = []
    for part in (request, request.switches):
        for item in fields(part):
            value = getattr(part, item.name)
            if value != item.default and not isinstance(value, Switches) and item.name != "source":
                found.append(f"{item.name.rstrip('_')} {value}")
    return ", ".join(found)
