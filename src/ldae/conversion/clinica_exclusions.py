"""Exclusions for Clinica: scans on which it would abort, or that it would skip or join wrongly.

Clinica 0.12 fails (``int(None)``, an index error) where no scan of a visit is left to choose.
:mod:`ldae.conversion.clinica_choice` repeats its choice; this module finds such failures first.
"""

import math

import pandas as pd

from ldae.conversion.clinica_choice import (
    QualityChecks,
    Scan,
    candidates,
    first_days,
    preferred_strength,
    quality_checks,
    scans_of,
)
from ldae.conversion.clinica_tables import SCANS, STUDIES
from ldae.conversion.visit_codes import Exam, exams_of, join_visits

COLUMNS = ["image_id", "status", "reason"]
MAX_DAYS = 365  # our limit: Clinica joins a lone visit with a scan at any distance in time
# Clinica 0.12 leaves these visits out of every conversion of T1-weighted scans (PTID, VISCODE).
LEFT_OUT = {
    ("031_S_0830", "m48"), ("100_S_0995", "m18"), ("031_S_0867", "m48"), ("100_S_0892", "m18"),
    ("003_S_6264", "m12"), ("011_S_4105", "m72"), ("006_S_4485", "m84"), ("029_S_2395", "m72"),
    ("114_S_6039", "bl"), ("016_S_4952", "m48"),
}  # fmt: skip


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
    checks = quality_checks(tables)
    excluded: dict[str, tuple[str, str]] = {}
    for subject, scans in scans_of(table).items():
        excluded |= excluded_of(scans, exams.get(subject, []), checks)
    taken = [["I" + image, *excluded[image]] for image in table["ImageUID"] if image in excluded]
    kept = table[~table["ImageUID"].isin(excluded)].reset_index(drop=True)
    return kept, pd.DataFrame(taken, columns=COLUMNS)


def excluded_of(
    scans: list[Scan], exams: list[Exam], checks: QualityChecks
) -> dict[str, tuple[str, str]]:
    """Scans of one subject to exclude: image number to status and reason."""
    left, excluded = scans, {}
    # The remaining scans may be joined with other examinations: check again after each fault.
    while more := _fault(left, exams, checks):
        excluded |= more
        left = [scan for scan in left if scan.image not in excluded]
    return excluded


def _fault(
    scans: list[Scan], exams: list[Exam], checks: QualityChecks
) -> dict[str, tuple[str, str]]:
    """Images to exclude for the first faulty visit of a subject, with status and reason."""
    for visit, (exam, days) in join_visits(first_days(scans), exams).items():
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


def _all(scans: list[Scan], status: str, reason: str) -> dict[str, tuple[str, str]]:
    return {scan.image: (status, reason) for scan in scans}


def _cannot_choose(
    scans: list[Scan], phase: str, checks: QualityChecks
) -> dict[str, tuple[str, str]]:
    """Images of one visit to exclude so that Clinica can choose among the rest."""
    preferred, rivals = preferred_strength(phase), candidates(scans, phase, checks)
    strengths = {"unknown" if math.isnan(s.strength) else s.strength for s in rivals}
    if len(strengths) > 1 and preferred not in strengths:
        known = [strength for strength in strengths if strength != "unknown"]
        nearest = min(known, key=lambda strength: abs(strength - preferred))
        reason = (
            f"Clinica cannot choose between scans of one visit at several field strengths of which "
            f"none is {preferred} T; those nearest to it were kept."
        )
        far = [scan for scan in rivals if scan.strength != nearest]
        return _all(far, "not_chosen", reason)
    if strengths != {3.0} or rivals[0].kind == "Processed":
        return {}
    known = [checks.mayo.get(scan.image) for scan in rivals]
    if None in known or sum(chosen for _, chosen in known) == 1:
        return {}
    if any(grade < 4 for grade, _ in known):
        return {}
    reason = "The Mayo Clinic's quality check rejected every scan of this visit."
    return _all(rivals, "rejected_qc", reason)
