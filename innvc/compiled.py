"""Functions that are compiled at their first call, and kept for later processes.

What is kept is compiled anew when its own file changes, so a compiled function calls only those of
its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}


def compiled(function: F) -> F:
    """Compiles a function of numpy arrays and numbers; it runs beside other threads."""
    return cast(F, numba.njit(**_OPTIONS)(function))


def inlined(function: F) -> F:
    """As `compiled`, and copied to where it is called: passing arrays costs more than a symbol."""
    return cast(F, numba.njit(**_OPTIONS, inline="always")(function))


def fused(function: F) -> F:
    """As `compiled`, where a product that is added is not rounded before, if the machine can."""
    return cast(F, numba.njit(**_OPTIONS, fastmath={"contract"})(function))
