"""The results of a benchmark as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from innvc.bench.peers import PEERS
from innvc.bench.provenance import machine
from innvc.bench.run import Outcome, Plan
from innvc.bench.tables import EITHER, METRICS, RANGES, Cell, Mean

Row = dict[str, Any]

_METHOD = """\
How it was measured. Every codec gets the same frames in the clip's own pixel format, and all are
measured in it, on decoded frames rounded to integers. PSNR is that of the mean squared error of
all frames; 6:1:1 is (6 Y + U + V) / 8. For InnVC, `innvc encode` and `innvc decode` run as commands
and the rate is the size of the whole file. For peers it is the elementary stream: all packets,
parameter sets once, neither container nor the encoder's own text. Peers run with one thread, one
intra frame at the start (or intra frames only), tuned for PSNR where they can be. A peer that codes
10 bits gets 8-bit samples shifted to the left by two; what it decodes is rounded back to 8 bits.
ProRes gets 4:2:0 as 4:2:2, each row of chroma twice; their mean comes back. Odd sizes are padded at
the edge and cropped again."""

_READING = """\
BD-rate is the mean difference in rate at equal quality (PCHIP over log rate, by the package
bjontegaard), negative is fewer bits than the peer. Behind it is the interval in dB in which both
curves exist, which is what the number holds for. `*`: a curve has fewer than four points in or
beside the interval, or the interval has less than 2 dB. Points that a smaller file equals or beats
are left out of the curves."""


@dataclass(frozen=True)
class Facts:
    """What the report is made of."""

    plan: Plan
    outcome: Outcome
    tests: Sequence[str]
    anchors: Sequence[str]
    table: Sequence[Cell]
    averages: Sequence[Mean]
    ours: Sequence[Row]


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def decibel_text(value: float | None) -> str:
    return "lossless" if value is None else f"{value:.2f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.percent is None:
        few = min(cell.anchor_points, cell.test_points) < 2 and cell.low_db is None
        counted = cell.anchor_points or cell.test_points
        return "too few points" if few and counted else "no overlap"
    star = "" if cell.trusted else "*"
    return f"{cell.percent:+.1f} %{star} ({cell.low_db:.1f} to {cell.high_db:.1f})"


def _mean(average: Mean | None, worst: bool) -> str:
    if average is None or average.percent is None:
        return ""
    text = f"{average.percent:+.1f} % (of {average.clips})"
    if worst and average.clips > 1:
        text += f", worst {average.worst_percent:+.1f} %"
    return text


Table = tuple[list[str], list[list[str]]]  # header and rows


def summary(facts: Facts, test: str) -> Table:
    """Mean BD-rates of one of InnVC's curves."""
    found = {(m.anchor, m.metric, m.range): m for m in facts.averages if m.test == test}
    columns = [(metric, range_) for metric in METRICS for range_ in RANGES]
    rows = [
        [anchor, *(_mean(found.get((anchor, *column)), worst=True) for column in columns)]
        for anchor in facts.anchors
        if any((anchor, *column) in found for column in columns)
    ]
    header = [f"{METRICS[metric][5:]}, {range_}" for metric, range_ in columns]
    return [f"{test} against", *header], rows


def details(facts: Facts, test: str, metric: str) -> Table:
    """Its BD-rates clip by clip, and their means."""
    cells = {
        (c.clip, c.range, c.anchor): c for c in facts.table if c.test == test and c.metric == metric
    }
    averages = {
        (m.range, m.anchor): m for m in facts.averages if m.test == test and m.metric == metric
    }
    anchors = [a for a in facts.anchors if any(key[2] == a for key in cells)]
    rows: list[list[str]] = []
    for clip in dict.fromkeys(key[0] for key in cells):
        for range_ in RANGES:
            rows.append([clip, range_, *(_cell(cells.get((clip, range_, a))) for a in anchors)])
    for range_ in RANGES:
        means = (_mean(averages.get((range_, a)), worst=False) for a in anchors)
        rows.append(["mean", range_, *means])
    return ["clip", "range", *anchors], rows


def _fit_seconds(row: Row) -> float | None:
    speed = row.get("steps_per_second")
    return row["steps"] / speed if speed else None


