"""Names of the files that preprocessing writes for one scan, for all who read or write them.

Neutral ground: whoever imports this depends on no step of the preprocessing.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

COLUMNS = ("scan_id", "participant_id", "session_id", "path")


@dataclass(frozen=True)
class ScanFiles:
    """Paths of one scan.

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
        """Quality measures."""
        return self._path("desc-qc.json")

    @property
    def picture(self) -> Path:
        """Quality picture."""
        return self._path("desc-qc.png")

    def stamp(self, step: str) -> Path:
        """Record of the inputs and parameters with which ``step`` was last finished."""
        return self.folder / f".{self.scan_id}_{step}.json"


def scan_files(scans: pd.DataFrame, preproc_dir: str | Path, template: str) -> list[ScanFiles]:
    """Paths of the rows of the scan table, in its order."""
    return [
        ScanFiles(
            scan_id=row.scan_id,
            source=Path(row.path),
            folder=Path(preproc_dir) / row.participant_id / row.session_id / "anat",
            template=template,
        )
        for row in scans[list(COLUMNS)].itertuples(index=False)
    ]
