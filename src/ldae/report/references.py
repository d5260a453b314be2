"""Bibliography ``references.bib``, read by pybtex, and the acknowledgement of ADNI."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pybtex.database import BibliographyData

BIBLIOGRAPHY = Path(__file__).parent / "references.bib"
ADNI = (
    "Data used in preparation of results on real data come from the Alzheimer's Disease "
    "Neuroimaging Initiative (ADNI). Its investigators contributed to the design and "
    "implementation of ADNI or provided data but did not participate in analysis or writing. "
    "ADNI's own wording of this acknowledgement has to be used in publications."
)


@cache
def bibliography() -> "BibliographyData":
    """All references by key; two entries of one key are an error of the file."""
    from pybtex.database import parse_file

    return parse_file(BIBLIOGRAPHY, "bibtex", encoding="utf-8")
