"""Downloaded scans that come out of the conversion, by visit; preferred images that are not there.

Clinica chooses the scan of a visit from the study tables, whether or not its image is in the
download. Where it is not, the visit is lost, even if another T1-weighted scan of it is there. Both
are known before anything is converted. With ``cohort.prefer: downloaded`` images that are not
there, or are faulty, are taken out of MPRAGEMETA, so that Clinica chooses among the others by its
own rules. Scans with contrast agent are taken out in any case.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ldae.conversion.clinica_choice import (
    Choice,
    QualityChecks,
    Scan,
    choose_scans,
    quality_checks,
    scans_of,
)
from ldae.conversion.clinica_exclusions import excluded_of
from ldae.conversion.clinica_tables import SCANS
from ldae.conversion.visit_codes import Exam, exams_of
from ldae.files import write_table
from ldae.labels import count

CLINICA, DOWNLOADED = "clinica", "downloaded"  # values of cohort.prefer
ABSENT = "It is not in the download."
NOT_DOWNLOADED, NOT_CHOSEN = "missing", "not_chosen"
VISITS = [
    "subject_id", "phase", "viscode", "visit", "scan_date", "image_id", "description", "reason",
    "instead", "taken",
]  # fmt: skip
TO_DOWNLOAD = ["image_id", *VISITS[:5], *VISITS[6:9]]
PASSED_OVER = ["image_id", "status", "reason", "taken"]
NO_SERIES = "0"  # series of a scan for which the tables have none
_log = logging.getLogger(__name__)
_Out = dict[str, tuple[str, str]]  # number of an image to take out -> its status and reason


@dataclass(frozen=True)
class DownloadedScans:
    """Outcome of the choice.

    Attributes:
        visits: One row for each visit of which Clinica takes a scan, columns ``VISITS``. image_id
            is the image that it prefers; reason is why that cannot be converted (n/a: it can);
            instead is then the best image of the visit that can (n/a: there is none); taken is the
            image that will be converted (n/a: the visit is lost).
        passed_over: Images to take out of MPRAGEMETA, columns ``PASSED_OVER``: status is missing or
            one of the conversion table. taken is the image that is taken in place of one that
            Clinica would have preferred, else n/a.
    """

    visits: pd.DataFrame
    passed_over: pd.DataFrame

    def to_download(self) -> pd.DataFrame:
        """Preferred images to download, or to download again: columns ``TO_DOWNLOAD``."""
        return self.visits.loc[self.visits["reason"].notna(), TO_DOWNLOAD].reset_index(drop=True)


def choose_downloaded(
    index: pd.DataFrame, tables: dict[str, pd.DataFrame], prefer: str
) -> DownloadedScans:
    """Find the scan that comes out for every visit of the subjects on disk.

    Args:
        index: Images on disk: image_id, subject_id, status and reason (n/a: may be converted).
        tables: The study tables in Clinica's form, without the scans on which it fails.
        prefer: ``clinica``: a visit whose preferred image is not there is lost; ``downloaded``: the
            best image that is there is taken.
    """
    exams, checks = exams_of(tables["ADNIMERGE"]), quality_checks(tables)
    scans = scans_of(tables[SCANS])
    visits, passed_over = [], []
    for name, images in index[index["image_id"].notna()].groupby("subject_id"):
        if name in scans:
            there = {row.image_id[1:]: (row.status, row.reason) for row in images.itertuples()}
            subject = _Subject(exams.get(name, []), checks, there)
            visits += subject.visits(scans[name], prefer == DOWNLOADED)
            passed_over += [["I" + image, *about] for image, about in subject.passed_over.items()]
    return DownloadedScans(
        pd.DataFrame(visits, columns=VISITS), pd.DataFrame(passed_over, columns=PASSED_OVER)
    )


@dataclass
class _Subject:
    """One subject: examinations, images on disk, and scans to take out of MPRAGEMETA.

    Attributes:
        there: Image number -> status and reason of each image on disk.
        passed_over: Image number -> status, reason, and the image taken in its place (or None).
    """

    exams: list[Exam]
    checks: QualityChecks
    there: dict[str, tuple[str | None, str | None]]
    passed_over: dict[str, tuple[str, str, str | None]] = field(default_factory=dict)

    def visits(self, scans: list[Scan], take: bool) -> list[list]:
        """Rows of ``VISITS``; with ``take`` the best scan that is there is taken."""
        left = self._without_refused(scans)
        chosen = choose_scans(left, self.exams, self.checks)
        rows = []
        for visit, (exam, scan) in list(chosen.items()):
            status, reason = self._state(scan)
            instead, taken = None, None if status else scan.image
            if status and (found := self._another(left, visit, chosen)):
                other, out = found
                instead = other.image
                if take:
                    taken, left = instead, _without(left, out)
                    chosen[visit] = Choice(exam, other)
                    for image, about in out.items():
                        place = f"I{taken}" if image == scan.image else None
                        self.passed_over[image] = (*about, place)
            names = [image and f"I{image}" for image in (instead, taken)]
            about = [scan.subject, exam.phase, exam.code, visit, scan.day, f"I{scan.image}"]
            rows.append([*about, scan.sequence, reason, *names])
        return rows

    def _another(
        self, scans: list[Scan], visit: str, chosen: dict[str, Choice]
    ) -> tuple[Scan, _Out] | None:
        """The scan that Clinica takes for a visit once those that cannot be converted are out.

        Returns:
            The scan, and the images to take out, or None: Clinica would then take no scan, or
            another one than before for another visit.
        """
        here = {scan.image: self._state(scan) for scan in scans if scan.visit == visit}
        out = {image: state for image, state in here.items() if state[0]}
        out |= excluded_of(_without(scans, out), self.exams, self.checks)
        again = choose_scans(_without(scans, out), self.exams, self.checks)
        other = again.get(visit)
        if other is None or again | {visit: chosen[visit]} != chosen:
            return None
        return (other.scan, out) if other.exam == chosen[visit].exam else None

    def _state(self, scan: Scan) -> tuple[str | None, str | None]:
        """Status and reason for which a scan's image cannot be converted; None twice: it can."""
        status, reason = self.there.get(scan.image, (NOT_DOWNLOADED, ABSENT))
        return (None, None) if pd.isna(status) else (status, reason)

    def _without_refused(self, scans: list[Scan]) -> list[Scan]:
        """Take out the scans that are never taken, with every other image of their series."""
        states = {scan.image: self._state(scan) for scan in scans}
        refused = [scan for scan in scans if states[scan.image][0] == NOT_CHOSEN]
        if not refused:
            return scans
        out = {scan.image: states[scan.image] for scan in refused}
        of_series = {scan.series: scan.image for scan in refused if scan.series != NO_SERIES}
        for scan in scans:
            if first := of_series.get(scan.series):
                reason = f"It is of the same series as I{first}. {states[first][1]}"
                out.setdefault(scan.image, (NOT_CHOSEN, reason))
        out |= excluded_of(_without(scans, out), self.exams, self.checks)
        self.passed_over |= {image: (*about, None) for image, about in out.items()}
        return _without(scans, out)


