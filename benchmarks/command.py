"""Runs `innvc` as the command line that users type, and says what it cost."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Run:
    """One finished command.

    Attributes:
        output: The JSON object that it printed; empty if it printed none.
        seconds: Wall-clock time, start of the interpreter included.
        cpu_seconds: User CPU time of all its threads.
        peak_bytes: Largest resident memory.
    """

    output: dict[str, Any]
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def innvc(*arguments: str | Path) -> Run:
    """Runs `python -m innvc ARGUMENTS`; its words go to our stderr.

    Raises:
        SystemExit: the command failed; with its exit code.
    """
    command = [sys.executable, "-m", "innvc", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as stdout:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=stdout, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)  # the usage of this child alone
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        text = stdout.read()
    if process.returncode:
        print("failed:", " ".join(command), file=sys.stderr)
        raise SystemExit(abs(process.returncode))
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(_last_object(text), seconds, usage.ru_utime, usage.ru_maxrss * unit)


def _last_object(text: str) -> dict[str, Any]:
    """The JSON object that is the whole output, or its last line."""
    text = text.strip()
    for candidate in (text, text.rpartition("\n")[2]):
        try:
            value = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    return {}


def commit() -> str:
    """The commit of the working tree, with '+' where the package differs from it."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--", "innvc") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def machine() -> str:
    """CPU model, cores, GPU if torch sees one, and the versions that matter."""
    import torch

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(x for x in lines if x.startswith("model name")).partition(":")[2].strip()
    except (OSError, StopIteration):
        pass
    parts = [f"{model}, {os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name(0))
    parts.append(f"{platform.system()}, Python {platform.python_version()}")
    names = ("torch", "av", "constriction", "numpy")
    return "; ".join([*parts, ", ".join(f"{name} {version(name)}" for name in names)])