def _average(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(mean(known), form) if known else ""


def _complexity(facts: Facts) -> list[str]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in facts.ours:
        groups.setdefault((row["codec"], row["clip"]), []).append(row)
    rows = []
    for (codec, clip), points in groups.items():
        peaks = [p.get("encode_peak_bytes") for p in points]
        known = [p for p in peaks if p is not None]
        rows.append(
            [
                codec,
                clip,
                f"{points[0]['width']}x{points[0]['height']}",
                points[0]["frames"],
                f"{points[0]['parameters']:,}",
                f"{points[0]['kmac_per_pixel']:.2f}",
                _average([p["steps"] for p in points], ".0f"),
                _average([p.get("steps_per_second") for p in points], ".2f"),
                _average([_fit_seconds(p) for p in points], ".1f"),
                _average([p["encode_seconds"] for p in points], ".1f"),
                _average([p.get("frames_per_second") for p in points], ".2f"),
                f"{max(known) / 2**20:.0f}" if known else "",
            ]
        )
    header = ["preset", "clip", "size", "frames", "parameters", "kMAC/pixel", "steps", "steps/s"]
    return table([*header, "fit s", "encode s", "decode frames/s", "encode peak MiB"], rows)


def _points(facts: Facts) -> list[str]:
    rows = [
        [
            row["clip"],
            row["codec"],
            f"{row['quality']:g}",
            row["bytes"],
            f"{row['bpp']:.4f}",
            decibel_text(row["psnr_y"]),
            decibel_text(row["psnr_611"]),
            _number(row["msssim_y"], ".5f"),
            _number(row["vmaf"], ".2f"),
            _number(_fit_seconds(row), ".1f"),
            row["commit"],
        ]
        for row in facts.ours
    ]
    header = ["clip", "preset", "lambda", "bytes", "bpp", "PSNR-Y", "PSNR 6:1:1"]
    return table([*header, "MS-SSIM-Y", "VMAF", "fit s", "commit"], rows)


def _lossless(facts: Facts) -> list[str]:
    rows = [
        [clip, codec, point["bytes"], f"{point['bpp']:.4f}"]
        for (clip, codec), points in facts.outcome.curves.items()
        for point in points
        if point["lossless"] and codec in PEERS and len(PEERS[codec].ladder) == 1
    ]
    if not rows:
        return []
    return ["", "Lossless:", "", *table(["clip", "codec", "bytes", "bpp"], rows)]


def _clips(facts: Facts) -> str:
    texts = []
    for clip in facts.plan.clips:
        info = clip.info
        rate = f" at {float(info.frame_rate):.4g}/s" if info.frame_rate else ""
        last = clip.first + clip.count - 1
        span = f"frames {clip.first} to {last}" if clip.count > 1 else f"frame {clip.first}"
        texts.append(f"{clip.name} ({info.width}x{info.height} {info.format.name}{rate}, {span})")
    return f"- Clips: {'; '.join(texts)}"


def origin(facts: Facts) -> list[str]:
    """What was measured when, where and how, as lines of a list."""
    rows = facts.ours
    everything = [row for points in facts.outcome.curves.values() for row in points]
    days = sorted({row["measured_on"] for row in everything})
    lines = []
    if days:
        span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        lines.append(f"- Measured on {span}, {len(everything)} points")
    lines.append(_clips(facts))
    machines = sorted({row["machine"] for row in rows}) or [machine()]
    lines += [f"- Machine: {text}" for text in machines]
    for variant in facts.plan.variants:
        own = [row for row in rows if row["codec"] == variant.name]
        if not own:
            continue
        commits = ", ".join(sorted({row["commit"] for row in own}))
        threads = "/".join(sorted({str(row["threads"]) for row in own}))
        devices = "/".join(sorted({row["device"] for row in own}))
        fit = _average([_fit_seconds(row) for row in own], ".1f")
        options = " ".join(variant.arguments)
        lines.append(
            f"- {variant.name}: `innvc encode --lambda L {options}`, commit {commits}; {devices}, "
            f"threads {threads}; the fit took {fit or '0'} s on the mean"
        )
    for peer in facts.plan.peers:
        libraries = sorted({r["library"] for r in everything if r["codec"] == peer.name})
        if libraries:
            remark = f"; {peer.remark}" if peer.remark else ""
            name = ", ".join(libraries)
            lines.append(f"- {peer.name} ({name}): `{peer.describe()}`{remark}")
    return lines


def markdown(facts: Facts) -> str:
    """The whole report, without a title."""
    lines = [*_METHOD.split("\n"), "", *origin(facts)]
    if facts.table:
        lines += ["", *_READING.split("\n")]
    for test in facts.tests:
        if not any(c.test == test for c in facts.table):
            continue
        if test == EITHER:
            lines += ["", f"`{EITHER}` is the better one of InnVC's curves at each rate."]
        lines += ["", "Mean over the clips, and the clip where it is worst:", ""]
        lines += table(*summary(facts, test))
        for metric, label in METRICS.items():
            lines += ["", f"{test}, {label}:", "", *table(*details(facts, test, metric))]
    lines += _lossless(facts)
    if facts.ours:
        lines += [
            "",
            "Complexity. Multiply-accumulates are those of one direction, for a pixel;",
            "encode s is the whole command, the check of the file included; decode frames/s leaves",
            "out the start of Python. Means over the points of a clip.",
            "",
            *_complexity(facts),
            "",
            "InnVC's points:",
            "",
            *_points(facts),
        ]
    remarks = [*facts.outcome.remarks, *(f"Failed: {text}" for text in facts.outcome.failed)]
    if remarks:
        lines += ["", "What is missing:", "", *(f"- {text}" for text in remarks)]
    return "\n".join(lines) + "\n"