def _without(scans: list[Scan], out: _Out) -> list[Scan]:
    return [scan for scan in scans if scan.image not in out]


def write_choice(choice: DownloadedScans, to_download: str | Path, passed_over: str | Path) -> None:
    """Write the images to download and those passed over, and log their numbers by reason."""
    write_table(choice.to_download(), to_download)
    write_table(choice.passed_over, passed_over)
    taken = int(choice.visits["taken"].notna().sum())
    _log.info("%d of %d visits will be converted.", taken, len(choice.visits))
    for reason, visits in by_reason(choice.visits).items():
        _log.warning("%s: %s; see %s", count(len(visits), "visit"), reason, to_download)


def mark_passed_over(index: pd.DataFrame, passed_over: pd.DataFrame) -> pd.DataFrame:
    """Give images on disk that are passed over their status and reason, unless they have one.

    Args:
        index: Image index of the download.
        passed_over: From :func:`choose_downloaded`.
    """
    about = passed_over.set_index("image_id")
    here = index["status"].isna() & index["image_id"].isin(about.index)
    marked = index.copy()
    for column in ("status", "reason"):
        given = index["image_id"].map(about[column])
        marked[column] = index[column].astype(object).mask(here, given)
    return marked


def instead_of(passed_over: pd.DataFrame) -> dict[str, str]:
    """By image taken in place of the one that Clinica would have preferred: a sentence on that."""
    rows = passed_over[passed_over["taken"].notna()].itertuples()
    return {
        row.taken: f"Taken instead of {row.image_id}: {row.reason[0].lower()}{row.reason[1:]}"
        for row in rows
    }


def by_reason(visits: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Visits whose preferred image cannot be converted, by reason, the most frequent first."""
    lost = visits[visits["reason"].notna()]
    absent = lost["reason"] == ABSENT
    image = absent.map({True: "not in the download", False: "faulty"})
    other = lost["instead"].isna().map({True: "and no other is there", False: "another is there"})
    other[lost["taken"].notna()] = "another is taken instead"
    groups = lost.groupby("the preferred image is " + image + ", " + other)
    return dict(sorted(groups, key=lambda group: -len(group[1])))


def count_by_visit(visits: pd.DataFrame) -> pd.DataFrame:
    """Numbers of scans that will come out: rows are phases of ADNI, columns are visit codes."""
    taken = visits[visits["taken"].notna()]
    table = pd.crosstab(taken["phase"], taken["viscode"])
    months = {code: int(code[1:]) if code != "bl" else 0 for code in table.columns}
    return table[sorted(table.columns, key=months.get)]
