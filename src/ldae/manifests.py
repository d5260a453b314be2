"""Manifests of the preprocessing: what became of each scan at each step.

Neutral ground: the steps write them, the cohort, the stores and the page of quality read them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from ldae.errors import require
from ldae.files import read_table

STEPS = ("n4", "brain", "registration", "pack")
PLACED = ("registration", "pack")  # of scans that came preprocessed: put on the grid, packed
COLUMNS = ("scan_id", "status", "reason", "seconds")
OK, FAILED, SKIPPED, QC = "ok", "failed", "skipped", "qc"
REGISTERED = (OK, QC)  # statuses of the registration that come with an image


def read_manifest(path: str | Path) -> pd.DataFrame:
    """The manifest of one shard's step: at least scan_id, status, reason (text, "" where none)."""
    table = read_table(path, COLUMNS[:3])
    return table.assign(reason=table["reason"].astype(object).fillna(""))


def read_manifests(shards: Mapping[str, Iterable[str | Path]]) -> dict[str, pd.DataFrame]:
    """Read the manifests of all steps.

    Args:
        shards: By step (``STEPS``): the manifests of its shards, at least one. Steps that
            preprocessed scans do not go through may be absent; other keys are not looked at.

    Returns:
        By step: columns scan_id, status, reason (text, "" where none). Status is ok, failed,
        skipped (lost at an earlier step) or, of the registration alone, qc: registered, but
        outside the bounds of ``preprocess.qc``.

    Raises:
        UserError: a manifest does not exist, a scan is in two, or a status is unknown.
    """
    manifests = {}
    for step in (step for step in STEPS if step in shards):
        tables = [read_manifest(path) for path in shards[step]]
        require(bool(tables), f"No manifest of {step} was given. Run the target `preprocess`.")
        table = pd.concat([part for part in tables if len(part)] or tables[:1], ignore_index=True)
        twice = table.loc[table["scan_id"].duplicated(), "scan_id"]
        require(
            twice.empty,
            f"The scan {next(iter(twice), '')} is in two manifests of {step}: run that step again.",
        )
        allowed = {OK, FAILED, SKIPPED, *([QC] if step == "registration" else [])}
        unknown = sorted(set(map(str, table["status"])) - allowed)
        require(not unknown, f"Step {step} has unknown status {', '.join(unknown)}.")
        manifests[step] = table
    return manifests


def lost_scans(manifests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Scans lost in preprocessing, each at the step at which it failed, or else by our QC.

    Returns:
        Columns scan_id, step (of ``STEPS``; ``qc`` for a verdict of our quality control), reason;
        sorted by scan_id.
    """
    parts = [
        table[table["status"] == FAILED].assign(step=step) for step, table in manifests.items()
    ]
    refused = manifests["registration"]
    parts.append(refused[refused["status"] == QC].assign(step="qc"))
    lost = pd.concat(parts, ignore_index=True).drop_duplicates("scan_id")
    return lost.sort_values("scan_id")[["scan_id", "step", "reason"]].reset_index(drop=True)
