"""Rate and distortion of InnVC beside x265, over clips and lambdas.

    python benchmarks/rd.py --clips a.mkv b.mkv --lambdas 0.1,0.3,1,3 --frames 0:16

Every point is `innvc encode`, `innvc decode` and `innvc compare` as command lines; the rate is the
size of the file. Points are kept in a JSON lines file, so a run that was stopped goes on where it
was. The tables go to docs/results.md, between markers.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import peers
from command import ROOT, commit, innvc, machine

from innvc.errors import UsageError
from innvc.metrics import BdRate, bd_rate
from innvc.video.formats import VideoInfo

Row = dict[str, Any]
MARKERS = "<!-- rd: begin -->", "<!-- rd: end -->"
METRICS = (("psnr_y", "Y"), ("psnr_611", "6:1:1"))
QUALITY = ("frames", "psnr_y", "psnr_u", "psnr_v", "psnr_611")


class Store:
    """Our points in a JSON lines file; the latest line of a point counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._rows = {self._key(row): row for row in map(json.loads, lines)}

    @staticmethod
    def _key(row: Row) -> tuple[Any, ...]:
        return row["source"], row["lambda"], row["preset"], row["time"]

    def find(self, wanted: Row) -> Row | None:
        return self._rows.get(self._key(wanted))

    def add(self, row: Row) -> None:
        self._rows[self._key(row)] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def measure(clip: Path, info: VideoInfo, frames: str, wanted: Row, folder: Path) -> Row:
    """Encodes, decodes and compares one point."""
    file = folder / "point.innv"
    decoded = folder / ("point.mkv" if info.format.family == "rgb" else "point.y4m")
    options = ["--lambda", f"{wanted['lambda']:g}", "--preset", wanted["preset"]]
    if wanted["time"]:
        options += ["--time", wanted["time"]]
    encode = innvc(
        "encode", clip, "-o", file, "--frames", frames, *options, "--overwrite", "--json"
    )
    decode = innvc("decode", file, "-o", decoded, "--overwrite")
    compare = innvc("compare", clip, decoded, "--frames", frames, "--json").output
    size = file.stat().st_size
    if compare["frames"] != wanted["frames"]:
        raise SystemExit(f"{compare['frames']} frames compared, not {wanted['frames']}.")
    for key, _ in METRICS:
        a, b = encode.output.get(key), compare[key]
        if a is not None and b is not None and abs(a - b) > 0.01:
            raise SystemExit(f"{clip.name}: encode says {key} is {a:.3f} dB, compare {b:.3f} dB.")
    return wanted | {key: compare[key] for key in QUALITY} | {
        "bytes": size,
        "bpp": 8 * size / (wanted["frames"] * info.width * info.height),
        "steps": encode.output.get("steps"),
        "encode_seconds": encode.seconds,
        "decode_seconds": decode.seconds,
        "commit": commit(),
    }  # fmt: skip


def difference(anchor: list[Row], test: list[Row], key: str, limits: tuple[float, float]) -> BdRate:
    curves = [
        [(row["bytes"], row[key]) for row in rows if row[key] is not None]
        for rows in (anchor, test)
    ]
    return bd_rate(*curves, *limits)


