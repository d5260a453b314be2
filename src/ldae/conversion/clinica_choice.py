"""Clinica's choice among the T1-weighted scans of a visit, repeated from the study tables alone.

Clinica 0.12 chooses while it converts, hours after the start, and also scans that are not in the
download. The same choice, made here in seconds, says beforehand what will come out. Its rules:
processed scans (Scaled, else N3m) before originals; the field strength of the study; the scan that
the Mayo Clinic selected, or its best quality; then the first that is no repeat.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ldae.conversion.clinica_tables import MAYO, QUALITY
from ldae.conversion.visit_codes import Exam, join_visits

_MPRAGE = re.compile(r"mprage|mp-rage|mp rage", re.IGNORECASE)
_REJECTED = 4  # the Mayo Clinic's quality rating from which a scan is rejected
_NOT_RATED = -1


class Scan(NamedTuple):
    """A row of MPRAGEMETA; ``day`` is an ISO date, ``strength`` in tesla (nan if unknown)."""

    subject: str
    day: str
    visit: str
    image: str
    series: str
    kind: str
    sequence: str
    strength: float


class Choice(NamedTuple):
    """The scan that Clinica takes for a visit, and the visit's examination."""

    exam: Exam
    scan: Scan


@dataclass(frozen=True)
class QualityChecks:
    """Quality checks of the scans.

    Attributes:
        failed: Series that failed ADNI's check (MRIQUALITY).
        mayo: Image -> the Mayo Clinic's quality rating, and whether it selected the image.
    """

    failed: set[str]
    mayo: dict[str, tuple[int, bool]]


def quality_checks(tables: dict[str, pd.DataFrame]) -> QualityChecks:
    """Read the quality checks of study tables in Clinica's form."""
    series = tables[QUALITY].drop_duplicates("LONIUID")
    failed = series["LONIUID"][pd.to_numeric(series["PASS"], errors="coerce") != 1]
    mayo = tables[MAYO]
    mayo = mayo[mayo["series_type"] == "T1"]
    grades = zip(mayo["series_quality"].astype(int), mayo["series_selected"] == "1", strict=True)
    return QualityChecks(
        set(failed.str[1:]), dict(zip(mayo["loni_image"].str[1:], grades, strict=True))
    )


def scans_of(table: pd.DataFrame) -> dict[str, list[Scan]]:
    """Scans of every subject, by PTID, from MPRAGEMETA in Clinica's form, in Clinica's order.

    Clinica sorts a subject's scans by date with numpy's default, which is not stable; so is this.
    """
    columns = [
        "SubjectID", "ScanDate", "Visit", "ImageUID", "SeriesID", "Orig/Proc", "Sequence",
    ]  # fmt: skip
    strengths = pd.to_numeric(table["MagStrength"]).astype(float)
    rows = zip(*(table[column] for column in columns), strengths, strict=True)
    found: dict[str, list[Scan]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(Scan(*row))
    ordered = {}
    for subject in sorted(found):
        days = np.array([scan.day for scan in found[subject]], dtype=object)
        ordered[subject] = [found[subject][at] for at in np.argsort(days)]
    return ordered


def first_days(scans: Iterable[Scan]) -> dict[str, str]:
    """The day of the first scan of each visit; ``scans`` are in the order of their days."""
    first: dict[str, str] = {}
    for scan in scans:
        first.setdefault(scan.visit, scan.day)
    return first


def choose_scans(scans: list[Scan], exams: list[Exam], checks: QualityChecks) -> dict[str, Choice]:
    """The scan that Clinica takes for each visit of one subject, by the visit's name.

    Args:
        scans: From :func:`scans_of`, without those of
            :func:`ldae.conversion.clinica_exclusions.exclude_scans`, on which Clinica fails.
        exams: The subject's examinations, in the order of their dates.
        checks: From :func:`quality_checks`.

    Returns:
        Visits without an examination, or without a scan that Clinica takes, are left out.
    """
    chosen = {}
    for visit, (exam, _) in join_visits(first_days(scans), exams).items():
        here = [scan for scan in scans if scan.visit == visit]
        if rivals := candidates(here, exam.phase, checks):
            chosen[visit] = Choice(exam, _best(rivals, preferred_strength(exam.phase), checks))
    return chosen


def preferred_strength(phase: str) -> float:
    """Field strength (tesla) that Clinica prefers in a phase of ADNI."""
    return 1.5 if phase == "ADNI1" else 3.0


def candidates(scans: list[Scan], phase: str, checks: QualityChecks) -> list[Scan]:
    """The scans of a visit among which Clinica chooses: all original or all processed."""
    originals = [scan for scan in scans if scan.kind == "Original"]
    if phase == "ADNI3":
        lower = [(scan, scan.sequence.lower()) for scan in originals]
        return [scan for scan, name in lower if "accel" in name and not name.endswith("_nd")]
    passed = [scan for scan in scans if scan.series not in checks.failed]
    processed = [scan for scan in passed if scan.kind == "Processed"]
    for ending in ("Scaled", "N3m"):
        if found := [scan for scan in processed if scan.sequence.endswith(ending)]:
            return found
    return [scan for scan in passed if scan.kind == "Original" and _is_mprage(scan.sequence)]


def _is_mprage(sequence: str) -> bool:
    """Whether Clinica takes an original of ADNI1, GO or 2 for its T1-weighted scan."""
    lower = sequence.lower()
    mprage = bool(_MPRAGE.search(sequence)) and "2" not in sequence
    return mprage or ("spgr" in lower and "acc" not in lower)


def _best(rivals: list[Scan], preferred: float, checks: QualityChecks) -> Scan:
    """The scan that Clinica takes of the candidates of a visit."""
    mixed = len({"unknown" if math.isnan(s.strength) else s.strength for s in rivals}) > 1
    here = [scan for scan in rivals if scan.strength == preferred] if mixed else rivals
    if rivals[0].kind == "Processed":
        return min(here, key=lambda scan: int(scan.series))
    if here[0].strength != 3.0:
        return _first(here)  # the Mayo Clinic rated no others
    rated = [scan for scan in here if scan.image in checks.mayo]
    selected = [scan for scan in rated if checks.mayo[scan.image][1]]
    if len(selected) == 1:
        return selected[0]
    good = [scan for scan in rated if checks.mayo[scan.image][0] < _REJECTED]
    if good:
        ratings = [checks.mayo[scan.image][0] for scan in good]
        best = min((rating for rating in ratings if rating > 0), default=_NOT_RATED)
        return _first([s for s, rating in zip(good, ratings, strict=True) if rating == best])
    if unrated := [scan for scan in here if scan.image not in checks.mayo]:
        return _first(unrated)
    return _first([scan for scan in rivals if scan.strength != preferred])


def _first(scans: list[Scan]) -> Scan:
    """The first scan that is no repeat; the first if all are."""
    return next((scan for scan in scans if "repeat" not in scan.sequence.lower()), scans[0])
