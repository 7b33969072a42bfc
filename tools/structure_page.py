"""docs/structure.md: one row for each file, from the first sentence of its docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("innvc", "tests", "benchmarks", "training", "tools")

HEAD = """# Structure

Made by `make docs` from the first paragraph of each file.

Imports go one way: `cli` to `api`, to `fit`, `model`, `bitstream` and `video`, to `config` and
`errors`. Decoding reaches no `fit`, `model` no `bitstream` or `video`, and `innvc info` needs
neither PyTorch nor NumPy; `tests/test_structure.py` checks this. [design.md](design.md) says how
the parts work together.
"""


def files() -> Iterator[Path]:
    """All Python files that have a row, folder by folder, relative to the root."""
    for folder in FOLDERS:
        found = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")]
        yield from sorted(found, key=lambda path: (path.parent, path.name))


def page() -> str:
    """The whole page."""
    parts, folder = [HEAD], None
    for path in files():
        if path.parent != folder:
            folder = path.parent
            parts += [f"\n## {folder.as_posix()}\n\n| file | what it is |\n|---|---|\n"]
        parts.append(f"| [{path.name}](../{path.as_posix()}) | {_summary(path)} |\n")
    return "".join(parts)


def _summary(path: Path) -> str:
    text = ast.get_docstring(ast.parse((ROOT / path).read_text("utf-8")))
    if not text:
        raise ValueError(f"{path} does not say what it is.")
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")
