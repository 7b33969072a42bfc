"""Runs `innvc` as the command line that users type, and says what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One finished command.

    Attributes:
        output: The JSON object that it printed; empty if it printed none.
        seconds: Wall-clock time, start of the interpreter included.
        cpu_seconds: User CPU time of all its threads; None where the system does not tell.
        peak_bytes: Largest resident memory; None where the system does not tell.
    """

    output: dict[str, Any]
    seconds: float
    cpu_seconds: float | None
    peak_bytes: int | None


class CommandFailed(Exception):
    """A command failed; the text is the sentence that it said.

    Attributes:
        exit_code: Of the command.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def innvc(*arguments: str | Path, silent: bool = True) -> Run:
    """Runs `python -m innvc ARGUMENTS`.

    Args:
        silent: Keep its words; else they go to our stderr.

    Raises:
        CommandFailed: with its exit code.
    """
    command = [sys.executable, "-m", "innvc", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr if silent else None
        )
        cpu_seconds, peak_bytes = _wait(process)
        seconds = time.monotonic() - began
        stdout.seek(0)
        stderr.seek(0)
        words = stderr.read().strip()
        if process.returncode:
            text = words.rpartition("\n")[2] or f"innvc ended with {process.returncode}"
            raise CommandFailed(text.removeprefix("innvc: "), process.returncode)
        return Run(_last_object(stdout.read()), seconds, cpu_seconds, peak_bytes)


def _wait(process: subprocess.Popen[Any]) -> tuple[float | None, int | None]:
    if not hasattr(os, "wait4"):
        process.wait()
        return None, None
    _, status, usage = os.wait4(process.pid, 0)  # the usage of this child alone
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
