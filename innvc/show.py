"""What people see on stderr: progress and remarks, and the report of `innvc info` on stdout."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from innvc.video.color_names import NAMES, named

if TYPE_CHECKING:
    from innvc.fit.loop import Progress
    from innvc.planning import EncodePlan
    from innvc.progress import EncodeProgress

LINE_SECONDS = 10.0  # between lines when stderr is no terminal


def say(text: str) -> None:
    """A line on stderr."""
    if sys.stderr is not None:  # it is None where the caller closed it
        print(text, file=sys.stderr, flush=True)


class _Display:
    """A rich progress bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._last = time.monotonic()

    def __enter__(self) -> Any:
        if not self._quiet and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(None),
                TextColumn("{task.fields[text]}", markup=False),
                console=Console(stderr=True),
                expand=True,
            )
            self._bar.start()
        self._log = logging.getLogger("innvc")
        self._handler = _Notes(self)
        self._log.addHandler(self._handler)
        self._log.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        self._log.removeHandler(self._handler)
        if self._bar is not None:
            self._bar.stop()

    def note(self, text: str) -> None:
        """A remark for the user."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(f"note: {text}", markup=False, highlight=False)
        else:
            say(f"note: {text}")

    def _show(self, description: str, share: float, text: str, last: bool) -> None:
        if self._quiet:
            return
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(description, total=1.0, text=text)
            self._bar.update(self._task, description=description, completed=share, text=text)
        elif last or time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            say(f"{description} {text}")


class _Notes(logging.Handler):
    """What the package logs, as remarks."""

    def __init__(self, display: _Display) -> None:
        super().__init__()
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        self._display.note(record.getMessage())


class EncodeDisplay(_Display):
    """Progress of an encode."""

    def update(self, state: EncodeProgress) -> None:
        segment = "" if state.segments == 1 else f" {state.segment + 1}/{state.segments}"
        if state.fit is None:
            unit = "steps" if state.phase == "filter" else "frames"
            text, share = f"{state.done}/{state.total} {unit}", state.done / state.total
            self._show(f"encode{segment} {state.phase}", share, text, last=False)
        else:
            self._show(
                f"encode{segment} fit",
                state.fit.share,
                self._of_fit(state, state.fit),
                last=state.fit.share >= 1,
            )

    def _of_fit(self, state: EncodeProgress, fit: Progress) -> str:
        speed = fit.step / fit.elapsed if fit.elapsed else 0.0
        whole = fit.elapsed / fit.share if fit.share else 0.0  # of one segment's fit
        left = (state.segments - state.segment - fit.share) * whole / state.workers
        text = (
            f"step {fit.step}/{state.total} loss {fit.loss:.4g} bpp {fit.bpp:.4f} "
            f"PSNR {fit.psnr_db:.2f} {speed:.1f} steps/s ETA {_clock(left)}"
        )
        if self._bar is None:
            text += (
                f" (latent {fit.latent:.4f} grid {fit.grid:.4f} "
                f"weights {fit.weights:.4f} side {fit.side:.4f})"
            )
        return text


class FrameDisplay(_Display):
    """Progress counted in frames or packets."""

    def __init__(self, description: str, quiet: bool) -> None:
        super().__init__(quiet)
        self._description = description

    def update(self, done: int, total: int | None) -> None:
        if total:
            self._show(self._description, done / total, f"{done}/{total}", last=False)


class PointDisplay(_Display):
    """Progress of a benchmark: a line for each point."""

    def update(self, done: int, total: int, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        self._show("bench", done / max(1, total), f"{done}/{total} {text}", last=True)


def _clock(seconds: float) -> str:
    """Time as people read it: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_info(facts: dict[str, Any]) -> None:
    """The report of `innvc info`, on stdout, without the packets."""
    for section, values in facts.items():
        if section == "segments":
            continue
        if not isinstance(values, dict):
            if values:
                print(f"{section}: {'; '.join(values)}")
            continue
        print(f"{section}:")
        for key, value in values.items():
            if key == "color":
                tags = {k: named(k, v) for k, v in value.items() if k in NAMES}
                value = {**value, **tags}
            if isinstance(value, dict):
                value = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in value.items())
            elif isinstance(value, list):
                value = " ".join(map(str, value))
            elif isinstance(value, float):
                value = f"{value:.6g}"
            print(f"  {key.replace('_', ' '):18} {value}")


def print_plan(plan: EncodePlan) -> None:
    """The report of `innvc encode --dry-run`, on stdout."""
    memory = "unknown" if plan.encode_bytes is None else _mebibytes(plan.encode_bytes)
    times = ", ".join(f"{n} {_clock(t)}" for n, t in plan.phases.items() if round(t))
    rows = {
        "input": f"{plan.width}x{plan.height} {plan.pix_fmt}, {plan.frames} frames",
        "preset": f"{plan.preset}, lambda {plan.lambda_:.4g}, on {plan.device}",
        "segments": f"{plan.segments} of {plan.steps} steps, {plan.parameters} parameters each",
        "memory": f"about {memory}; to decode at most {_mebibytes(plan.decode_bytes)}",
        "time": f"about {_clock(plan.seconds)} ({times})",
    }
    if plan.passes > 1:
        rows["passes"] = f"up to {plan.passes}; all but the first without fit"
    for name, text in rows.items():
        print(f"{name:9} {text}")


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"
