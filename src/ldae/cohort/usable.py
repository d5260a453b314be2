"""Which scans the models may see: registered, and refused neither by our QC nor by a person."""

import logging
from collections.abc import Mapping

import pandas as pd

from ldae.cohort.splits import assert_disjoint
from ldae.cohort.verdicts import EXCLUDE, KEEP
from ldae.derivatives import OK, QC
from ldae.errors import require

log = logging.getLogger(__name__)


def usable_scans(
    scans: pd.DataFrame,
    splits: pd.DataFrame,
    manifests: Mapping[str, pd.DataFrame],
    verdicts: pd.DataFrame,
) -> pd.DataFrame:
    """The rows of scans.tsv that are used, with their subject's side.

    Used is what passed all steps, and what our quality control refused but a person keeps; never
    what a step failed on (there is no image then), nor what a person excludes.

    Args:
        scans: Scan table.
        splits: participant_id, split.
        manifests: From :func:`ldae.derivatives.read_manifests`.
        verdicts: From :func:`ldae.cohort.verdicts.read_verdicts`.

    Returns:
        Columns of ``scans`` and split, sorted by scan_id.

    Raises:
        UserError: a scan has no status, its subject no side or two, an image is on two sides, or
            no scan is left.
    """
    status, packed = (_status(scans, manifests[step], step) for step in ("registration", "pack"))
    verdict = scans["scan_id"].map(verdicts.set_index("scan_id")["verdict"])
    useless = scans.loc[(verdict == KEEP) & (packed != OK), "scan_id"]
    for scan_id in useless:
        log.warning("%s is to be kept, but a step failed on it: there is no image", scan_id)
    passed = (status == OK) | ((status == QC) & (verdict == KEEP))
    table = scans[passed & (packed == OK) & (verdict != EXCLUDE)]
    table = table.sort_values("scan_id", ignore_index=True)
    require(
        len(table) > 0,
        f"None of the {len(scans)} scans passed preprocessing and quality control: see the "
        "manifests in preproc/manifests and the page qc/index.html of the results.",
    )
    assert_disjoint(splits)
    table["split"] = table["participant_id"].map(splits.set_index("participant_id")["split"])
    sideless = table.loc[table["split"].isna(), "participant_id"].unique()
    require(
        len(sideless) == 0,
        f"{len(sideless)} subject(s) have no side in the splits, such as "
        f"{next(iter(sideless), '')}. Make the splits again.",
    )
    assert_disjoint(table)
    return table


def _status(scans: pd.DataFrame, manifest: pd.DataFrame, step: str) -> pd.Series:
    """Status of each scan at a step, on the index of ``scans``."""
    status = scans["scan_id"].map(manifest.set_index("scan_id")["status"])
    absent = scans.loc[status.isna(), "scan_id"]
    require(
        absent.empty,
        f"{len(absent)} scan(s) of the scan table are in no manifest of the step {step}, such as "
        f"{next(iter(absent), '')}. Run the target `preprocess`.",
    )
    return status
