"""Pages in a real browser: Debian's Chromium, or another one that is installed."""

import shutil
from contextlib import contextmanager

import pytest

NAMES = "chromium", "chromium-browser", "google-chrome"
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
# Charts are drawn when their size is known: within the first frame of the page.
DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@contextmanager
def browsing(path, **options):
    """A page of a file; it must make no error, ask for nothing else and open no dialog."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, **options)
        wrong, asked = [], []
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.evaluate(DRAWN)
        yield page
        browser.close()
    assert wrong == []
    assert asked[0] == path.as_uri()
    assert all(url.startswith("data:image/webp;base64,") for url in asked[1:])
