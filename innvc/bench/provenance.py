"""Where numbers come from: the machine, the commit, the code, the libraries."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import innvc

PACKAGE = Path(innvc.__file__).resolve().parent
_NOT_CODEC = {"bench", "bench_command.py", "show.py", "inspection.py", "report", "__pycache__"}


@functools.cache
def commit() -> str:
    """The commit of the working tree, with '+' where the package differs from it; or the version of
    the package where it is not a working tree."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--", str(PACKAGE)) else "")
    except (OSError, subprocess.CalledProcessError):
        return f"version {innvc.__version__}"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=PACKAGE, check=True, capture_output=True, text=True
    ).stdout.strip()


@functools.cache
def code() -> str:
    """The first 12 hexadecimal digits of a SHA-256 over the package without this benchmark and what
    only shows things: two commits that differ elsewhere only have the same."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        inside = path.relative_to(PACKAGE)
        if path.is_file() and not set(inside.parts) & _NOT_CODEC and path.suffix != ".pyc":
            digest.update(inside.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@functools.cache
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
    names = ("torch", "av", "numba", "numpy")
    return "; ".join([*parts, ", ".join(f"{name} {version(name)}" for name in names)])


def peer_library(engine: str) -> str:
    """What a peer's encoder comes from; a point is measured anew where it changes."""
    if engine == "ffmpeg":
        from innvc.bench.ffmpeg import version as ffmpeg_version

        return ffmpeg_version()
    return f"PyAV {version('av')}"
