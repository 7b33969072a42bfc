"""Functions that are compiled at their first call, and kept for later processes.

What is kept is compiled anew when a file in its folder changes, so a compiled function calls only
those of its own folder. The logger "innvc" is told when there is something to compile.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import event

F = TypeVar("F", bound=Callable[..., Any])


@cache
def _state(folder: Path) -> str:
    """Changes when a file of Python in the folder does."""
    files = sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in folder.glob("*.py"))
    return hashlib.sha256(repr(files).encode()).hexdigest()[:8]


def compiled(function: F, **options: Any) -> F:
    """Compiles a function of numpy arrays and numbers; it runs beside other threads."""
    # The name decides what file is looked for; by itself Numba looks at the function's own source.
    function.__qualname__ += "_" + _state(Path(function.__code__.co_filename).parent)
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # there is no folder to keep it in
        return cast(F, numba.njit(**options)(function))


def inlined(function: F) -> F:
    """As `compiled`, and copied to where it is called: passing arrays costs more than a symbol."""
    return compiled(function, inline="always")


def fused(function: F) -> F:
    """As `compiled`, where a product that is added is not rounded before, if the machine can."""
    return compiled(function, fastmath={"contract"})


def reassociated(function: F) -> F:
    """As `compiled`, where sums may be taken in any order."""
    return compiled(function, fastmath={"reassoc", "contract", "nsz"})


def finite(function: F) -> F:
    """As `reassociated`, of numbers that are neither infinite nor NaN."""
    return compiled(function, fastmath={"reassoc", "contract", "nsz", "nnan", "ninf"})


class _Notice(event.Listener):
    """Tells once that something is compiled."""

    told = False

    def on_start(self, event: Any) -> None:
        ours = event.data["dispatcher"].py_func.__module__.startswith("innvc.")
        if ours and not self.told:
            self.told = True
            logging.getLogger("innvc").info("compiling for this machine, once; it takes a while")

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Notice())
