"""The page: blocks of content as JSON, and the style and script that show them, in one file.

A block is a dictionary with a "type": facts, text, table, shares, chart, bars, viewer or choice
(page.js has what each holds).
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from string import Template
from typing import Any

from innvc import __version__

Block = dict[str, Any]
SCRIPTS = "marks.js", "charts.js", "viewer.js", "page.js"


@dataclass(frozen=True)
class Section:
    """A heading and what is below it."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The HTML of a page. It loads nothing, and runs no script but its own."""
    style = _file("style.css")
    script = '"use strict";\n(() => {\n' + "".join(map(_file, SCRIPTS)) + "})();\n"
    content = {
        "title": title,
        "subtitle": subtitle,
        "version": __version__,
        "sections": [{"title": s.title, "blocks": list(s.blocks)} for s in sections],
    }
    return Template(_file("page.html")).substitute(
        title=html.escape(title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        content=_json(content),
    )


def _file(name: str) -> str:
    return resources.files("innvc.report").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON that no HTML parser takes for markup; numbers that are not finite become null."""
    text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
