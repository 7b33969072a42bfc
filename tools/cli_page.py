"""docs/cli.md: every command and option, from the definitions that parse them."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import typer

from innvc.cli import app

HEAD = """# Command line

Made by `make docs`. `innvc COMMAND --help` shows the usual options, that of encode and bench the
groups of rare ones with `--help-all`. Exit codes are in the [README](../README.md); the objects
that `--json` prints have [schemas](schema).
"""


def page() -> str:
    """The whole page."""
    root: Any = typer.main.get_command(app)
    parts = [HEAD, _section("innvc", root)]
    parts += [_section(f"innvc {name}", command) for name, command in root.commands.items()]
    return "\n".join(parts)


def _section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["innvc", *name.split()[1:], *(p.metavar for p in arguments), "[OPTIONS]"])
    lines = [f"## {name}", "", command.help, "", f"Usage: `{usage}`", ""]
    groups = groupby(sorted(command.params, key=_order(command)), key=_group)
    for title, params in groups:
        lines += [f"| {title} | | |", "|---|---|---|"]
        lines += [_row(param) for param in params] + [""]
    return "\n".join(lines)


def _group(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return param.rich_help_panel or "Options"


def _order(command: Any) -> Any:
    """By group, in the order of their first options: as --help-all has them."""
    names = [_group(param) for param in command.params]
    usual = ["Arguments", "Options"]
    return lambda param: [*usual, *names].index(_group(param))


def _row(param: Any) -> str:
    value = param.metavar or ""
    name = ", ".join(f"`{name}`" for name in sorted(param.opts, key=len))
    if param.param_type_name == "argument":
        name, value = f"`{value}`", ""
    help_text = param.help
    if param.required and param.param_type_name == "option":
        help_text += " Required."
    elif param.default is not None and param.default is not False:
        help_text += f" Default: {param.default}."
    return f"| {name} | {value} | {help_text} |".replace("|  |", "| |")
