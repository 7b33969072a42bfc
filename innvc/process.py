"""How the process of the command line ends: exit codes, errors as one line, signals."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import traceback
from typing import Any

import typer

from innvc.errors import INTERRUPTED, InnvcError, LimitError
from innvc.show import say

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # wherever Typer has it from
_ARENA_MAX = -8  # M_ARENA_MAX of glibc
_NO_SPACE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_NO_MEMORY = ("allocate memory", "CUDA out of memory")  # in torch's RuntimeErrors


class StopOnInterrupt:
    """Once the fit has begun, the first Ctrl-C asks it to end; any other one interrupts."""

    def __init__(self, quiet: bool) -> None:
        self._asked = False
        self._fitting = False
        self._quiet = quiet

    def __call__(self) -> bool:
        """Whether the fit shall end; it asks before every step."""
        self._fitting = True
        return self._asked

    def __enter__(self) -> StopOnInterrupt:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, *_: object) -> None:
        if self._asked or not self._fitting:
            raise KeyboardInterrupt
        self._asked = True
        if not self._quiet:
            # Not through sys.stderr: the signal may have come amid a write to it.
            os.write(2, b"\nEnding the fit, then writing the file. Ctrl-C again gives up.\n")


def prepare_threads() -> None:
    """Lets this process's threads share cores and memory; before torch and NumPy are imported."""
    # OpenMP threads that spin while they wait take the cores from each other where others compute
    # too: tens of times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Products of matrices in NumPy are thin ones: in one thread they are faster.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Threads that compute need the interpreter for moments, and need not wait 5 ms for it.
    sys.setswitchinterval(0.0002)
    # In glibc each thread would keep a heap of its own, with holes in it.
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_ARENA_MAX, 1)


def main(app: typer.Typer) -> None:
    """Runs the command line of this process and exits with the documented code."""
    signal.signal(signal.SIGTERM, _terminate)
    prepare_threads()
    code = run(app, sys.argv[1:])
    # All is written or removed: a Ctrl-C while Python ends must not change what is reported.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sys.stdout.flush()
    except OSError as error:
        if not code and not isinstance(error, BrokenPipeError):
            _failed(error, False)
        code = code or 1
        # What is left in the buffer would fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(app: typer.Typer, arguments: list[str]) -> int:
    """Runs one command line.

    Returns:
        The exit code; what went wrong is a line on stderr.
    """
    state = {"verbose": bool(os.environ.get("INNVC_DEBUG"))}
    try:
        code = app(arguments, prog_name="innvc", standalone_mode=False, obj=state)
        if code == INTERRUPTED:
            say("innvc: interrupted.")
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        say("innvc: interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    except _UsageError as error:
        return _usage(error)
    except Exception as error:
        return _failed(error, state["verbose"])


def _usage(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    command = error.ctx.command_path if error.ctx else "innvc"
    text = _line(error.format_message())
    say(f"innvc: {text}{'' if text.endswith('?') else '.'} See '{command} --help'.")
    return 2


def _failed(error: Exception, verbose: bool) -> int:
    if verbose:
        traceback.print_exception(error)
    if isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY):
        error = LimitError("Not enough memory.", "Give fewer frames with --frames.")
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        error = InnvcError(f"The output cannot be written: {error.strerror}.")
    if isinstance(error, InnvcError):
        say(f"innvc: {_line(error.message)}. {error.hint}".rstrip())
        return error.exit_code
    text = _line(f"{type(error).__name__}: {error}")
    say(f"innvc: internal error: {text}. -v shows where; please report it.")
    return 1


def _line(text: str) -> str:
    """The text as one line, without the final stop."""
    return " ".join(text.split()).rstrip(".")


def _terminate(*_: object) -> None:
    # An exception, so that temporary files are removed on the way out.
    sys.exit(128 + signal.SIGTERM)
