"""Writes what the documents have from the code and from results: `make docs`."""

from __future__ import annotations

from pathlib import Path

import api_page
import cli_page
import rd_figure
import structure_page

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    "cli.md": cli_page.page,
    "api.md": api_page.page,
    "structure.md": structure_page.page,
}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), "utf-8")
    rd_figure.draw()


if __name__ == "__main__":
    main()
