"""Registered images of a small cohort in two shards, and their volume store."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from ldae.data.volume_index import build_volume_store
from ldae.data.volume_packing import pack_shard
from ldae.data.volume_store import VolumeStore

TEMPLATE = "MNI"
CFG = {"spacing": 4.0, "shape": [8, 8, 8], "interpolation": "bspline", "dtype": "float16"}
SPLITS = {"sub-A": "train", "sub-B": "train", "sub-C": "val", "sub-D": "test"}
SHARDS = {"sub-A": 0, "sub-B": 1, "sub-C": 0, "sub-D": 1}


def write_scan(
    path: Path, shape=(8, 8, 8), spacing=4.0, orientation=(1, 1, 1), seed=0
) -> np.ndarray:
    """A registered image centred on the origin; returns its array."""
    array = np.random.default_rng(seed).uniform(0, 500, shape).astype(np.float32)
    affine = np.diag([*(spacing * np.array(orientation)), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return array


class Cohort:
    """Two visits of four subjects. The second visit of D failed and has no image. That of C has an
    image that QC rejected.

    Attributes:
        scans, manifest: Tables that tests may edit.
        arrays: Voxel values of the registered images, by scan_id.
    """

    def __init__(self, root: Path):
        self.root, self.arrays = root, {}
        rows = []
        for number, participant in enumerate(SPLITS):
            for visit in ("M000", "M012"):
                scan = f"{participant}_ses-{visit}"
                path = f"{participant}/ses-{visit}/anat/{scan}_T1w.nii.gz"
                rows.append((scan, participant, f"ses-{visit}", path, 70.5 + number))
                if scan != "sub-D_ses-M012":
                    self.arrays[scan] = write_scan(self.image(scan), seed=len(rows))
        columns = ["scan_id", "participant_id", "session_id", "path", "age"]
        self.scans = pd.DataFrame(rows, columns=columns)
        self.manifest = self.scans[["scan_id"]].assign(status="ok")
        self.set_status("sub-D_ses-M012", "failed")
        self.set_status("sub-C_ses-M012", "qc")

    def set_status(self, scan: str, status: str) -> None:
        """Change the status of a scan in the manifest."""
        self.manifest.loc[self.manifest["scan_id"] == scan, "status"] = status

    def image(self, scan: str) -> Path:
        """The registered image of a scan."""
        folder = self.root / "preproc" / scan.replace("_", "/") / "anat"
        return folder / f"{scan}_space-{TEMPLATE}_desc-brain_T1w.nii.gz"

    def included_scans(self) -> pd.DataFrame:
        """Scans whose status is ok, with their split."""
        passed = self.manifest.loc[self.manifest["status"] == "ok", "scan_id"]
        table = self.scans[self.scans["scan_id"].isin(passed)]
        return table.assign(split=table["participant_id"].map(SPLITS))

    def pack(self, shard: int, out: str = "volumes", source: str = "", **changes) -> Path:
        """Pack one shard after deleting its card, as Snakemake deletes the declared output."""
        card = self.root / out / f"shards/shard-{shard}.json"
        card.unlink(missing_ok=True)
        scans = self.scans[self.scans["participant_id"].map(SHARDS) == shard]
        manifest = self.manifest[self.manifest["scan_id"].isin(scans["scan_id"])]
        cfg = CFG | changes
        pack_shard(scans, manifest, self.root / "preproc", card, cfg, TEMPLATE, source)
        return card

    def build(self, out: str = "volumes", **changes) -> VolumeStore:
        """Pack all shards and build the store."""
        cards = [self.pack(shard, out, **changes) for shard in (0, 1)]
        build_volume_store(self.included_scans(), cards, self.root / out)
        return VolumeStore(self.root / out)
