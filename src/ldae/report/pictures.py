"""Pictures of the report: each figure inline, with its caption, its result and its files."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ldae.errors import UserError, require
from ldae.figures.registry import FIGURES

DATA = ("tsv", "npz")  # a figure's plotted data lie beside it in one of these forms


@dataclass(frozen=True)
class Picture:
    """A figure in the report.

    Attributes:
        name: In the registry of figures.
        number: In this report.
        paper: Number in the paper; empty for a figure that the paper does not have.
        title, body: Of the caption.
        result: What the figure shows, with numbers.
        alt: Text in place of the picture: title and result.
        uri: The PNG as a data URI.
        files: Its files: form and address, relative to the report.
        folded: Whether a reader opens it.
    """

    name: str
    number: int
    paper: str
    title: str
    body: str
    result: str
    alt: str
    uri: str
    files: Mapping[str, str]
    folded: bool = False


def picture(folder: Path, name: str, number: int, folded: bool = False) -> Picture:
    """One figure with its caption, the PNG inline.

    Args:
        folder: Of the figures: ``<name>.png``, ``<name>.caption.txt`` and ``<name>.result.txt``; if
            they are there, ``<name>.pdf`` and its data.
        name: In the registry of figures.
        number: In the report.
        folded: Whether a reader opens it.

    Raises:
        UserError: no figure has this name, or the PNG or a text of it is missing.
    """
    if name not in FIGURES:
        raise UserError(f"There is no figure {name!r}; known: {', '.join(FIGURES)}.")
    png, caption, said = (folder / f"{name}.{end}" for end in ("png", "caption.txt", "result.txt"))
    for path in (png, caption, said):
        require(path.is_file(), f"The report needs {path}. Run the target `figures` first.")
    title, _, body = caption.read_text(encoding="utf-8").partition("\n\n")
    result = " ".join(said.read_text(encoding="utf-8").split())
    paper = re.match(r"figure(\d+)_", name)
    forms = ("png", "pdf", *DATA)
    return Picture(
        name,
        number,
        paper[1] if paper else "",
        title,
        body.strip(),
        result,
        f"{title}. {result}",
        f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode('ascii')}",
        {
            form.upper(): f"../figures/{name}.{form}"
            for form in forms
            if (folder / f"{name}.{form}").is_file()
        },
        folded,
    )
