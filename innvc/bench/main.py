"""`innvc bench` as a function: checks what is asked, measures, writes what there is."""

from __future__ import annotations

import importlib.util
import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innvc.bench.clips import Selection, open_clips
from innvc.bench.peers import PEERS
from innvc.bench.points import PointLog
from innvc.bench.run import Bench, Plan, Report, Variant
from innvc.errors import InnvcError, UsageError

OURS = "innvc"
_NEEDED = ("bjontegaard", "matplotlib", "scipy")


@dataclass(frozen=True)
class Settings:
    """The options of `innvc bench`. `codecs` empty is InnVC and every peer."""

    clips: Sequence[Path]
    folder: Path
    lambdas: Sequence[float] = (0.03, 0.15, 0.7, 3.0)
    presets: Sequence[str] = ("fast",)
    models: Sequence[str] = ()
    codecs: Sequence[str] = ()
    frames: Selection = (0, 16)
    psnr: tuple[float, float] = (28.0, 54.0)
    options: str = ""
    device: str = "auto"
    jobs: int = 1
    threads: int | None = None
    any_code: bool = False
    measure: bool = True
    document: Path | None = None


def _check(settings: Settings) -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"The benchmark needs {', '.join(missing)}.", "Install them: pip install innvc[bench]"
        )
    known = [OURS, *PEERS]
    for name in settings.codecs:
        if name not in known:
            raise UsageError(f"There is no codec '{name}'.", f"Choose from {', '.join(known)}.")
    for value in settings.lambdas:
        if not (math.isfinite(value) and 1e-4 <= value <= 1e4):
            raise UsageError(f"Lambda {value:g} is out of range.", "Give 0.0001 to 10000.")
    if not 1 <= settings.jobs <= 256:
        raise UsageError(f"Cannot run {settings.jobs} points side by side.", "Give 1 or more.")
    if settings.threads is not None and settings.threads < 1:
        raise UsageError(f"Cannot use {settings.threads} threads.", "Give 1 or more.")
    low, high = settings.psnr
    if not low < high:
        raise UsageError(f"The range {low:g}:{high:g} dB is empty.", "Write LOW:HIGH, as in 28:54.")


def variants(settings: Settings) -> list[Variant]:
    """InnVC's curves: every model with every preset.

    Raises:
        UsageError: there is no such preset, or the options cannot be read.
    """
    from innvc.presets import PRESETS

    try:
        more = tuple(shlex.split(settings.options))
    except ValueError as error:
        raise UsageError(f"The options '{settings.options}' have an open quote.") from error
    result = []
    for model in settings.models or ("",):
        for preset in settings.presets:
            if preset not in PRESETS:
                raise UsageError(
                    f"There is no preset '{preset}'.", f"Choose from {', '.join(PRESETS)}."
                )
            device = () if settings.device == "auto" else ("--device", settings.device)
            choice = ("--model", model) if model not in ("", OURS) else ()  # the default
            arguments = ("--preset", preset, *choice, *more, *device)
            result.append(Variant(f"{model or OURS}-{preset}", preset, model, arguments, device))
    return result


def plan(settings: Settings) -> Plan:
    """Reads the clips and says what there is to measure.

    Raises:
        UsageError: an option is out of range, or a package is missing.
        InnvcError: a clip cannot be read.
    """
    _check(settings)
    ours = variants(settings)
    codecs = list(dict.fromkeys(settings.codecs or [OURS, *PEERS]))
    order: list[str] = []
    for name in codecs:
        order += [variant.name for variant in ours] if name == OURS else [name]
    threads = settings.threads or max(1, (os.cpu_count() or 1) // settings.jobs)
    return Plan(
        clips=open_clips(settings.clips, settings.frames),
        lambdas=sorted(dict.fromkeys(settings.lambdas)),
        variants=ours if OURS in codecs else [],
        peers=[PEERS[name] for name in codecs if name in PEERS],
        order=order,
        low_db=settings.psnr[0],
        high_db=settings.psnr[1],
        jobs=settings.jobs,
        threads=threads,
        any_code=settings.any_code,
    )


def bench(settings: Settings, report: Report = lambda *_: None) -> dict[str, Any]:
    """Measures and writes tables and plots into a folder.

    Args:
        settings: What to measure and where to write.
        report: Called after each point with curves done, curves in all and a line of text.

    Returns:
        What results.json holds.

    Raises:
        UsageError: an option is out of range, or a package is missing.
        InnvcError: a clip cannot be read, or a file cannot be written.
        KeyboardInterrupt: after Ctrl-C; what was measured is written.
    """
    from innvc.bench.report import write

    planned = plan(settings)
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InnvcError(f"Cannot make '{settings.folder}': {error.strerror}.") from error
    log = PointLog(settings.folder / "points.jsonl")
    work = Bench(planned, log, report, settings.measure)
    try:
        work.run()
    finally:
        result = write(planned, work.outcome, settings, log)
    return result
