"""What --help shows: the usual options on one screen; --help-all shows the rest."""

from __future__ import annotations

import copy
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

TARGET = "Quality (one of these; 1, the default lambda, is about 48 dB)"
FIT = "Fit"
LONG = "Long videos"
DETAILS = "Details of the fit"
INPUT = "Input"
ABLATIONS = "Parts of the method (ablations)"
RARE = {DETAILS, INPUT, ABLATIONS}  # groups that only --help-all shows

_ALL = "innvc.help_all"


class _Help:
    """Of a command or group: leaves out rare options, and the type of flags."""

    params: list[Any]

    def get_params(self, ctx: Any) -> list[Any]:
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in found:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return found

    def format_help(self, ctx: Any, formatter: Any) -> None:
        shown = copy.copy(self)
        if not ctx.meta.get(_ALL):
            shown.params = [p for p in self.params if p.rich_help_panel not in RARE]
        super(_Help, shown).format_help(ctx, formatter)  # type: ignore[misc]


class Command(_Help, TyperCommand):
    """A command of innvc."""


class Group(_Help, TyperGroup):
    """The command line."""


def _show_all(context: typer.Context, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.meta[_ALL] = True
        typer.echo(context.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all", callback=_show_all, is_eager=True, help="Show the rare options too."
    ),
]
