"""Visit codes of Clinica 0.12: names of visits, and the join of scan visits with examinations.

Clinica matches the visit names of MPRAGEMETA with the codes of ADNIMERGE literally, and the rest
by dates. The rules are derived from its behaviour and listed in docs/adni.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from itertools import groupby

import pandas as pd

NOT_CONVERTED = "ADNI Baseline"  # Clinica leaves this visit out: screening has the T1-weighted scan


@dataclass(frozen=True)
class Exam:
    """One row of ADNIMERGE.

    Attributes:
        code: VISCODE (``bl``, ``m06``).
        phase: COLPROT, the study phase of the visit.
        study: ORIGPROT, the study that the subject began in.
        day: EXAMDATE, ISO.
    """

    code: str
    phase: str
    study: str
    day: str

    @property
    def visit(self) -> str:
        """Visit name that Clinica expects for this examination."""
        return visit_name(self.study, self.code)


def visit_name(study: str, code: str) -> str:
    """Clinica's name of the visit ``code`` (``bl``, ``m06``) of a subject who began in ``study``.

    The years of ADNI2 and ADNI3 are decimal numbers ("Year 1.0 Visit"), which no real table has:
    Clinica matches such visits of MPRAGEMETA by date.
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
    """Join the scan visits of one subject with examinations, as Clinica does.

    Args:
        first_days: Visit name to the ISO date of its first scan, in the order of these dates.
        exams: The subject's examinations, in the order of their dates.

    Returns:
        Visit name to the examination and the days between the two (0 where the names match).
        Visits without an examination are left out.
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
    """Examinations (rows of ADNIMERGE) of every subject, by PTID, in the order of their dates."""
    rows = merge.sort_values(["PTID", "EXAMDATE"], kind="stable")
    rows = rows[["PTID", "VISCODE", "COLPROT", "ORIGPROT", "EXAMDATE"]].itertuples(index=False)
    return {
        subject: [Exam(*row[1:]) for row in group]
        for subject, group in groupby(rows, key=lambda row: row.PTID)
    }


def joined_exams(scans: pd.DataFrame, merge: pd.DataFrame) -> dict[tuple[str, str], Exam]:
    """Examination that Clinica joins with each visit of MPRAGEMETA, by PTID and visit name."""
    exams = exams_of(merge)
    first = scans.sort_values("ScanDate", kind="stable").drop_duplicates(["SubjectID", "Visit"])
    return {
        (subject, visit): exam
        for subject, own in first.groupby("SubjectID")
        for visit, (exam, _) in join_visits(
            dict(zip(own["Visit"], own["ScanDate"], strict=True)), exams.get(subject, [])
        ).items()
    }
