"""Accessibility of pages that a browser shows."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


def violations(tab: Page) -> list[str]:
    """Faults of accessibility (WCAG 2.1 A and AA) that axe-core sees in the page as it stands."""
    only = {"runOnly": {"type": "tag", "values": LEVELS}}
    found = Axe().run(tab, options=only).response["violations"]
    return [f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]}" for each in found]
