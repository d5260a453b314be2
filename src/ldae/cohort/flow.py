"""Cohort flow: images and subjects lost at each stage from the download to the models, and why."""

import re
from collections import Counter

import pandas as pd

from ldae.cohort.ledger import STAGES
from ldae.cohort.splits import EXTERNAL, splits_of

COLUMNS = [
    "cohort", "stage", "images", "subjects", "remaining", "remaining_subjects", "explanation",
    "reasons",
]  # fmt: skip
ALL = "all"
SHOWN = 3  # kinds of reasons that a summary names

_STAGES = {
    "file": "damaged file, or one without an image identifier",
    "metadata": "no row in the study tables, or a study that is not converted",
    "adni_qc": "rejected by the quality check of ADNI or the Mayo Clinic",
    "selection": "another scan of the visit preferred, or none fits the visit",
    "conversion": "not converted to a good 3-D image",
    "duplicate": "the same voxels as another scan",
    "n4": "failed in bias field correction",
    "brain": "failed in brain extraction",
    "registration": "failed in registration, or not in the template's space",
    "pack": "failed in packing: the registered image cannot be used",
    "qc": "outside the bounds of our quality control",
    "exclude": "left out by a person (cohort.exclude)",
}
_SPLITS = {
    "train": "used for training",
    "val": "used for validation",
    "test": "held out",
    EXTERNAL: "an external test set",
}
_LABELS = {"diagnosis": "no diagnosis", "age": "no age"}
_QC = re.compile(r"^(?:QC:\s*)?(\w+) \S+ is (below|above) \w+ (\S+?)\.?$")
# Text that differs from scan to scan: identifiers, numbers, paths, quotations, text in brackets.
_PARTICULAR = re.compile(
    r"""\s*\([^()]*\) | (?<!\w)'[^']*'(?!\w) | "[^"]*" | \bsub-[\w-]+ | \b[DIS]\d+\b
    | \b\d+_S_\d+\b | \S*/\S* | (?<![\w.])[-+]?\d[\d.,]*(?!\w)""",
    re.VERBOSE,
)


def flow_table(ledger: pd.DataFrame, conversion: pd.DataFrame) -> pd.DataFrame:
    """Count images and subjects by stage: all cohorts together, then each if there are several.

    Args:
        ledger: From :func:`ldae.cohort.ledger.build_ledger`.
        conversion: conversion.tsv; its rows with status ``missing`` are scans that the study
            tables name and the download lacks.

    Returns:
        Columns cohort (``all`` for the sum of several), stage, images, subjects (of these images),
        remaining and remaining_subjects (after the stage), explanation, reasons (the most frequent
        with their numbers). Stages: ``missing`` (not in the download), ``download`` (all images),
        the losses at each of the ledger's stages, and ``used``. Subsets of ``used`` follow:
        ``train``, ``val``, ``test``, ``external`` (if a data set has the role ``test``),
        ``no_diagnosis`` and ``no_age``. The subsets and ``missing`` have no remaining counts.
    """
    missing = conversion[conversion["status"] == "missing"]
    names = sorted(ledger["cohort"].unique())
    blocks = [(names[0] if len(names) == 1 else ALL, ledger, missing)]
    if len(names) > 1:
        blocks += [
            (name, ledger[ledger["cohort"] == name], missing[missing["cohort"] == name])
            for name in names
        ]
    splits = splits_of(ledger)
    rows = [row for block in blocks for row in _rows(*block, splits)]
    return pd.DataFrame(rows, columns=COLUMNS).astype(
        {"remaining": "Int64", "remaining_subjects": "Int64"}
    )


def summarise(reasons: pd.Series) -> str | None:
    """List the most frequent kinds of reasons with their numbers: ``a (7); b (2); other (1)``.

    A reason that names several quality measures counts for each. None if there are no reasons.
    """
    counts: Counter[str] = Counter()
    for reason, number in reasons.value_counts().items():
        for kind in _kinds(str(reason)):
            counts[kind] += number
    if not counts:
        return None
    kinds = sorted(counts, key=lambda kind: (-counts[kind], kind))
    shown = [f"{kind} ({counts[kind]:,})" for kind in kinds[:SHOWN]]
    rest = sum(counts[kind] for kind in kinds[SHOWN:])
    return "; ".join(shown + ([f"other ({rest:,})"] if rest else []))


def _kinds(reason: str) -> list[str]:
    """Kinds of one reason, without the details of the scan."""
    measures = [_QC.match(part.strip()) for part in reason.split(";")]
    if all(measures):
        return [f"{m[1]} {m[2]} {m[3]}" for m in measures]
    text = _PARTICULAR.sub(lambda found: "" if "(" in found[0] else "…", reason)
    text = re.sub(r"…(?:[\s,]+(?:and )?…)+", "…", text)
    return [" ".join(text.replace(";", ",").split()).rstrip(". ")]


def _rows(
    cohort: str, ledger: pd.DataFrame, missing: pd.DataFrame, splits: list[str]
) -> list[list]:
    left = ledger
    rows = [
        [cohort, "missing", *_counts(missing), None, None, "named by the study tables, but not in "
         "the download", None],
        [cohort, "download", *_counts(left), *_counts(left), "images on disk", None],
    ]  # fmt: skip
    for stage in STAGES[:-1]:
        lost = ledger[(ledger["status"] == "excluded") & (ledger["stage"] == stage)]
        left = left.drop(lost.index)
        rows.append([cohort, stage, *_counts(lost), *_counts(left), _STAGES[stage]])
        rows[-1].append(summarise(lost["reason"]))
    used = ledger[ledger["status"] == "used"]
    rows.append([cohort, "used", *_counts(used), *_counts(left), "scans in the volume store", None])
    for split in splits:
        part = used[used["split"] == split]
        rows.append([cohort, split, *_counts(part), None, None, f"of these {_SPLITS[split]}", None])
    for label, text in _LABELS.items():
        part = used[used["lacks"].str.contains(label, na=False)]
        explanation = f"of these with {text}: used without this label"
        rows.append([cohort, f"no_{label}", *_counts(part), None, None, explanation, None])
    return rows


def _counts(images: pd.DataFrame) -> tuple[int, int]:
    # Two cohorts may give two people one label.
    people = images.dropna(subset="subject_id").drop_duplicates(["cohort", "subject_id"])
    return len(images), len(people)
