"""Fixtures: pages in a real Chromium that may ask nothing of another machine."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
LOCAL = ("file:", "data:", "blob:", "http://127.0.0.1:", "about:")
WIDE = {"width": 1400, "height": 900}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser of ``$CHROMIUM`` or of the system, without a display."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip("no Chromium: apt-get install chromium, or set CHROMIUM to one")
    arguments = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # which Chromium refuses to set up as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """An empty tab of 1400 x 900; the test fails for console errors and requests elsewhere."""
    context = chromium.new_context(viewport=WIDE, accept_downloads=True)
    tab = context.new_page()
    errors: list[str] = []

    def note_request(request: Request) -> None:
        if not request.url.startswith(LOCAL):
            errors.append(f"request to {request.url}")

    context.on("request", note_request)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    yield tab
    context.close()
    assert not errors
