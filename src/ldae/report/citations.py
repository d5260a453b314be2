"""Citations ``[@key]`` of the methods text, and the list of references in text and BibTeX.

The page shows citations as numbers; methods.md keeps the marks for pandoc.
"""

import re
from collections.abc import Iterable

from ldae.report.references import REFERENCES, Reference

MARK = re.compile(r" ?\[@[^\]]+\]")
BY_KEY = {reference.key: reference for reference in REFERENCES}


def keys(mark: str) -> list[str]:
    """The keys of one mark: ``[@a; @b]`` gives a and b.

    Raises:
        KeyError: a key is not in ``REFERENCES``.
    """
    found = re.findall(r"@(\w+)", mark)
    for key in found:
        BY_KEY[key]
    return found


def cited(texts: Iterable[str]) -> list[Reference]:
    """The references that the texts cite, in the order of their first citation.

    Raises:
        KeyError: a cited key is not in ``REFERENCES``.
    """
    order = dict.fromkeys(
        key for text in texts for mark in MARK.findall(text) for key in keys(mark)
    )
    return [BY_KEY[key] for key in order]


def printed(reference: Reference) -> str:
    """One line of text: authors, title, journal, year, DOI, arXiv number."""
    *names, last = [name.split(",")[0] for name in reference.authors]
    authors = f"{', '.join(names)} et al." if last == "others" else ", ".join([*names, last])
    volume = reference.volume + (f"({reference.number})" if reference.number else "")
    place = ", ".join(filter(None, [f"{reference.where} {volume}".strip(), reference.pages]))
    doi = f" doi:{reference.doi}." if reference.doi else ""
    eprint = f" arXiv:{reference.eprint}." if reference.eprint else ""
    stop = "" if authors.endswith(".") else "."
    return f"{authors}{stop} {reference.title}. {place}, {reference.year}.{doi}{eprint}"


def bibtex(references: Iterable[Reference]) -> str:
    """Content of references.bib; a comment above each entry names the verified fields."""
    return "\n".join(map(_entry, references))


def _entry(reference: Reference) -> str:
    where = {"article": "journal", "inproceedings": "booktitle"}.get(reference.kind, "howpublished")
    fields = {
        "author": " and ".join(reference.authors),
        "title": f"{{{reference.title}}}",
        where: reference.where,
        "year": str(reference.year),
        "volume": reference.volume,
        "number": reference.number,
        "pages": reference.pages.replace("–", "--"),
        "doi": reference.doi,
        "eprint": reference.eprint,
        "archiveprefix": "arXiv" if reference.eprint else "",
    }
    lines = [f"  {name} = {{{text}}}," for name, text in fields.items() if text]
    note = f"% checked: {reference.checked}" if reference.checked else "% not checked"
    return "\n".join([note, f"@{reference.kind}{{{reference.key},", *lines, "}", ""])