def table(header: list[str], rows: list[list[Any]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def summary(
    names: list[str], ours: dict[str, list[Row]], theirs: dict, limits: tuple[float, float]
) -> list[str]:
    """BD-rates of each clip with the interval they hold for, and their means."""
    columns = [(peer, key, label) for peer in peers.PEERS for key, label in METRICS]
    found: dict[tuple[str, str], list[float]] = {}
    rows = []
    for name in names:
        first = ours[name][0]
        cells: list[Any] = [name, f"{first['width']}x{first['height']} {first['pix_fmt']}"]
        cells.append(first["frames"])
        for peer, key, _ in columns:
            try:
                result = difference(theirs[name][peer], ours[name], key, limits)
            except UsageError as error:
                cells.append(error.message)
                continue
            if result.percent is None:
                cells.append("no overlap")
                continue
            found.setdefault((peer, key), []).append(result.percent)
            cells.append(f"{result.percent:+.1f} % ({result.low_db:.1f} to {result.high_db:.1f})")
        cells += [
            f"{mean(r[f'{w}_seconds'] for r in ours[name]):.1f}" for w in ("encode", "decode")
        ]
        rows.append(cells)
    means = [found.get((peer, key), []) for peer, key, _ in columns]
    last = [f"{mean(m):+.1f} % (of {len(m)})" if m else "" for m in means]
    rows.append(["**mean**", "", "", *last, "", ""])
    header = ["clip", "format", "frames"]
    header += [f"{peer}, {label}" for peer, _, label in columns]
    return table([*header, "encode s", "decode s"], rows)


def points(rows: list[Row]) -> list[str]:
    cells = [
        [
            row["clip"],
            f"{row['lambda']:g}",
            row["bytes"],
            f"{row['bpp']:.4f}",
            *(peers.decibel_text(row[key]) for key, _ in METRICS),
            row["steps"],
            f"{row['encode_seconds']:.1f}",
            f"{row['decode_seconds']:.1f}",
            row["commit"],
        ]
        for row in rows
    ]
    header = ["clip", "lambda", "bytes", "bpp", "PSNR-Y", "PSNR 6:1:1", "steps"]
    return table([*header, "encode s", "decode s", "commit"], cells)


def report(names: list[str], ours: dict, theirs: dict, arguments: argparse.Namespace) -> str:
    low, high = arguments.range
    everything = [row for name in names for row in ours[name]]
    commits = ", ".join(sorted({row["commit"] for row in everything}))
    fit = f"preset {arguments.preset}" + (f", --time {arguments.time}" if arguments.time else "")
    lines = [
        f"BD-rate of InnVC ({fit}) over {low:g} to {high:g} dB, negative is better; in parentheses",
        "the interval in which both curves exist, which is what the number holds for. The rate is",
        "the size of the file for InnVC and the elementary stream without container for x265.",
        "",
        f"- Made by `benchmarks/rd.py` on {datetime.date.today()}, commit {commits}",
        f"- Machine: {machine()}",
        *(f"- {peer.name}: {peer.describe()}" for peer in peers.PEERS.values()),
        "",
        *summary(names, ours, theirs, arguments.range),
        "",
        "Seconds are wall-clock time of the commands, mean over the points of a clip.",
        "",
        *points(everything),
    ]
    return "\n".join(lines)


def write_between_markers(path: Path, text: str) -> None:
    """Replaces what is between the markers, or makes the file."""
    begin, end = MARKERS
    old = path.read_text() if path.exists() else f"# Results\n\n{begin}\n{end}\n"
    if begin not in old or end not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    head, tail = old.partition(begin)[0], old.partition(end)[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    bundled = sorted((ROOT / "tests/data").glob("*.mkv"))
    numbers = lambda text: [float(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("--clips", nargs="+", type=Path, default=bundled)
    parser.add_argument("--lambdas", type=numbers, default=[0.06, 0.15, 0.4, 1, 2.5])
    parser.add_argument("--frames", type=peers.frame_range, default=(0, 16), metavar="A:B")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--time", help="ends each fit early, as in `innvc encode`")
    parser.add_argument("--range", type=numbers, default=[38, 50], help="dB: 38,50")
    parser.add_argument("--fresh", action="store_true", help="again where the commit differs")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-out/rd.jsonl")
    parser.add_argument("--peers-out", type=Path, default=ROOT / "bench-out/peers.jsonl")
    parser.add_argument("--results", type=Path, default=ROOT / "docs/results.md")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    store, cache = Store(arguments.out), peers.Cache(arguments.peers_out)
    ours: dict[str, list[Row]] = {}
    theirs: dict[str, dict[str, list[Row]]] = {}
    for clip in arguments.clips:
        clip, name = clip.resolve(), clip.stem
        info, frames = peers.read_frames(str(clip), *arguments.frames)
        first = arguments.frames[0]
        wanted: Row = {
            "clip": name,
            "source": peers.fingerprint(info, frames),
            "frames": len(frames),
            "width": info.width,
            "height": info.height,
            "pix_fmt": info.format.name,
            "preset": arguments.preset,
            "time": arguments.time,
        }
        selection = f"{first}:{first + len(frames)}"
        theirs[name] = {
            key: peers.curve(peer, name, info, frames, cache) for key, peer in peers.PEERS.items()
        }
        ours[name] = []
        for value in arguments.lambdas:
            key = wanted | {"lambda": value}
            row = store.find(key)
            if row is None or (arguments.fresh and row["commit"] != commit()):
                with tempfile.TemporaryDirectory() as folder:
                    row = measure(clip, info, selection, key, Path(folder))
                store.add(row)
            ours[name].append(row)
            # A table after each point, so that a run that is stopped leaves what it has.
            names = [n for n in ours if len(ours[n]) > 1]
            if names:
                write_between_markers(arguments.results, report(names, ours, theirs, arguments))


if __name__ == "__main__":
    main()
