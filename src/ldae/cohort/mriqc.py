"""MRIQC's measures of the scans, read from its group tables and joined by the images' names.

MRIQC (Esteban et al. 2017) measures the raw image, with the air around the head, so its measures
can see movement and ghosts that the measures of a brain do not. The workflow does not run it.
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from ldae.config import MRIQC
from ldae.delimited import read_tsv
from ldae.errors import require
from ldae.files import MISSING
from ldae.labels import count

NAME = "bids_name"  # MRIQC's column: the image's file name without its suffixes
SUFFIX = "_T1w"
NO_VALUE = ("", MISSING, "nan")
log = logging.getLogger(__name__)


def join_mriqc(
    tables: Mapping[str, str | Path], conversion: pd.DataFrame, bounded: Collection[str] = ()
) -> pd.DataFrame:
    """MRIQC's measures of the scans of each cohort that has a table.

    An image is known by the name that it has in its data set, or in ``results/bids``, whichever
    MRIQC was run on. Rows without a scan and scans without a row are counted in the log.

    Args:
        tables: By cohort: MRIQC's ``group_T1w.tsv``.
        conversion: conversion.tsv (cohort, path, scan_id, status).
        bounded: Measures (``mriqc_*``) that have a bound and so must be in a table.

    Returns:
        scan_id and the measures, named ``mriqc_*``; one row for each scan with a row.

    Raises:
        UserError: a table cannot be read, has no measure, has an image twice or text in place of a
            number; no row of it is a scan's; or no table has a measure of ``bounded``.
    """
    parts = []
    for cohort, path in tables.items():
        measured = read_group_table(path)
        scans = conversion[(conversion["cohort"] == cohort) & (conversion["status"] == "converted")]
        if scans.empty:  # an external test set that could not be imported
            log.warning("%s: %s has no scan, so the table is not used", path, cohort)
            continue
        known = image_names(scans)
        found = measured[measured.index.isin(known)]
        require(
            len(found) > 0,
            f"{path}: none of its {count(len(measured), 'row')} is a scan of {cohort}: "
            f"{NAME} is {measured.index[0]!r} in the first, where a scan's would be "
            f"{next(iter(known), 'sub-…_ses-…_T1w')!r}. Give the table of this cohort.",
        )
        log.info(
            "%s: %s of %d scans of %s have a row, %d have none; %s of no scan",
            path, len(found), len(scans), cohort, len(scans) - len(found),
            count(len(measured) - len(found), "row"),
        )  # fmt: skip
        parts.append(found.assign(scan_id=found.index.map(known)))
    if not parts:
        return pd.DataFrame(columns=["scan_id"])
    joined = pd.concat(parts, ignore_index=True)
    lost = sorted(set(bounded) - set(joined.columns))
    require(
        not lost,
        f"preprocess.qc bounds {', '.join(lost)}, which no table of MRIQC has; they have "
        f"{', '.join(name for name in joined.columns if name != 'scan_id')}. Correct the name.",
    )
    twice = joined.loc[joined["scan_id"].duplicated(), "scan_id"]
    require(
        twice.empty,
        f"MRIQC's tables have two rows of {next(iter(twice), '')}, under its names in the data set "
        "and in results/bids. Remove one of them.",
    )
    columns = ["scan_id", *(name for name in joined.columns if name != "scan_id")]
    return joined[columns].sort_values("scan_id", ignore_index=True)


def read_group_table(path: str | Path) -> pd.DataFrame:
    """MRIQC's table of T1w images: measures (float, ``mriqc_*``), indexed by ``bids_name``.

    Raises:
        UserError: see :func:`join_mriqc`.
    """
    table = read_tsv(path, [NAME]).set_index(NAME)
    twice = table.index[table.index.duplicated()]
    require(twice.empty, f"{path} has two rows of {next(iter(twice), '')}. Remove one of them.")
    require(len(table) > 0, f"{path} has a header and no row. Give MRIQC's group_T1w.tsv.")
    values = {}
    for name, texts in table.items():
        given = texts[~texts.isin(NO_VALUE)]
        numbers = pd.to_numeric(given, errors="coerce")
        if numbers.isna().all():  # text, such as a rater's, or nothing
            continue
        wrong = given[numbers.isna()]
        require(
            wrong.empty,
            f"{path}: {name} of {next(iter(wrong.index), '')} is {next(iter(wrong), '')!r}, not a "
            "number. Correct it.",
        )
        values[f"{MRIQC}{name}"] = numbers.reindex(table.index)
    require(
        bool(values),
        f"{path} has no column of numbers beside {NAME}. Give MRIQC's group_T1w.tsv.",
    )
    return pd.DataFrame(values, index=table.index, dtype=float)


def image_names(scans: pd.DataFrame) -> dict[str, str]:
    """scan_id by the name of its image: that in ``results/bids`` and that in its own data set."""
    names = {f"{scan_id}{SUFFIX}": scan_id for scan_id in scans["scan_id"]}
    for path, scan_id in zip(scans["path"], scans["scan_id"], strict=True):
        name = Path(str(path)).name.split(".")[0]
        if name.endswith(SUFFIX):
            names[name] = scan_id
    return names
