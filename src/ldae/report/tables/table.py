"""Printed table: title, headings, text cells and note, written as TSV, Markdown and LaTeX.

The cells hold the same text in all three forms; LaTeX uses booktabs.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ldae.files import MISSING, atomic
from ldae.labels import ABSENT, interval
from ldae.systems import metric

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"$\sim$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
    "²": "$^2$",
    "→": r"$\to$",
    "≥": r"$\geq$",
}
SYMBOLS = {"y_sem": r"$y_\mathrm{sem}$", "z_T": "$z_T$", "z_0": "$z_0$"}
_LATEX = re.compile("|".join(map(re.escape, (*SYMBOLS, *LATEX))))


@dataclass(frozen=True)
class Table:
    """A table to print: title, headings, rows of text, and a note that explains it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    strong: set[int] = field(default_factory=set)  # rows in bold


def cell(row: pd.Series, column: str = "value", name: str = "") -> str:
    """``estimate [low, high]`` of a row of a long table, with the decimals of metric ``name``.

    Args:
        row: Holds ``column``, ci_low and ci_high.
        column: Of the estimate.
        name: Of the metric.
    """
    numbers = (float(row[key]) for key in (column, "ci_low", "ci_high"))
    return interval(*numbers, metric(name).digits)


def write(table: Table, paths: dict[str, str | Path]) -> None:
    """Write a table as TSV, Markdown and LaTeX.

    In the TSV a dash becomes ``n/a``, and a minus sign a hyphen.

    Args:
        table: The table; its title may begin with its name (``Table 6``).
        paths: Files by form: ``tsv``, ``md``, ``tex``.
    """
    with atomic(paths["tsv"]) as path, path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows([_plain(cell) for cell in row] for row in table.rows)
    for form, make in (("md", markdown), ("tex", latex)):
        with atomic(paths[form]) as path:
            path.write_text(make(table, Path(paths[form]).stem), encoding="utf-8")


def _plain(cell: str) -> str:
    return MISSING if cell == ABSENT else cell.replace("−", "-")


def markdown(table: Table, name: str) -> str:
    """The table in Markdown with pipes: title, table, note."""
    parts = [f"**{table.title}**", markdown_table(table.columns, table.rows), table.note]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns and rows as a Markdown table; pipes within cells are escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines
    )


def latex(table: Table, name: str) -> str:
    """The table as a LaTeX float for packages booktabs and graphicx, label ``tab:<name>``."""

    def line(cells: list[str]) -> str:
        return " & ".join(map(escape, cells)) + r" \\"

    return "\n".join(
        [
            r"% \usepackage{booktabs,graphicx}",
            r"\begin{table}",
            rf"\caption{{{escape(table.title)}. {escape(table.note)}}}",
            rf"\label{{tab:{name}}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
            r"\toprule",
            line(table.columns),
            r"\midrule",
            *map(line, table.rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Plain text as LaTeX; y_sem and z_T become symbols."""
    return _LATEX.sub(lambda found: SYMBOLS.get(found[0]) or LATEX[found[0]], text)


def row_of(table: pd.DataFrame, **where) -> pd.Series | None:
    """The first row whose columns have the values of ``where`` (None: missing), or None."""
    keep = pd.Series(True, index=table.index)
    for column, value in where.items():
        keep &= table[column].isna() if value is None else table[column].astype(str) == str(value)
    return table[keep].iloc[0] if keep.any() else None
