"""The site of the docs in a browser, opened as files: pages, links, search, narrow screens."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Page

from helpers.browser import violations
from helpers.project import ROOT

NARROW = {"width": 390, "height": 844}
BROKEN = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site; any warning of the build fails."""
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", out]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert not done.stdout.strip()
    return out


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.glob("*.html") if path.name != "404.html")


def test_every_page_opens_with_its_pictures_and_fits_a_narrow_screen(site: Path, page: Page):
    assert len(pages(site)) > 25
    for path in pages(site):
        for size in (page.viewport_size, NARROW):
            page.set_viewport_size(size)
            page.goto(path.as_uri())
            assert page.locator("h1").count() == 1, path.name
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= size["width"], f"{path.name} at {size['width']}"
        assert page.evaluate(BROKEN) == [], path.name
        page.set_viewport_size({"width": 1400, "height": 900})


def test_links_of_the_site_lead_to_files_and_anchors(site: Path, page: Page):
    ids: dict[Path, set[str]] = {}

    def anchors(path: Path) -> set[str]:
        if path not in ids:
            page.goto(path.as_uri())
            ids[path] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)"))
        return ids[path]

    for path in pages(site):
        page.goto(path.as_uri())
        found = page.evaluate("[...document.links].map(a => a.getAttribute('href'))")
        for target in {href for href in found if not href.startswith(("http", "mailto:"))}:
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            assert file.exists(), f"{path.name}: {target}"
            if anchor and file.suffix == ".html":
                assert anchor in anchors(file), f"{path.name}: {target}"


def test_search_finds_a_page(site: Path, page: Page):
    page.goto((site / "index.html").as_uri())
    page.locator("input.md-search__input").fill("exclude a scan")
    page.locator(".md-search-result__link[href*='faq.html']").first.wait_for()


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The site on a server of this machine, whose style sheets axe may read."""
    handler = partial(QuietHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """No line for each request."""


def test_pages_have_no_faults_of_accessibility(address: str, page: Page):
    for name in ("index", "how-it-works", "configuration", "troubleshooting"):
        page.goto(f"{address}/{name}.html")
        assert violations(page) == [], name
