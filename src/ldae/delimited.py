"""Reader of tables from outside: field counts, quoting and delimiter are checked, never guessed.

pandas takes rows with one field more than the header as rows with an index, and so shifts all
columns; it fills short rows. A spreadsheet that adds a separator to each row would thus change
every value without a word.
"""

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ldae.errors import UserError, require
from ldae.labels import count

csv.field_size_limit(2**27)  # its own limit is 131,072 characters
NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


def read_delimited(
    path: str | Path,
    delimiter: str,
    latin1: bool = False,
    downloaded: bool = False,
    unique: bool = False,
) -> tuple[pd.DataFrame, list[str]]:
    """Read a table of text: stripped values, ``""`` where there is none; BOM and CRLF are accepted.

    Fields beyond the header are dropped if they are blank. Rows that end early are filled. Blank
    rows are skipped. Text after a closing quotation mark belongs to the value. A name that the
    header has twice gets a number (``DX.1``).

    Args:
        path: The file.
        delimiter: ``","``, ``";"`` or a tab.
        latin1: Read as Latin-1 what is not UTF-8 (LONI's free text sometimes is not).
        downloaded: The file was written by a program: one that ends early in its last row, without
            an end of line, was cut off.
        unique: Refuse a name that the header has twice, with different values below it.

    Returns:
        The table, and sentences with counts on what was dropped, filled or decoded.

    Raises:
        UserError: the file is empty, cut off or of another delimiter, a quote is not closed, or a
            row has values beyond the header.
    """
    path, notes = Path(path), []
    require(
        path.is_file() or not path.is_symlink(),
        f"The table {path} is a link to nothing: its data set was not downloaded wholly.",
    )
    require(path.is_file() or not path.is_dir(), f"The table {path} is a folder.")
    require(path.is_file(), f"The table {path} does not exist.")
    text = _decoded(path, latin1, notes)
    kind = f"{NAMES[delimiter]}-separated text"
    rows = [(line, row) for line, row in _rows_of(path, text, delimiter) if any(row)]
    require(bool(rows), f"{path} cannot be read as {kind}: it is empty. Download it again.")
    (_, header), *rows = rows
    while not header[-1]:  # a separator at the end of the header
        header.pop()
    width = len(header)
    _require_delimiter(path, header, delimiter)
    longer = [(line, row) for line, row in rows if any(row[width:])]
    if longer:
        line, row = longer[0]
        raise UserError(
            f"{path}: {len(longer)} of {len(rows)} rows have more values than the header has "
            f"columns, such as line {line} with {len(row)} for {width}. A {NAMES[delimiter]} "
            "inside a value must stand in quotation marks. Mend or download the table again."
        )
    if downloaded and rows and not text.endswith(("\n", "\r")) and len(rows[-1][1]) < width:
        raise UserError(
            f"{path} breaks off in its last row (line {rows[-1][0]}): it is cut off. Download it "
            "again."
        )
    extra = sum(len(row) > width for _, row in rows)
    short = sum(len(row) < width for _, row in rows)
    if extra:
        notes.append(f"Blank fields at the end of {count(extra, 'row')} were dropped.")
    if short:
        notes.append(f"{count(short, 'row')} ended early: the missing fields are blank.")
    filled = [(row + [""] * (width - len(row)))[:width] for _, row in rows]
    table = pd.DataFrame(filled, columns=_unique(header), dtype=str)
    if unique:
        _require_unique(path, header, table)
    return table, notes


def read_tsv(path: str | Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a TSV written by others (:func:`read_delimited`); notes on it are logged as warnings.

    Raises:
        UserError: it is no such table, lacks one of ``columns``, or has two different columns of
            one name.
    """
    table, notes = read_delimited(path, "\t", unique=True)
    for note in notes:
        logging.warning("%s: %s", path, note)
    missing = [name for name in columns if name not in table]
    require(
        not missing,
        f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(table.columns)}.",
    )
    return table


def delimiter_of(path: str | Path, *possible: str) -> str:
    """The delimiter of a table: of those possible, the only one that its first line has.

    The first one where the line has none of them, or several: :func:`read_delimited` then says
    what is wrong.
    """
    with Path(path).open(encoding="utf-8-sig", errors="replace") as stream:
        first = stream.readline()
    found = [mark for mark in possible if mark in first]
    return found[0] if len(found) == 1 else possible[0]


def is_there(path: Path) -> bool:
    """Whether a table that may be absent is there, if only as a link to nothing or a folder.

    :func:`read_tsv` refuses those; taken as absent, their values would be unknown in silence.
    """
    return path.exists() or path.is_symlink()


def _rows_of(path: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Line number and stripped values of each row.

    Raises:
        UserError: a quotation mark is not closed, or closed in a later row.
    """
    found, begins = [], 1
    is_open = text.count('"') % 2 == 1
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for row in lines:
        long = [value for value in row if "\n" in value]
        # Free text of a CSV may have several lines; no value of a TSV has them, and a tab.
        if long and (is_open or (any(delimiter in value for value in long) and delimiter == "\t")):
            raise UserError(
                f"{path}: a quotation mark in line {begins} is not closed there. Remove it, or "
                "write it twice inside a value in quotation marks."
            )
        found.append((lines.line_num, [value.strip() for value in row]))
        begins = lines.line_num + 1
    return found


def _decoded(path: Path, latin1: bool, notes: list[str]) -> str:
    content = path.read_bytes()
    require(
        b"\0" not in content,
        f"{path} cannot be read: it is not UTF-8 text (it has zero bytes). If a spreadsheet wrote "
        "it, save it as text in UTF-8.",
    )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        require(latin1, f"{path} cannot be read: it is not UTF-8 text (byte {error.start}).")
        notes.append("The file is not UTF-8 and was read as Latin-1.")
        return content.decode("latin-1")


def _require_delimiter(path: Path, header: list[str], delimiter: str) -> None:
    """Refuse a header of one column that another delimiter would part."""
    other = [mark for mark in NAMES if mark != delimiter and mark in header[0]]
    require(
        len(header) > 1 or not other,
        f"{path} has one column, {header[0][:60]!r}: is it separated by "
        f"{' or '.join(NAMES[mark] for mark in other)}s? It must be {NAMES[delimiter]}-separated.",
    )


def _require_unique(path: Path, header: list[str], table: pd.DataFrame) -> None:
    """Refuse two columns of one name that differ: nothing says which of them holds."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places.setdefault(name, []).append(place)
    twice = [
        name
        for name, (first, *others) in places.items()
        if any((table.iloc[:, first] != table.iloc[:, other]).any() for other in others)
    ]
    require(
        not twice,
        f"{path} has the column(s) {', '.join(twice)} twice, with different values. Leave one of "
        "each.",
    )


def _unique(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        unique, number = name, 0
        while unique in found:
            number += 1
            unique = f"{name}.{number}"
        found.append(unique)
    return found
