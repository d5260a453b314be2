"""Clinica's visits: how it names them, and which scan visit it joins with which examination.

Clinica 0.12 matches MPRAGEMETA's visit names with ADNIMERGE's codes to the letter, and the rest by
their dates. Written from its behaviour; the rules are listed in docs/adni.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from itertools import groupby

import pandas as pd

NOT_CONVERTED = "ADNI Baseline"  # Clinica leaves this visit out: screening has the T1-weighted scan


@dataclass(frozen=True)
class Exam:
    """One row of ADNIMERGE."""

    code: str
    phase: str
    study: str
    day: str

    @property
    def visit(self) -> str:
        """The visit name that Clinica expects for it."""
        return visit_name(self.study, self.code)


def visit_name(study: str, code: str) -> str:
    """Clinica's name of the visit ``code`` (``bl``, ``m06``) of a subject who began in ``study``.

    From the second year on, ADNI2's and ADNI3's years are decimal numbers ("Year 1.0 Visit"), which
    no real table has: those of MPRAGEMETA are matched by their dates.
    """
    if code == "bl":
        names = {"ADNIGO": "ADNIGO Screening MRI", "ADNI2": "ADNI2 Screening MRI-New Pt"}
        return names.get(study, "ADNI Screening")
    months = int(code[1:])
    if study == "ADNI2" and code in ("m03", "m06"):
        return "ADNI2 Month 3 MRI-New Pt" if code == "m03" else "ADNI2 Month 6-New Pt"
    if study in ("ADNI2", "ADNI3"):
        return f"{study} Year {months / 12} Visit"
    if code == "m03":
        return "ADNIGO Month 3 MRI"
    return f"ADNI1/GO Month {months}" if months < 54 else f"ADNIGO Month {months}"


def days_between(first: str, second: str) -> int:
    """Days between two ISO dates, without sign."""
    return abs((date.fromisoformat(first) - date.fromisoformat(second)).days)


def join_visits(first_days: dict[str, str], exams: Iterable[Exam]) -> dict[str, tuple[Exam, int]]:
    """Which examination Clinica joins each scan visit of one subject with.

    Args:
        first_days: Visit name to the ISO date of its first scan, in the order of these dates.
        exams: The subject's examinations, in the order of their dates.

    Returns:
        Visit name to the examination and the days between them; 0 where the names match. Visits
        that are joined with none are left out.
    """
    left = [visit for visit in first_days if visit != NOT_CONVERTED]
    taken: dict[tuple[str, str, str], str] = {}
    joined, pending = {}, []
    for exam in exams:
        if exam.visit in left:
            left.remove(exam.visit)
            key = exam.code, exam.phase, exam.study
            if taken.setdefault(key, exam.visit) == exam.visit:
                joined[exam.visit] = exam, 0
        else:
            pending.append(exam)
    for visit in left if pending else []:
        exam = min(pending, key=lambda exam: days_between(exam.day, first_days[visit]))
        key = exam.code, exam.phase, exam.study
        if taken.setdefault(key, visit) == visit:
            joined[visit] = exam, days_between(exam.day, first_days[visit])
    return joined


def exams_of(merge: pd.DataFrame) -> dict[str, list[Exam]]:
    """Every subject's examinations (rows of ADNIMERGE) in the order of their dates, by PTID."""
    rows = merge.sort_values(["PTID", "EXAMDATE"], kind="stable")
    rows = rows[["PTID", "VISCODE", "COLPROT", "ORIGPROT", "EXAMDATE"]].itertuples(index=False)
    return {
        subject: [Exam(*row[1:]) for row in group]
        for subject, group in groupby(rows, key=lambda row: row.PTID)
    }


def joined_exams(scans: pd.DataFrame, merge: pd.DataFrame) -> dict[tuple[str, str], Exam]:
    """The examination that Clinica joins each visit of MPRAGEMETA with, by PTID and visit."""
    exams = exams_of(merge)
    first = scans.sort_values("ScanDate", kind="stable").drop_duplicates(["SubjectID", "Visit"])
    return {
        (subject, visit): exam
        for subject, own in first.groupby("SubjectID")
        for visit, (exam, _) in join_visits(
            dict(zip(own["Visit"], own["ScanDate"], strict=True)), exams.get(subject, [])
        ).items()
    }
