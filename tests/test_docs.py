"""Documents that are made from the code are up to date, and their links lead somewhere."""

import csv
import re
import sys
from pathlib import Path

import pytest

import innvc
from innvc.metrics import bd_rate

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import api_page  # noqa: E402
import make_docs  # noqa: E402
import rd_figure  # noqa: E402
import structure_page  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", make_docs.PAGES)
def test_pages_are_up_to_date(name):
    assert (ROOT / "docs" / name).read_text("utf-8") == make_docs.PAGES[name](), "make docs"


def test_the_api_page_has_every_public_name_and_says_what_it_is():
    text = (ROOT / "docs/api.md").read_text("utf-8")
    assert all(f"### innvc.{name}\n" in text for name in innvc.__all__)
    assert api_page.undescribed() == []


def test_every_file_has_a_row():
    text = (ROOT / "docs/structure.md").read_text("utf-8")
    files = [path.as_posix() for path in structure_page.files()]
    assert len(files) > 150 and {"innvc/api.py", "tests/test_docs.py"} < set(files)
    assert re.findall(r"\]\(\.\./(.*?)\) \| \S", text) == files


def test_the_figure_shows_the_results_of_the_documents():
    (mine, commit), peer = rd_figure.ours(), rd_figure.peer()
    assert rd_figure.identity() in rd_figure.OUTPUT.read_text("utf-8"), "make docs"
    assert commit in (ROOT / "README.md").read_text("utf-8")
    text = (ROOT / "docs/results.md").read_text("utf-8").partition("innvc-medium, PSNR-Y:")[2]
    with rd_figure.OURS.open(newline="") as file:
        for row in csv.DictReader(file):
            point = " | ".join(row[name] for name in ("clip", "codec", "quality", "bytes"))
            assert f"| {point} | {float(row['bpp']):.4f} | {float(row['psnr_y']):.2f} |" in text
    assert len(mine) == 6
    for clip, points in mine.items():
        found = re.search(rf"\| {clip} \| whole \| ([-+][0-9.]+) %", text)
        assert bd_rate(peer[clip], points).percent == pytest.approx(float(found[1]), abs=0.1)


def anchor(title):
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])
def test_links(path):
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        name, _, title = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        if title:
            titles = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.MULTILINE)
            assert title in map(anchor, titles), target
