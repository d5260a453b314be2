"""HTML page of the report: its template, and the conversion of text to HTML.

No absolute path gets into the page, since reports are passed on: paths are shortened to their last
part.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from ldae.report.citations import MARK, keys

if TYPE_CHECKING:
    from pybtex.database import Entry

TEMPLATE = "report.html.j2"
PARTS = ("report.css.j2", "report.js.j2", "report_parts.html.j2")  # that the template includes
# An absolute path of two parts or more; not a fraction, a date or a closing tag.
PATH = re.compile(r"(?<![\w.:/<~-])/(?:[\w.+@~-]+/)+[\w.+@~-]*")
SYMBOLS = {
    "y_sem": "<i>y</i><sub>sem</sub>",
    "z_T": "<i>z</i><sub><i>T</i></sub>",
    "z_0": "<i>z</i><sub>0</sub>",
}
# A hyphen before a number where nothing stands before it: a minus sign.
MINUS = re.compile(r"(?<![^\s(\[|])-(?=\.?\d)|(?<=\d[eE])-(?=\d)| - (?=[A-Z])")
DOI = re.compile(r"\b(doi|arXiv):((?:10\.\d{4,}/)?\S+?)(?=\.?(?:\s|$))")
RESOLVERS = {"doi": "https://doi.org/", "arXiv": "https://arxiv.org/abs/"}


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
        loader=jinja2.DictLoader(
            {name: Path(__file__).with_name(name).read_text() for name in (TEMPLATE, *PARTS)}
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "symbols": symbols,
        "estimate": estimate,
        "cite": cite,
        "linked": linked,
        "words": words,
    }
    return environment.get_template(TEMPLATE).render(references=references, **content)


def words(text: str) -> str:
    """Plain text for the page: absolute paths shortened, mathtext as plain names, minus signs."""
    plain = without_paths(text).replace(r"$y_\mathrm{sem}$", "y_sem").replace("$z_T$", "z_T")
    return MINUS.sub(lambda found: found[0].replace("-", "−"), plain)


def symbols(text: str) -> Markup:
    """Plain text as HTML: as by :func:`words`, and y_sem, z_T and z_0 as symbols."""
    found = str(escape(words(text)))
    for name, symbol in SYMBOLS.items():
        found = re.sub(rf"\b{name}\b", symbol, found)
    return Markup(found)  # escaped above; only the symbols' own tags are added


def estimate(text: str) -> Markup:
    """A table cell as HTML: the interval in grey; the paper's value, after a bar, in colour."""
    found = str(symbols(text)).replace(" ± ", "&nbsp;±&nbsp;")
    found = re.sub(r"(\[[^\[\]]*\])", r'<span class="ci">\1</span>', found)
    found = re.sub(r" \| (\S+)$", r' <span class="paper">paper \1</span>', found)
    return Markup(found)


def linked(text: str) -> Markup:
    """Plain text as HTML, its DOIs and arXiv numbers as links."""

    def link(found: re.Match) -> str:
        kind, name = found[1], found[2]
        return f'<a href="{RESOLVERS[kind]}{name}">{kind}:{name}</a>'

    return Markup(DOI.sub(link, str(escape(text))))
