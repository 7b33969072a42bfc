"""Which points a benchmark needs, and getting them: from the log or by measuring."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from innvc.bench.clips import BenchClip
from innvc.bench.peers import PEERS, NotPossible, Peer, coded_format
from innvc.bench.points import PointLog
from innvc.bench.pool import Pool, PoolClosed
from innvc.bench.provenance import code, commit, peer_library

Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """InnVC as it is run: a curve of its own.

    Attributes:
        name: Of the curve.
        model: `--model` of the encode command; "" where it is not given.
        arguments: Options of `innvc encode` besides lambda, frames, threads and output.
    """

    name: str
    preset: str
    model: str
    arguments: tuple[str, ...]
    decode_arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        low_db, high_db: PSNR-Y that the peers' curves shall cover.
        threads: Of each InnVC command; peers have one.
        any_code: Take InnVC's points of other versions of the code where the log has them.
    """

    clips: Sequence[BenchClip]
    lambdas: Sequence[float]
    variants: Sequence[Variant]
    peers: Sequence[Peer]
    order: Sequence[str]
    low_db: float = 28.0
    high_db: float = 54.0
    jobs: int = 1
    threads: int = 1
    any_code: bool = False

    @property
    def pictured_peers(self) -> list[str]:
        """The peer whose frames are shown beside InnVC's: x265-ra, else the first with a curve."""
        names = [peer.name for peer in self.peers if len(peer.ladder) > 1]
        return sorted(names, key=lambda name: name != "x265-ra")[:1]


@dataclass
class Outcome:
    """What there is.

    Attributes:
        curves: Points by clip and codec, in order of rising rate.
        remarks: Sentences about what is missing, and why.
        failed: InnVC's points that failed, with the reason.
        measured: Points that were measured now and not found in the log.
    """

    curves: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    measured: int = 0


Report = Callable[[int, int, str], None]  # curves done, curves in all, a line


class _Stopped(Exception):
    pass


