"""Conversion table: one row per image of the download, with its status and reason."""

from collections.abc import Mapping

import pandas as pd

from ldae.conversion.clinica_tables import ADNI1_TO_2, SCANS
from ldae.conversion.visit_codes import joined_exams

COLUMNS = [
    "cohort", "image_id", "subject_id", "path", "scan_id", "status", "reason", "field_strength",
    "image_hash",
]  # fmt: skip


def make_conversion_table(
    index: pd.DataFrame,
    expected: pd.DataFrame,
    study: dict[str, pd.DataFrame],
    cohort: str,
    errors: dict[str, str],
    instead: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Give every image a status and a reason, as far as the study tables show them.

    Args:
        index: Images on disk: rows of :func:`ldae.conversion.plan.plan_conversion`. An existing
            status stays.
        expected: Scans that Clinica chose, with columns image_id, scan_id, Subject_ID, Visit,
            Scan_Date, Field_Strength, Path, image_hash and fault (why there is no good converted
            image, or n/a).
        study: The study tables in Clinica's form, all values as text.
        cohort: Name of the cohort.
        errors: By PTID: the error with which Clinica stopped at this subject.
        instead: By image taken in place of the one that Clinica would have preferred: a sentence
            that names that one.

    Returns:
        Columns ``COLUMNS``: one row for each image on disk, and one for each expected scan that
        is not on disk (path n/a). field_strength is in tesla.
    """
    # An image can also lie, by mistake, in the folder of another subject.
    on_disk = {(row.image_id, row.subject_id): row for row in index.itertuples()}
    chosen = list(zip(expected["image_id"], expected["Subject_ID"], strict=True))
    rows = [
        _chosen(row, on_disk.get(key), expected, (instead or {}).get(key[0]))
        for key, row in zip(chosen, expected.itertuples(), strict=True)
    ]
    explained = _NotChosen(expected, study, errors)
    for row in index.itertuples():
        if (row.image_id, row.subject_id) in chosen:
            continue
        status, reason = row.status, row.reason
        if pd.isna(status):
            status, reason = explained(row.image_id, row.subject_id)
        rows.append([row.image_id, row.subject_id, row.path, None, status, reason, None, None])
    table = pd.DataFrame(rows, columns=COLUMNS[1:])
    table.insert(0, "cohort", cohort)
    return sort_images(table)


def sort_images(table: pd.DataFrame) -> pd.DataFrame:
    """Sort a conversion table by subject, image number and path."""
    order = table.assign(number=pd.to_numeric(table["image_id"].str[1:], errors="coerce"))
    order = order.sort_values(["cohort", "subject_id", "number", "image_id", "path"])
    return order[list(table.columns)].reset_index(drop=True)


def _chosen(row, image, expected: pd.DataFrame, instead: str | None) -> list:
    """Make the row of a scan that Clinica chose; ``image``: its row of the index, or None."""
    rivals = expected.loc[expected["scan_id"] == row.scan_id, "image_id"]
    scan, image_hash = row.scan_id, None
    if image is None:
        status, scan = "missing", None
        reason = (
            f"Clinica expected this scan ({row.Visit}, {row.Scan_Date}), but the download has no "
            f"file ..._{row.image_id}.dcm or .nii."
        )
    elif pd.notna(image.status):
        status, reason = image.status, image.reason
    elif len(rivals) > 1:
        status = "failed"
        reason = f"Clinica chose {', '.join(rivals)} for one session: which it wrote is unknown."
    elif pd.notna(row.fault):
        status, reason = "failed", row.fault
    elif not row.Path or pd.isna(row.image_hash):
        status, reason = "failed", "Clinica chose this image, but did not find its files."
    else:
        status, reason = "converted", f"Chosen by Clinica for the visit {row.Visit!r}."
        reason = " ".join([reason, *([instead] if instead else [])])
        image_hash = row.image_hash
    path = None if image is None else image.path
    strength = pd.to_numeric(row.Field_Strength, errors="coerce")
    return [row.image_id, row.Subject_ID, path, scan, status, reason, strength, image_hash]


class _NotChosen:
    """Status and reason of images that Clinica did not choose; indexes the tables once."""

    def __init__(
        self, expected: pd.DataFrame, study: dict[str, pd.DataFrame], errors: dict[str, str]
    ):
        scans = study[SCANS]
        self._exams = joined_exams(scans, study["ADNIMERGE"])
        self._scans = scans.set_index("I" + scans["ImageUID"]).to_dict("index")
        quality = study["MRIQUALITY"].drop_duplicates("LONIUID")
        self._quality = dict(zip(quality["LONIUID"], quality["PASS"], strict=True))
        mayo = study["MAYOADIRL_MRI_IMAGEQC_05_07_15"]
        mayo = mayo[mayo["series_type"] == "T1"].drop_duplicates("loni_image")
        self._mayo = dict(zip(mayo["loni_image"], mayo["series_quality"], strict=True))
        self._chosen = {(row.Subject_ID, row.Visit): row.image_id for row in expected.itertuples()}
        # Subjects at whom Clinica stopped before it had chosen any scan.
        self._errors = {
            name: error for name, error in errors.items() if name not in set(expected["Subject_ID"])
        }

    def __call__(self, image_id: str, subject: str) -> tuple[str, str]:
        if image_id not in self._scans:
            return "no_metadata", "MPRAGEMETA has no row for this image."
        if subject in self._errors:
            return "failed", self._errors[subject]
        scan = self._scans[image_id]
        visit = scan["Visit"]
        exam = self._exams.get((subject, visit))
        if exam is None and (subject, visit) not in self._chosen:
            reason = f"No examination in ADNIMERGE is left for the visit {visit!r}."
            return "not_chosen", reason
        passed = self._quality.get("S" + scan["SeriesID"], "1")
        # Clinica uses MRIQUALITY only for examinations of ADNI1, GO and 2.
        if exam is not None and exam.phase in ADNI1_TO_2 and not _equals(passed, 1):
            return (
                "rejected_qc",
                f"Series S{scan['SeriesID']} did not pass ADNI's quality check "
                f"(MRIQUALITY: PASS is {passed or 'empty'}).",
            )
        mayo = self._mayo.get(image_id, "")
        original_3t = scan["Orig/Proc"] == "Original" and _equals(scan["MagStrength"], 3)
        if original_3t and mayo and float(mayo) >= 4:
            return "rejected_qc", f"The Mayo Clinic rejected this scan (series_quality is {mayo})."
        if (subject, visit) in self._chosen:
            rival = self._chosen[subject, visit]
            return "not_chosen", f"Clinica preferred {rival} for the visit {visit!r}."
        return (
            "not_chosen",
            f"Clinica chose no scan for {visit!r}: the sequence {scan['Sequence']!r} is not one "
            f"that it takes in {exam.phase}.",
        )


def _equals(text: str, number: float) -> bool:
    """Whether ``text`` is that number: study tables write 1 or 1.0. False for other text."""
    return pd.to_numeric(text, errors="coerce") == number
