"""Table 1 of the paper (the population) and the flow of images from the download to the models."""

import pandas as pd

from ldae.cohort.ledger import STAGES
from ldae.cohort.splits import SPLITS, assert_disjoint

GROUPS = ("CN", "AD", "MCI")
_SCORES = {"age": "age", "mmse": "mmse", "cdr": "cdr_global"}
_FLOW = {
    "metadata": "no row in ADNI's tables, or a study Clinica does not convert",
    "adni_qc": "rejected by the quality check of ADNI or the Mayo Clinic",
    "selection": "another scan of the visit preferred, or none fits the visit",
    "conversion": "damaged, or not converted to a good 3-D image",
    "exclude": "left out by a human (exclude.tsv)",
    "n4": "failed in bias field correction",
    "brain": "failed in brain extraction",
    "registration": "failed in registration or its quality check",
}


def cohort_table(scans: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Table 1: subjects, samples, and mean ± standard deviation of age, MMSE and CDR by diagnosis.

    As in the paper a subject whose diagnosis changed counts in each of its groups. The row `all`
    counts every subject once; it includes scans without diagnosis (row `n/a`, if there are any).

    Args:
        scans: The used rows of the scan table.
        splits: participant_id, split.

    Returns:
        Columns group, subjects, samples, age, mmse, cdr (text, ``75.43 ± 6.83``), then
        ``<split>_subjects`` and ``<split>_samples`` for train, val and test.
    """
    assert_disjoint(splits)
    scans = scans.merge(splits, on="participant_id", how="left", validate="many_to_one")
    groups = {group: scans[scans["diagnosis"] == group] for group in GROUPS}
    if scans["diagnosis"].isna().any():
        groups["n/a"] = scans[scans["diagnosis"].isna()]
    groups["all"] = scans
    rows = []
    for name, group in groups.items():
        row = {"group": name, **_counts(group)}
        row |= {score: mean_sd(group[column]) for score, column in _SCORES.items()}
        for split in SPLITS:
            part = _counts(group[group["split"] == split])
            row |= {f"{split}_{key}": value for key, value in part.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def mean_sd(values: pd.Series) -> str | None:
    """``mean ± standard deviation`` (n - 1) to two digits, leaving out n/a; None without values."""
    values = pd.to_numeric(values).dropna()
    if values.empty:
        return None
    if len(values) == 1:
        return f"{values.iloc[0]:.2f}"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


def flow_table(ledger: pd.DataFrame, conversion: pd.DataFrame) -> pd.DataFrame:
    """How many images are lost at each stage, from the download to the models.

    Returns:
        Columns stage, images (lost there; all for `download` and `used`; for `missing`: scans that
        ADNI's tables list but the download lacks), subjects, remaining, explanation.
    """
    missing = conversion[conversion["status"] == "missing"]
    remaining = len(ledger)
    rows = [
        _flow_row("missing", missing, None, "chosen by Clinica, but not in the download"),
        _flow_row("download", ledger, remaining, "images on disk"),
    ]
    for stage in STAGES[:-1]:
        lost = ledger[(ledger["status"] == "excluded") & (ledger["stage"] == stage)]
        remaining -= len(lost)
        rows.append(_flow_row(stage, lost, remaining, _FLOW[stage]))
    used = ledger[ledger["status"] == "used"]
    rows.append(_flow_row("used", used, remaining, "scans in the volume store"))
    return pd.DataFrame(rows).astype({"remaining": "Int64"})


def _counts(scans: pd.DataFrame) -> dict[str, int]:
    return {"subjects": scans["participant_id"].nunique(), "samples": len(scans)}


def _flow_row(stage: str, images: pd.DataFrame, remaining: int | None, text: str) -> dict:
    return {
        "stage": stage,
        "images": len(images),
        "subjects": images["subject_id"].nunique(),
        "remaining": remaining,
        "explanation": text,
    }
