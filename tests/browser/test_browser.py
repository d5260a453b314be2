"""The guards of the page fixture themselves."""

from pathlib import Path

from playwright.sync_api import Page

from helpers.browser import violations

PAGE = '<html lang="en"><title>t</title><main><h1>Title</h1>{}</main></html>'


def test_accessibility_faults_are_found(page: Page, tmp_path: Path):
    file = tmp_path / "page.html"
    file.write_text(PAGE.format("<p>text</p>"))
    page.goto(file.as_uri())
    assert violations(page) == []
    file.write_text(PAGE.format("<input>"))
    page.reload()
    assert [fault.split(":")[0] for fault in violations(page)] == ["label"]
