"""Encodes a bundled clip with a report, and takes the picture of it that docs/ has.

    python benchmarks/screenshot.py docs/report.png

Needs Chromium (Debian: apt-get install chromium).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import innvc

CLIP = Path(__file__).parents[1] / "tests" / "data" / "bunny_cif.mkv"
SIZE = {"width": 1180, "height": 800}
SHOWN = {"x": 0, "y": 0, "width": 1180, "height": 1640}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report = Path(folder) / "bunny.html"
        innvc.encode(CLIP, report.with_suffix(".innv"), lambda_=0.1, report=report)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        scheme = "dark" if options.dark else "light"
        page = browser.new_page(viewport=SIZE, color_scheme=scheme)
        page.goto(report.as_uri())
        page.locator(".stage[data-item='0']").wait_for()
        page.screenshot(path=options.output, full_page=True, clip=SHOWN)
        browser.close()


if __name__ == "__main__":
    main()
