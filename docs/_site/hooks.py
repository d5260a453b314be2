"""Hooks of the site (mkdocs.yml): the project's pages, as GitHub shows them, from the same files.

Pages beside ``docs/`` (README.md, config/README.md, ...) become pages of the site, other files that
a page links to are copied beside them, links are turned accordingly, the notebook becomes a page,
and charts become pictures. Nothing is loaded from another machine.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from flowchart import svg

REPO = Path(__file__).parents[2]
DOCS, NOTEBOOK = "docs", "docs/tutorial.ipynb"
# File of the project -> page of the site.
PAGES = {
    "README.md": "index.md",
    "config/README.md": "config.md",
    "results/README.md": "outputs.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    NOTEBOOK: "tutorial.md",
}
FILES = "files"  # folder of the site for linked files that are no pages
FENCE = re.compile(r"(^ *```.*?^ *```[^\S\n]*$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r'(?P<open>\]\(|\bsrc=")(?P<target>[^)"\s#]+)(?P<anchor>#[^)"\s]*)?(?=[)"])')
CHART = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages beside ``docs/``, the notebook, and every file that a page links to."""
    for source, uri in PAGES.items():
        text = notebook_page(REPO / source) if source == NOTEBOOK else read(source)
        files.append(File.generated(config, uri, content=text))
    for page in files.documentation_pages():
        source = source_of(page.src_uri)
        for target in linked(page.content_string, source):
            uri = uri_of(target)
            if uri.startswith(f"{FILES}/") and files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, content=(REPO / target).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links and charts."""
    uri = page.file.src_uri
    source = source_of(uri)

    def turned(path: str) -> str:
        return posixpath.relpath(uri_of(path), posixpath.dirname(uri) or ".")

    text = with_links(markdown, source, turned)
    return CHART.sub(lambda chart: f"\n{svg(chart[1], f'Chart: {page.title}')}\n", text)


def source_of(uri: str) -> str:
    """The project's file that a page of the site is made of."""
    return {page: source for source, page in PAGES.items()}.get(uri, f"{DOCS}/{uri}")


def uri_of(source: str) -> str:
    """Where the site has a file of the project."""
    if source in PAGES:
        return PAGES[source]
    if source.startswith(f"{DOCS}/"):
        return source.removeprefix(f"{DOCS}/")
    return f"{FILES}/{source}.txt"  # which browsers show and do not save


def linked(text: str, source: str) -> list[str]:
    """Files of the project that a page links to."""
    found: list[str] = []
    with_links(text, source, lambda path: found.append(path) or path)
    return found


def with_links(text: str, source: str, turned: Callable[[str], str]) -> str:
    """The text of a page with its links to files of the project replaced; code stays as it is.

    Args:
        text: Markdown.
        source: The page's file in the project.
        turned: Maps the linked file's path in the project to the new target.
    """

    def link(found: re.Match[str]) -> str:
        target = found["target"]
        if re.match(r"[a-z]+:", target):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        return f"{found['open']}{turned(path)}{found['anchor'] or ''}"

    parts = FENCE.split(text)
    return "".join(part if n % 2 else LINK.sub(link, part) for n, part in enumerate(parts))


def notebook_page(path: Path) -> str:
    """A notebook's cells as Markdown."""
    cells = nbformat.read(path, as_version=4).cells
    shown = [
        f"```python\n{cell.source}\n```" if cell.cell_type == "code" else cell.source
        for cell in cells
    ]
    return "\n\n".join(shown) + "\n"


def read(source: str) -> str:
    return (REPO / source).read_text()
