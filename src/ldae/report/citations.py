"""Citations ``[@key]`` of the methods text, and the list of references in text and BibTeX.

The page shows citations as numbers; methods.md keeps the marks for pandoc.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ldae.report.references import bibliography

if TYPE_CHECKING:
    from pybtex.database import Entry

MARK = re.compile(r" ?\[@[^\]]+\]")
OTHERS = "others"  # BibTeX's name for the authors that a cut list leaves out
PLACES = ("journal", "booktitle", "howpublished")  # fields that say where a work was published


def keys(mark: str) -> list[str]:
    """The keys of one mark: ``[@a; @b]`` gives a and b.

    Raises:
        KeyError: the bibliography has no such key.
    """
    found = re.findall(r"@(\w+)", mark)
    for key in found:
        bibliography().entries[key]
    return found


def cited(texts: Iterable[str]) -> "list[Entry]":
    """The references that the texts cite, in the order of their first citation.

    Raises:
        KeyError: the bibliography has no such key.
    """
    order = dict.fromkeys(
        key for text in texts for mark in MARK.findall(text) for key in keys(mark)
    )
    return [bibliography().entries[key] for key in order]


def printed(reference: "Entry") -> str:
    """One line of text: authors, title, journal, year, DOI, arXiv number."""
    fields = reference.fields
    names = [" ".join(one.prelast_names + one.last_names) for one in reference.persons["author"]]
    *others, last = names
    authors = f"{', '.join(others)} et al." if last == OTHERS else ", ".join(names)
    number = f"({fields['number']})" if "number" in fields else ""
    volume = fields.get("volume", "") + number
    where = next(fields[name] for name in PLACES if name in fields)
    pages = fields.get("pages", "").replace("--", "–")
    place = ", ".join(filter(None, [f"{where} {volume}".strip(), pages]))
    doi = f" doi:{fields['doi']}." if "doi" in fields else ""
    eprint = f" arXiv:{fields['eprint']}." if "eprint" in fields else ""
    stop = "" if authors.endswith(".") else "."
    title = fields["title"].strip("{}")
    return f"{authors}{stop} {title}. {place}, {fields['year']}.{doi}{eprint}"


def bibtex(references: "Iterable[Entry]") -> str:
    """Content of references.bib: these entries; their field ``checked`` names what was verified."""
    from pybtex.database import BibliographyData

    return BibliographyData({one.key: one for one in references}).to_string("bibtex")
