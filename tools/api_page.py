"""docs/api.md: the names of `innvc.__all__`, and what they give and raise, from the docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import griffe

import innvc
from innvc import errors
from innvc.encoding import EncodeResult
from innvc.planning import EncodePlan
from innvc.progress import EncodeProgress
from innvc.video.formats import Frame, PixelFormat, VideoInfo

HEAD = """# Python API

Made by `make docs` from the docstrings. Importing `innvc` loads nothing; the first use of a name
does. Every error is an `innvc.errors.InnvcError` with a `message`, a `hint` and the `exit_code` of
the command line.
"""
RESULTS = (EncodeResult, EncodeProgress, EncodePlan, Frame, VideoInfo, PixelFormat)
Kind = griffe.DocstringSectionKind


def page() -> str:
    """The whole page."""
    public = {name: getattr(innvc, name) for name in sorted(innvc.__all__)}
    lines = [HEAD, "## Functions and classes", ""]
    for name, item in public.items():
        lines += _entry(f"innvc.{name}", item)
    lines += ["## What they give", ""]
    for item in RESULTS:
        lines += _entry(f"{item.__module__}.{item.__name__}", item)
    lines += ["## Errors", "", "In `innvc.errors`; each has an exit code.", ""]
    lines += ["| error | exit code | when |", "|---|---|---|"]
    for item in vars(errors).values():
        if inspect.isclass(item):
            lines.append(f"| `{item.__name__}` | {item.exit_code} | {_told(item)[0]} |")
    return "\n".join(lines) + "\n"


def undescribed() -> list[str]:
    """Arguments, fields, properties and methods of the page of which no docstring says anything."""
    missing = []
    for item in (*(getattr(innvc, name) for name in innvc.__all__), *RESULTS):
        missing += [f"{item.__qualname__}: {name}" for name in _names(item) - {*_described(item)}]
        missing += [f"{item.__qualname__}: {n}" for n, m in _members(item) if not inspect.getdoc(m)]
    return missing


def _entry(name: str, item: Any) -> list[str]:
    text, sections = _told(item)
    lines = [f"### {name}", "", f"`{name.rpartition('.')[2]}{_signature(item)}`", "", text, ""]
    described, types = _described(item), _types(item)
    if described:
        lines += ["| name | type | |", "|---|---|---|"]
        for names, meaning in dict.fromkeys(described.values()):
            kind = " or ".join(dict.fromkeys(types[n] for n in names.split(", ") if n in types))
            kind = kind.replace("|", "\\|")
            lines.append(f"| `{names}` | {f'`{kind}`' if kind else ''} | {meaning} |")
        lines.append("")
    lines += _gives_and_raises(item, sections)
    for member, value in _members(item):
        head = f"`{member}`" if isinstance(value, property) else f"`{member}{_signature(value)}`"
        about, more = _told(value)
        lines += [f"**{head}** {about}", "", *_gives_and_raises(value, more)]
    return lines


def _gives_and_raises(item: Any, sections: dict[Any, Any]) -> list[str]:
    lines = []
    if Kind.returns in sections:
        lines += [f"Returns: {_line(part.description)}" for part in sections[Kind.returns]] + [""]
    for part in sections.get(Kind.raises, []):
        lines += [f"Raises `{part.annotation}`: {_line(part.description)}", ""]
    return lines


def _told(item: Any) -> tuple[str, dict[Any, Any]]:
    """The text of a docstring, and its sections."""
    own = item.__doc__ if inspect.isclass(item) else inspect.getdoc(item)
    parsed = griffe.Docstring(inspect.cleandoc(own or "")).parse("google", warnings=False)
    text = [part.value for part in parsed if part.kind is Kind.text]
    return _line("\n\n".join(text)), {part.kind: part.value for part in parsed}


def _described(item: Any) -> dict[str, tuple[str, str]]:
    """Of each argument or field its line in the docstring, which may be that of several."""
    _, sections = _told(item)
    found = {}
    for kind in (Kind.parameters, Kind.attributes):
        for part in sections.get(kind, []):
            names = part.name
            if names.endswith(","):  # of several, griffe takes all but the first for a type
                names = f"{names} {part.annotation}"
            for name in names.split(", "):
                found[name.lstrip("*")] = names, _line(part.description)
    return found


def _names(item: Any) -> set[str]:
    """What is passed in, or, of a result, its fields."""
    if dataclasses.is_dataclass(item):
        return {field.name for field in dataclasses.fields(item)}
    return set(inspect.signature(item).parameters)


def _types(item: Any) -> dict[str, str]:
    found = {name: p.annotation for name, p in inspect.signature(item).parameters.items()}
    return {name: kind for name, kind in found.items() if kind is not inspect.Parameter.empty}


def _members(item: Any) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of a class."""
    if inspect.isclass(item):
        for name, value in vars(item).items():
            if not name.startswith("_") and (
                inspect.isfunction(value) or isinstance(value, property)
            ):
                yield name, value


def _signature(item: Any) -> str:
    """Names and defaults; types are in the table."""
    signature = inspect.signature(item)
    parameters = [
        p.replace(annotation=inspect.Parameter.empty)
        for name, p in signature.parameters.items()
        if name != "self"
    ]
    gives = signature.return_annotation
    shown = str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    shown = re.sub(r"<function \S+ at \w+>", "...", shown)
    silent = inspect.isclass(item) or gives in ("None", inspect.Signature.empty)
    return shown if silent else f"{shown} -> {gives}"


def _line(text: str) -> str:
    return " ".join(text.split())
