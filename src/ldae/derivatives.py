"""Derivatives of the preprocessing: file names, manifests of the steps, shards of subjects.

The preprocessing steps write these files; the cohort, the stores and the QC page read them. This
module imports no step, so a reader of the files does not depend on the source of a step.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ldae.config import preprocessed_cohorts
from ldae.errors import require
from ldae.files import read_table

SCAN_COLUMNS = ("scan_id", "participant_id", "session_id", "path")
STEPS = ("n4", "brain", "registration", "pack")
RAW_STEPS = ("n4", "brain")  # which scans that came preprocessed do not pass
MANIFEST_COLUMNS = ("scan_id", "status", "reason", "seconds")
OK, FAILED, SKIPPED, QC = "ok", "failed", "skipped", "qc"
REGISTERED = (OK, QC)  # statuses of the registration for which there is an image
BIDS_VERSION = "1.10.0"  # of every data set that the workflow writes


@dataclass(frozen=True)
class ScanFiles:
    """Paths of one scan's files.

    Attributes:
        scan_id: e.g. ``sub-ADNI002S0413_ses-M000``.
        source: The T1w image, relative to the BIDS folder.
        folder: ``<preproc>/sub-*/ses-*/anat``.
        template: Name of the template's space, e.g. ``MNI152NLin2009cSym``.
    """

    scan_id: str
    source: Path
    folder: Path
    template: str

    def _path(self, rest: str) -> Path:
        return self.folder / f"{self.scan_id}_{rest}"

    @property
    def n4(self) -> Path:
        """Bias-corrected head, native grid."""
        return self._path("desc-n4_T1w.nii.gz")

    @property
    def mask(self) -> Path:
        """Brain mask, native grid, uint8."""
        return self._path("desc-brain_mask.nii.gz")

    @property
    def brain(self) -> Path:
        """Bias-corrected head times the brain mask, native grid."""
        return self._path("desc-brain_T1w.nii.gz")

    @property
    def registered_mask(self) -> Path:
        """Brain mask on the target grid, uint8."""
        return self._path(f"space-{self.template}_desc-brain_mask.nii.gz")

    @property
    def registered_brain(self) -> Path:
        """Brain on the target grid, float32."""
        return self._path(f"space-{self.template}_desc-brain_T1w.nii.gz")

    @property
    def transform(self) -> Path:
        """The estimated affine (ITK .mat)."""
        return self._path(f"from-T1w_to-{self.template}_mode-image_xfm.mat")

    @property
    def warp(self) -> Path:
        """The displacement field; deformable registration only."""
        return self._path(f"from-T1w_to-{self.template}_mode-image_xfm.nii.gz")

    @property
    def measures(self) -> Path:
        """Quality measures (JSON)."""
        return self._path("desc-qc.json")

    @property
    def picture(self) -> Path:
        """Quality picture (WebP)."""
        return self._path("desc-qc.webp")

    def stamp(self, step: str) -> Path:
        """Record of the inputs and parameters with which ``step`` last finished."""
        return self.folder / f".{self.scan_id}_{step}.json"


def scan_files(scans: pd.DataFrame, preproc_dir: str | Path, template: str) -> list[ScanFiles]:
    """Paths of the files of each scan, in the order of the scan table (``SCAN_COLUMNS``)."""
    return [
        ScanFiles(
            scan_id=row.scan_id,
            source=Path(row.path),
            folder=Path(preproc_dir) / row.participant_id / row.session_id / "anat",
            template=template,
        )
        for row in scans[list(SCAN_COLUMNS)].itertuples(index=False)
    ]


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read the manifest of one shard and step: scan_id, status, reason ("" if there is none)."""
    table = read_table(path, MANIFEST_COLUMNS[:3])
    return table.assign(reason=table["reason"].astype(object).fillna(""))


def read_manifests(shards: Mapping[str, Iterable[str | Path]]) -> dict[str, pd.DataFrame]:
    """Read the manifests of all steps.

    Args:
        shards: By step (``STEPS``): the manifests of its shards, at least one. Without raw heads
            ``RAW_STEPS`` may be absent; other keys are ignored.

    Returns:
        By step: columns scan_id, status, reason ("" if there is none). Status is ok, failed,
        skipped (lost at an earlier step) or, only in the registration, qc (registered, but
        outside the bounds of ``preprocess.qc``).

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
    """Scans lost in preprocessing, with the step at which they failed, or else the QC.

    Args:
        manifests: By step, from :func:`read_manifests`; the registration is required.

    Returns:
        Columns scan_id, step (of ``STEPS``; ``qc`` for a scan outside the bounds of
        ``preprocess.qc``), reason; sorted by scan_id.
    """
    parts = [
        table[table["status"] == FAILED].assign(step=step) for step, table in manifests.items()
    ]
    refused = manifests["registration"]
    parts.append(refused[refused["status"] == QC].assign(step="qc"))
    lost = pd.concat(parts, ignore_index=True).drop_duplicates("scan_id")
    return lost.sort_values("scan_id")[["scan_id", "step", "reason"]].reset_index(drop=True)


class Shards(NamedTuple):
    """Numbers of the shards of subjects, by what their scans need.

    Attributes:
        raw: Of raw heads, which pass every step.
        preprocessed: Of scans that came preprocessed, which are only put on the grid and packed.
    """

    raw: Sequence[int]
    preprocessed: Sequence[int]

    @classmethod
    def of(cls, cohort: Mapping[str, Any], shards: int) -> "Shards":
        """Those of config["cohort"], ``shards`` of each kind that the cohorts have."""
        ready = len(preprocessed_cohorts(cohort))
        raw = list(range(0 if ready > len(cohort["beside"]) else shards))
        return cls(raw, [len(raw) + number for number in range(shards if ready else 0)])

    def of_subject(self, subject: str, preprocessed: bool) -> int:
        """The shard of a subject, whose scans came preprocessed or not."""
        numbers = self.preprocessed if preprocessed else self.raw
        return numbers[shard_of(subject, len(numbers))]


def shard_of(subject: str, shards: int) -> int:
    """The shard (0 to ``shards`` - 1) of a subject, by the SHA-256 of its identifier.

    It depends on no other subject: new or removed subjects move no other one.
    """
    return int(hashlib.sha256(subject.encode()).hexdigest(), 16) % shards
