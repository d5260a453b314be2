"""Pages of the docs as GitHub shows them: links, headings, anchors and tables."""

import posixpath
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
NOTEBOOK = "docs/tutorial.ipynb"


@cache
def pages() -> list[str]:
    """Markdown pages of the project, as paths below its folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, text=True, check=True, stdout=subprocess.PIPE,
    ).stdout.splitlines()  # fmt: skip
    return sorted(name for name in listed if (ROOT / name).is_file())


@cache
def tokens(page: str) -> list[Token]:
    return MarkdownIt("gfm-like", {"linkify": False}).parse((ROOT / page).read_text())


def inline(page: str) -> Iterator[Token]:
    """Tokens within paragraphs, headings and cells."""
    for token in tokens(page):
        yield from token.children or ()


def links(page: str) -> list[tuple[str, str]]:
    """Files of the project that a page links to or shows, and the anchor, ``""`` for none."""
    found = []
    for token in inline(page):
        target = str(token.attrs.get("href") or token.attrs.get("src") or "")
        if target and not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            folder = posixpath.dirname(page)
            file = posixpath.normpath(posixpath.join(folder, path)) if path else page
            found.append((file, anchor))
    return found


@cache
def anchors(page: str) -> list[str]:
    """Anchors of a page's headings, by GitHub's rule."""
    found: list[str] = []
    stream = tokens(page)
    for opening, content in pairwise(stream):
        if opening.type == "heading_open":
            text = "".join(part.content for part in content.children or ())
            found.append(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
    return found


def cells(page: str, title: str) -> list[list[str]]:
    """Rows of the page's tables whose first column has this title, marks kept."""
    rows, inside = [], False
    for line in (ROOT / page).read_text().splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith(f"| {title} |"):
            inside = True
        elif inside and not line.startswith("|---"):
            parts = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            rows.append([part.strip() for part in parts])
    return rows


def code_blocks(page: str, language: str) -> list[tuple[str, str]]:
    """Heading above and text of each block of code in a language."""
    found, heading = [], ""
    stream = tokens(page)
    for number, token in enumerate(stream):
        if token.type == "heading_open":
            heading = stream[number + 1].content
        elif token.type == "fence" and token.info == language:
            found.append((heading, token.content))
    return found