class Bench:
    """Runs a plan.

    Args:
        plan: What to measure.
        log: Where points are kept.
        report: Called after each point.
        measure: Whether to measure what the log lacks.
    """

    def __init__(self, plan: Plan, log: PointLog, report: Report, measure: bool = True) -> None:
        self.plan = plan
        self.log = log
        self.outcome = Outcome()
        self._report = report
        self._measure = measure
        self._done = 0
        self._tasks = self._make_tasks()

    def _make_tasks(self) -> list[Callable[[], None]]:
        tasks: list[Callable[[], None]] = []
        variants = {variant.name: variant for variant in self.plan.variants}
        for name in self.plan.order:
            for clip in self.plan.clips:
                if name in variants:
                    for value in self.plan.lambdas:
                        tasks.append(partial(self._ours, clip, variants[name], value))
                else:
                    tasks.append(partial(self._curve, clip, PEERS[name]))
        return tasks

    def run(self) -> Outcome:
        """Measures all. What was measured stays in the log, whatever ends this.

        Raises:
            KeyboardInterrupt: after Ctrl-C; `outcome` then has what there is.
        """
        workers = self.plan.jobs if self._measure else 1
        with tempfile.TemporaryDirectory(prefix="innvc-bench-") as scratch:
            self._scratch = scratch
            self._pool = Pool(workers, self.plan.threads)
            executor = ThreadPoolExecutor(workers)
            try:
                waiting = {executor.submit(self._guard, task) for task in self._tasks}
                while waiting:
                    done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            finally:
                self._pool.close()
                executor.shutdown(cancel_futures=True)
                self._sort()
        return self.outcome

    def _guard(self, task: Callable[[], None]) -> None:
        try:
            task()
        except PoolClosed:
            return
        self._done += 1

    def _sort(self) -> None:
        names = [clip.name for clip in self.plan.clips]
        curves = self.outcome.curves
        order = sorted(curves, key=lambda k: (names.index(k[0]), self.plan.order.index(k[1])))
        self.outcome.curves = {k: sorted(curves[k], key=lambda row: row["bytes"]) for k in order}

    def _keep(self, clip: BenchClip, codec: str, row: Row) -> None:
        self.outcome.curves.setdefault((clip.name, codec), []).append(row | {"clip": clip.name})

    def _point(self, clip: BenchClip, wanted: Row, job: Row) -> Row | None:
        """A point from the log, or measured; a row with "error" where that failed."""
        found = self.log.find(wanted)
        if found is not None or not self._measure:
            return found
        began = time.monotonic()
        common = {
            "path": str(clip.path),
            "first": clip.first,
            "count": clip.count,
            "codec": wanted["codec"],
            "scratch": self._scratch,
        }
        if wanted["codec"] not in PEERS or wanted["codec"] in self.plan.pictured_peers:
            common["picture"] = str(self.log.picture(wanted))
        result = self._pool.measure(common | job)
        title = f"{clip.name} {wanted['codec']} {wanted['quality']:g}"
        if "error" in result:
            self._report(self._done, len(self._tasks), f"{title}: {result['error']}")
            return result
        facts = {
            "clip": clip.name,
            "frames": clip.count,
            "width": clip.info.width,
            "height": clip.info.height,
            "pix_fmt": clip.info.format.name,
            "bpp": 8 * result["bytes"] / clip.pixels,
            "measured_on": time.strftime("%Y-%m-%d"),
        }
        row = wanted | facts | result
        self.log.add(row)
        self.outcome.measured += 1
        db = "lossless" if row["psnr_y"] is None else f"{row['psnr_y']:.2f} dB"
        text = f"{title}: {row['bpp']:.4f} bpp, {db}, {time.monotonic() - began:.1f} s"
        self._report(self._done, len(self._tasks), text)
        return row

    def _ours(self, clip: BenchClip, variant: Variant, value: float) -> None:
        arguments = ["--lambda", f"{value:g}", *variant.arguments]
        wanted = {
            "source": clip.source,
            "codec": variant.name,
            "options": " ".join(arguments),
            "library": code(),
            "quality": value,
            "preset": variant.preset,
            "model": variant.model,
            "commit": commit(),
            "threads": self.plan.threads,
        }
        row = self._of_other_code(wanted) if self.plan.any_code else None
        if row is None:
            job = {
                "arguments": arguments,
                "decode_arguments": list(variant.decode_arguments),
                "threads": self.plan.threads,
            }
            row = self._point(clip, wanted, job)
        if row is None:
            remark = f"{clip.name}, {variant.name}: not measured yet at lambda {value:g}."
            self.outcome.remarks.append(remark)
            return
        if "error" in row:
            self.outcome.failed.append(f"{clip.name} at lambda {value:g}: {row['error']}")
            return
        self._keep(clip, variant.name, row)

    def _of_other_code(self, wanted: Row) -> Row | None:
        """The point of this code, else the last one of any other."""
        rows = [
            row
            for row in self.log.rows()
            if all(row.get(k) == wanted[k] for k in ("source", "codec", "options"))
        ]
        return next(
            (r for r in rows if r["library"] == wanted["library"]), rows[-1] if rows else None
        )

    def _curve(self, clip: BenchClip, peer: Peer) -> None:
        """Points of a peer from its ladder: outwards from the start until the range is covered."""
        try:
            coded_format(peer, clip.info.format)
            if peer.engine == "ffmpeg":
                from innvc.bench import ffmpeg

                if ffmpeg.program() is None:
                    raise NotPossible("imageio-ffmpeg is not installed (pip install innvc[bench])")
        except NotPossible as error:
            self._remark(clip, peer, str(error))
            return
        library = peer_library(peer.engine)

        def measure(index: int) -> float | None:
            quality = peer.ladder[index]
            wanted = {
                "source": clip.source,
                "codec": peer.name,
                "options": peer.describe(quality),
                "library": library,
                "quality": quality,
            }
            row = self._point(clip, wanted, {"quality": quality})
            if row is None:
                if index == peer.start:
                    self._remark(clip, peer, "not measured yet")
                return None
            if "error" in row:
                self._remark(clip, peer, f"at {quality:g}: {row['error']}")
                return None
            self._keep(clip, peer.name, row)
            return math.inf if row["psnr_y"] is None else float(row["psnr_y"])

        walk(len(peer.ladder), peer.start, self.plan.low_db, self.plan.high_db, measure)

    def _remark(self, clip: BenchClip, peer: Peer, text: str) -> None:
        self.outcome.remarks.append(f"{clip.name}, {peer.name}: {text}.")


def walk(
    length: int, start: int, low: float, high: float, measure: Callable[[int], float | None]
) -> None:
    """Measures entries of a ladder from `start` to both sides until [low, high] dB is covered.

    Args:
        length: Entries of the ladder, the best quality first.
        start: Where to begin.
        low, high: What shall be covered, as far as the ladder reaches.
        measure: Gives dB of an entry; None where there is none, which ends that direction.
    """
    first = measure(start)
    if first is None:
        return
    for step in (1, -1):
        index, db = start, first
        while (db > low if step > 0 else db < high) and 0 <= index + step < length:
            index += step
            found = measure(index)
            if found is None:
                break
            db = found
