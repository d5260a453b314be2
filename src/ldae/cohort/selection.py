"""Why each image of the download was, or was not, converted: the conversion table."""

import pandas as pd

from ldae.cohort.tables import STUDIES

COLUMNS = ["image_id", "subject_id", "path", "scan_id", "status", "reason"]


def explain(
    index: pd.DataFrame, expected: pd.DataFrame, study: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Give every image a status and a reason, as far as the study tables tell.

    Args:
        index: Images on disk: rows of :func:`ldae.cohort.download.index_files`.
        expected: Scans that Clinica chose, with columns image_id, scan_id, Subject_ID, Visit, Path
            and fault (why there is no good converted image, or n/a).
        study: The study tables, from :func:`ldae.cohort.tables.read_required_tables`.

    Returns:
        One row an image on disk, and one an expected scan that is not on disk (path n/a); columns
        ``COLUMNS``, sorted by subject and image.
    """
    paths = dict(zip(index["image_id"], index["path"], strict=True))
    rows = [_chosen(row, paths.get(row.image_id), expected) for row in expected.itertuples()]
    chosen = set(expected["image_id"])
    explained = _NotChosen(expected, study)
    for row in index.itertuples():
        if row.image_id not in chosen:
            status, reason = explained(row.image_id, row.subject_id)
            rows.append([row.image_id, row.subject_id, row.path, None, status, reason])
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = table.assign(number=table["image_id"].str[1:].astype(int))
    return order.sort_values(["subject_id", "number"])[COLUMNS].reset_index(drop=True)


def _chosen(row, path: str | None, expected: pd.DataFrame) -> list[str | None]:
    """The row of a scan that Clinica chose."""
    rivals = expected.loc[expected["scan_id"] == row.scan_id, "image_id"]
    if path is None:
        status = "missing"
        reason = (
            f"Clinica expected this scan ({row.Visit}, {row.Scan_Date}), but the download has no "
            f"file ..._{row.image_id}.dcm or .nii."
        )
    elif len(rivals) > 1:
        status = "failed"
        reason = f"Clinica chose {', '.join(rivals)} for one session: which it wrote is unknown."
    elif not row.Path:
        status = "failed"
        reason = "The image is not in the folder of its subject, where Clinica looks for it."
    elif pd.notna(row.fault):
        status, reason = "failed", row.fault
    else:
        status, reason = "converted", f"Chosen by Clinica for the visit {row.Visit!r}."
    scan = None if status == "missing" else row.scan_id
    return [row.image_id, row.Subject_ID, path, scan, status, reason]


class _NotChosen:
    """Status and reason of an image that Clinica did not choose; the tables indexed once."""

    def __init__(self, expected: pd.DataFrame, study: dict[str, pd.DataFrame]):
        merge = study["ADNIMERGE"].drop_duplicates("PTID")
        self._study = dict(zip(merge["PTID"], merge["ORIGPROT"], strict=True))
        scans = study["MPRAGEMETA"]
        self._scans = scans.set_index("I" + scans["ImageUID"]).to_dict("index")
        quality = study["MRIQUALITY"].drop_duplicates("LONIUID")
        self._quality = dict(zip(quality["LONIUID"], quality["PASS"], strict=True))
        mayo = study["MAYOADIRL_MRI_IMAGEQC_05_07_15"]
        mayo = mayo[mayo["series_type"] == "T1"].drop_duplicates("loni_image")
        self._mayo = dict(zip(mayo["loni_image"], mayo["series_quality"], strict=True))
        self._chosen = {(row.Subject_ID, row.Visit): row.image_id for row in expected.itertuples()}

    def __call__(self, image_id: str, subject: str | None) -> tuple[str, str]:
        if subject not in self._study:
            return "no_metadata", f"ADNIMERGE has no row for the subject {subject or '(unknown)'}."
        if self._study[subject] not in STUDIES:
            return "unsupported", f"Clinica does not convert subjects of {self._study[subject]}."
        if image_id not in self._scans:
            return "no_metadata", "MPRAGEMETA has no row for this image."
        scan = self._scans[image_id]
        visit = scan["Visit"]
        passed = self._quality.get("S" + scan["SeriesID"], "1")
        # Clinica asks MRIQUALITY about ADNI1, GO and 2 alone.
        if not visit.startswith("ADNI3") and not _equals(passed, 1):
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
            f"Clinica chose no scan for {visit!r}: no examination in ADNIMERGE matches it, or the "
            f"sequence {scan['Sequence']!r} is not one that it takes.",
        )


def _equals(text: str, number: float) -> bool:
    """Whether ``text`` is that number (a study table writes 1 or 1.0); other text is not."""
    return pd.to_numeric(text, errors="coerce") == number
