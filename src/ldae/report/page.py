"""HTML page of the report: its sections, its template, and the conversion of text to HTML.

No absolute path gets into the page, since reports are passed on: paths are shortened to their last
part.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from ldae.errors import UserError, require
from ldae.figures.registry import FIGURES
from ldae.report.citations import MARK, keys
from ldae.report.tables.table import Table

if TYPE_CHECKING:
    from pybtex.database import Entry

# An absolute path of two parts or more; not a fraction, a date or a closing tag.
PATH = re.compile(r"(?<![\w.:/<~-])/(?:[\w.+@~-]+/)+[\w.+@~-]*")
SYMBOLS = {
    "y_sem": "<i>y</i><sub>sem</sub>",
    "z_T": "<i>z</i><sub><i>T</i></sub>",
    "z_0": "<i>z</i><sub>0</sub>",
}


def without_paths(text: str) -> str:
    """The text with every absolute path shortened to its last part: ``…/ADNI``."""
    return PATH.sub(lambda found: f"…/{PurePosixPath(found[0]).name}", str(text))


def plain(config: Any) -> Any:
    """The configuration as plain dicts and lists, for YAML, without absolute paths."""
    if isinstance(config, dict):
        return {str(key): plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [plain(value) for value in config]
    if isinstance(config, bool | int | float | None):
        return config
    text = str(config)
    return f"…/{PurePosixPath(text).name}" if text.startswith("/") else without_paths(text)


@dataclass(frozen=True)
class Picture:
    """A figure in the report.

    Attributes:
        name: In the registry of figures.
        number: In this report.
        paper: Number in the paper; empty for a figure that the paper does not have.
        title, body: Of the caption.
        uri: The PNG as a data URI.
    """

    name: str
    number: int
    paper: str
    title: str
    body: str
    uri: str


@dataclass(frozen=True)
class Section:
    """A section of the report; ``sources`` are the files that its tables come from."""

    key: str
    title: str
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


def picture(folder: Path, name: str, number: int) -> Picture:
    """One figure with its caption, the PNG inline.

    Args:
        folder: Of the figures: ``<name>.png`` and ``<name>.caption.txt``.
        name: In the registry of figures.
        number: In the report.

    Raises:
        UserError: no figure has this name, or the PNG or its caption is missing.
    """
    if name not in FIGURES:
        raise UserError(f"There is no figure {name!r}; known: {', '.join(FIGURES)}.")
    png, caption = folder / f"{name}.png", folder / f"{name}.caption.txt"
    for path in (png, caption):
        require(path.is_file(), f"The report needs {path}. Run `snakemake figures` first.")
    title, _, body = caption.read_text(encoding="utf-8").partition("\n\n")
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    paper = re.match(r"figure(\d+)_", name)
    uri = f"data:image/png;base64,{data}"
    return Picture(name, number, paper[1] if paper else "", title, body.strip(), uri)


def render(references: "Sequence[Entry]", **content: Any) -> str:
    """The HTML page.

    Args:
        references: In the order of their numbers.
        content: All other variables of the template ``report.html.j2``.
    """
    numbers = {reference.key: place for place, reference in enumerate(references, 1)}

    def cite(text: str) -> Markup:
        """Text with its citations as links to the numbered list."""

        def link(mark: re.Match) -> str:
            found = (f'<a href="#ref-{key}">{numbers[key]}</a>' for key in keys(mark[0]))
            return f"&nbsp;[{', '.join(found)}]"

        return Markup(MARK.sub(link, symbols(text)))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"symbols": symbols, "estimate": estimate, "cite": cite}
    template = environment.get_template("report.html.j2")
    return template.render(references=references, **content)


def symbols(text: str) -> Markup:
    """Plain text as HTML: absolute paths shortened, y_sem, z_T and z_0 as symbols.

    y_sem and z_T are also recognised as mathtext.
    """
    plain = without_paths(text).replace(r"$y_\mathrm{sem}$", "y_sem").replace("$z_T$", "z_T")
    found = str(escape(plain))
    for name, symbol in SYMBOLS.items():
        found = re.sub(rf"\b{name}\b", symbol, found)
    return Markup(found)  # escaped above; only the symbols' own tags are added


def estimate(text: str) -> Markup:
    """A table cell as HTML: the interval in grey; the paper's value, after a bar, in colour."""
    found = str(symbols(text)).replace(" ± ", "&nbsp;±&nbsp;")
    found = re.sub(r"(\[[^\[\]]*\])", r'<span class="ci">\1</span>', found)
    found = re.sub(r" \| (\S+)$", r' <span class="paper">paper \1</span>', found)
    return Markup(found)
