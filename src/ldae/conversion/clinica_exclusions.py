"""Exclusions for Clinica: scans on which it would abort, or that it would skip or join wrongly.

Clinica 0.12 chooses the scan of a visit by field strength and the Mayo Clinic's quality ratings.
It fails (``int(None)``, an index error) where no scan is left to choose. This module repeats its
choice as far as is needed to predict such failures.
"""

import math
import re
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import pandas as pd

from ldae.conversion.clinica_tables import MAYO, QUALITY, SCANS, STUDIES
from ldae.conversion.visit_codes import Exam, exams_of, join_visits

COLUMNS = ["image_id", "status", "reason"]
MAX_DAYS = 365  # our limit: Clinica joins a lone visit with a scan at any distance in time
# Clinica 0.12 leaves these visits out of every conversion of T1-weighted scans (PTID, VISCODE).
LEFT_OUT = {
    ("031_S_0830", "m48"), ("100_S_0995", "m18"), ("031_S_0867", "m48"), ("100_S_0892", "m18"),
    ("003_S_6264", "m12"), ("011_S_4105", "m72"), ("006_S_4485", "m84"), ("029_S_2395", "m72"),
    ("114_S_6039", "bl"), ("016_S_4952", "m48"),
}  # fmt: skip
_MPRAGE = re.compile(r"mprage|mp-rage|mp rage", re.IGNORECASE)


class _Scan(NamedTuple):
    """A row of MPRAGEMETA; ``day`` is an ISO date, ``strength`` in tesla (nan if unknown)."""

    subject: str
    day: str
    visit: str
    image: str
    series: str
    kind: str
    sequence: str
    strength: float


@dataclass(frozen=True)
class _QualityChecks:
    """Quality checks of the scans.

    Attributes:
        failed: Series that failed ADNI's check (MRIQUALITY).
        mayo: Image -> the Mayo Clinic's quality rating, and whether it selected the image.
    """

    failed: set[str]
    mayo: dict[str, tuple[int, bool]]


def exclude_scans(tables: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Exclude from MPRAGEMETA the scans that Clinica cannot convert or would join wrongly.

    Args:
        tables: Repaired tables in Clinica's form.

    Returns:
        MPRAGEMETA without the excluded scans, and the excluded scans with columns ``COLUMNS``:
        status is rejected_qc, not_chosen, no_metadata or unsupported.
    """
    table = tables[SCANS]
    exams = exams_of(tables["ADNIMERGE"])
    checks = _quality_checks(tables)
    columns = [
        "SubjectID", "ScanDate", "Visit", "ImageUID", "SeriesID", "Orig/Proc", "Sequence",
    ]  # fmt: skip
    strengths = pd.to_numeric(table["MagStrength"]).astype(float)
    rows = zip(*(table[column] for column in columns), strengths, strict=True)
    scans = sorted((_Scan(*row) for row in rows), key=lambda scan: (scan.subject, scan.day))
    excluded: dict[str, tuple[str, str]] = {}
    for subject, group in groupby(scans, key=lambda scan: scan.subject):
        left = list(group)
        # The remaining scans may be joined with other examinations: check again after each fault.
        while more := _fault(left, exams.get(subject, []), checks):
            excluded |= more
            left = [scan for scan in left if scan.image not in excluded]
    taken = [["I" + image, *excluded[image]] for image in table["ImageUID"] if image in excluded]
    kept = table[~table["ImageUID"].isin(excluded)].reset_index(drop=True)
    return kept, pd.DataFrame(taken, columns=COLUMNS)


def _quality_checks(tables: dict[str, pd.DataFrame]) -> _QualityChecks:
    series = tables[QUALITY].drop_duplicates("LONIUID")
    failed = series["LONIUID"][pd.to_numeric(series["PASS"], errors="coerce") != 1]
    mayo = tables[MAYO]
    mayo = mayo[mayo["series_type"] == "T1"]
    grades = zip(mayo["series_quality"].astype(int), mayo["series_selected"] == "1", strict=True)
    return _QualityChecks(
        set(failed.str[1:]), dict(zip(mayo["loni_image"].str[1:], grades, strict=True))
    )


def _fault(
    scans: list[_Scan], exams: list[Exam], checks: _QualityChecks
) -> dict[str, tuple[str, str]]:
    """Images to exclude for the first faulty visit of a subject, with status and reason."""
    first: dict[str, str] = {}
    for scan in scans:
        first.setdefault(scan.visit, scan.day)
    for visit, (exam, days) in join_visits(first, exams).items():
        here = [scan for scan in scans if scan.visit == visit]
        if days > MAX_DAYS:
            reason = (
                f"The nearest examination in ADNIMERGE without a scan of its own ({exam.code}) is "
                f"{days} days away, too far to describe this scan."
            )
            return _all(here, "no_metadata", reason)
        if exam.phase not in STUDIES:
            reason = f"Clinica does not convert visits of {exam.phase or 'no study'}."
            return _all(here, "unsupported", reason)
        if (here[0].subject, exam.code) in LEFT_OUT:
            reason = f"Clinica leaves out this visit ({exam.code}) as one known to fail."
            return _all(here, "unsupported", reason)
        if bad := _cannot_choose(here, exam.phase, checks):
            return bad
    return {}


def _all(scans: list[_Scan], status: str, reason: str) -> dict[str, tuple[str, str]]:
    return {scan.image: (status, reason) for scan in scans}


def _cannot_choose(
    scans: list[_Scan], phase: str, checks: _QualityChecks
) -> dict[str, tuple[str, str]]:
    """Images of one visit to exclude so that Clinica can choose among the rest."""
    preferred = 1.5 if phase == "ADNI1" else 3.0
    candidates = _candidates(scans, phase, checks)
    strengths = {"unknown" if math.isnan(s.strength) else s.strength for s in candidates}
    if len(strengths) > 1 and preferred not in strengths:
        known = [strength for strength in strengths if strength != "unknown"]
        nearest = min(known, key=lambda strength: abs(strength - preferred))
        reason = (
            f"Clinica cannot choose between scans of one visit at several field strengths of which "
            f"none is {preferred} T; those nearest to it were kept."
        )
        far = [scan for scan in candidates if scan.strength != nearest]
        return _all(far, "not_chosen", reason)
    if strengths != {3.0} or candidates[0].kind == "Processed":
        return {}
    known = [checks.mayo.get(scan.image) for scan in candidates]
    if None in known or sum(chosen for _, chosen in known) == 1:
        return {}
    if any(grade < 4 for grade, _ in known):
        return {}
    reason = "The Mayo Clinic's quality check rejected every scan of this visit."
    return _all(candidates, "rejected_qc", reason)


def _candidates(scans: list[_Scan], phase: str, checks: _QualityChecks) -> list[_Scan]:
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
