"""The volume store: every registered scan, ready for a network, in one memory-mapped file.

One pass of the paper's inference-time normalisation (section 4.1): RAS orientation, voxel spacing,
centred crop or pad to the target shape, min-max to [0, 1]. Layout of a store::

    volumes.npy   (N, 1, X, Y, Z), float16 in [0, 1]
    index.tsv     row, the columns of scans.tsv, split; in the order of the rows
    store.json    shape, dtype, sums, spacing, affine, fingerprint; written last

A store without ``store.json`` was not finished and is refused.
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from ldae.cohort.splits import assert_disjoint
from ldae.data.store import Store
from ldae.errors import UserError, require
from ldae.files import atomic, read_table, sha256, write_json, write_table
from ldae.progress import Progress

SPLINE = {"bspline": 3, "linear": "bilinear"}  # MONAI: an integer is a spline order
GRID_TOLERANCE = 1e-3  # mm

log = logging.getLogger(__name__)


class StoreTransform:
    """Load an image and bring it to the store's grid and range.

    ``Spacing`` leaves an image alone that is on the grid already, as registration writes it, so
    that it is interpolated once in all. The volume is clamped at zero before min-max, because the
    undershoot of a cubic spline would lift the background.
    """

    def __init__(self, spacing: float, shape: list[int], interpolation: str):
        from monai.transforms import (
            Compose,
            EnsureChannelFirst,
            LoadImage,
            Orientation,
            ResizeWithPadOrCrop,
            Spacing,
        )

        require(
            interpolation in SPLINE,
            f"volumes.interpolation is {interpolation!r}; allowed are {', '.join(SPLINE)}.",
        )
        self.compose = Compose(
            [
                LoadImage(reader="NibabelReader", image_only=True),
                EnsureChannelFirst(),
                Orientation(axcodes="RAS", labels=None),
                Spacing(pixdim=(spacing,) * 3, mode=SPLINE[interpolation], padding_mode="constant"),
                ResizeWithPadOrCrop(spatial_size=shape, mode="constant"),
            ]
        )

    def __call__(self, path: Path) -> tuple[torch.Tensor, np.ndarray]:
        """Return the volume (1, X, Y, Z) float32 in [0, 1] and its affine (4, 4)."""
        from monai.transforms import ScaleIntensity

        image = self.compose(str(path))
        values = image.as_tensor().float()
        if not torch.isfinite(values).all() or values.max() <= max(0.0, float(values.min())):
            raise UserError(
                f"{path} has no contrast or holds values that are not finite. Look at its QC "
                "picture and exclude the scan in cohort.exclude."
            )
        return ScaleIntensity(minv=0.0, maxv=1.0)(values.clamp_min(0)), np.asarray(image.affine)


class _Scans(Dataset):
    """Transformed volumes by position in a list of paths."""

    def __init__(self, paths: list[Path], transform: StoreTransform):
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[int, torch.Tensor, np.ndarray]:
        volume, affine = self.transform(self.paths[position])
        return position, volume, affine


def registered_path(preproc_dir: Path, scan: Any, template: str) -> Path:
    """The registered, brain-extracted T1 of one row of scans.tsv."""
    folder = Path(preproc_dir) / scan.participant_id / scan.session_id / "anat"
    return folder / f"{scan.scan_id}_space-{template}_desc-brain_T1w.nii.gz"


def usable_scans(
    scans: Path, splits: Path, manifests: list[Path], excluded: Collection[str] = ()
) -> pd.DataFrame:
    """Rows of scans.tsv whose registration is ok, with their subject's split, by scan_id.

    Scans in ``excluded`` are left out.

    Raises:
        UserError: a scan is in no manifest, or its subject in no split or in two.
    """
    table = read_table(scans, ["scan_id", "participant_id", "session_id"])
    require(len(manifests) > 0, "No registration manifest was given: run `preprocess` first.")
    done = pd.concat([read_table(path, ["scan_id", "status"]) for path in manifests])
    status = done.set_index("scan_id")["status"]
    absent = sorted(set(table["scan_id"]) - set(status.index))
    require(
        not absent,
        f"{len(absent)} scans of {scans} are in no registration manifest (first: "
        f"{absent[0] if absent else ''}). Run `preprocess` again.",
    )
    sides = read_table(splits, ["participant_id", "split"])
    assert_disjoint(sides)
    usable = (table["scan_id"].map(status) == "ok") & ~table["scan_id"].isin(excluded)
    table = table[usable].sort_values("scan_id", ignore_index=True)
    require(len(table) > 0, "Registration succeeded for no scan; see the preprocessing manifests.")
    table["split"] = table["participant_id"].map(sides.set_index("participant_id")["split"])
    lost = table.loc[table["split"].isna(), "participant_id"].unique()
    require(
        len(lost) == 0,
        f"Participants without a side in {splits}: {', '.join(lost[:5])}. Remake the splits.",
    )
    return table


def build_volume_store(
    scans: Path,
    splits: Path,
    manifests: list[Path],
    preproc_dir: Path,
    out_dir: Path,
    cfg: dict[str, Any],
    template: str,
    excluded: Collection[str] = (),
    jobs: int = 1,
    fingerprint: str = "",
) -> None:
    """Build the store of all usable scans.

    Args:
        scans: scans.tsv.
        splits: splits.tsv (participant_id, split).
        manifests: Registration manifests (scan_id, status, ...).
        preproc_dir: Folder of the preprocessed derivatives.
        out_dir: The store's folder.
        cfg: ``config["volumes"]``: spacing (mm), shape, interpolation, dtype.
        template: Name of the template space in file names.
        excluded: scan_ids that a person has excluded.
        jobs: Worker processes; 0 or 1 works in this process.
        fingerprint: Of the sources and settings, kept in store.json.

    Raises:
        UserError: inputs that do not fit together, or scans on different grids.
    """
    out_dir = Path(out_dir)
    (out_dir / "store.json").unlink(missing_ok=True)
    table = usable_scans(Path(scans), Path(splits), manifests, excluded)
    paths = [registered_path(preproc_dir, scan, template) for scan in table.itertuples()]
    missing = [path for path in paths if not path.is_file()]
    require(
        not missing,
        f"{len(missing)} registered images are missing although their manifest says ok, first "
        f"{missing[0] if missing else ''}. Run `preprocess` again.",
    )
    shape = [int(size) for size in cfg["shape"]]
    dataset = _Scans(paths, StoreTransform(cfg["spacing"], shape, cfg["interpolation"]))
    loader = DataLoader(dataset, batch_size=None, num_workers=jobs if jobs > 1 else 0)
    progress = Progress("volumes", len(paths))
    grid: np.ndarray | None = None
    with atomic(out_dir / "volumes.npy") as temporary:
        array = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.dtype(cfg["dtype"]), shape=(len(paths), 1, *shape)
        )
        for position, volume, affine in loader:
            array[position] = volume.numpy()
            affine = np.asarray(affine)
            grid = affine if grid is None else grid
            require(
                np.allclose(affine, grid, atol=GRID_TOLERANCE),
                f"{paths[position]} lies on another grid than {paths[0]}. Run `preprocess` again.",
            )
            progress.step(position + 1)
        array.flush()
        del array
    index = table.copy()
    index.insert(0, "row", np.arange(len(index)))
    write_table(index, out_dir / "index.tsv")
    card = {
        "kind": "volumes",
        "shape": [len(paths), 1, *shape],
        "dtype": str(np.dtype(cfg["dtype"])),
        "sha256": sha256(out_dir / "volumes.npy"),
        "index_sha256": sha256(out_dir / "index.tsv"),
        "spacing": float(cfg["spacing"]),
        "affine": np.asarray(grid).round(6).tolist(),
        "fingerprint": fingerprint,
    }
    write_json(card, out_dir / "store.json")
    log.info("%d volumes of %s in %s", len(paths), shape, out_dir)


class VolumeStore(Store):
    """Reads a volume store. ``index`` is its table, in the order of the rows.

    Raises:
        UserError: files that disagree, or a participant on two sides.
    """

    arrays = ("volumes",)
    made_by = "volumes"
    _volumes: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Spatial shape of a volume, voxels."""
        return tuple(self.card["shape"][2:])

    @property
    def spacing(self) -> float:
        """Voxel size, mm."""
        return self.card["spacing"]

    @property
    def affine(self) -> np.ndarray:
        """Voxel to RAS mm, (4, 4)."""
        return np.asarray(self.card["affine"])

    def volume(self, row: int) -> torch.Tensor:
        """One volume (1, X, Y, Z), float32 in [0, 1]."""
        return torch.from_numpy(self._volumes[row].astype(np.float32))

    def volumes(self, rows: np.ndarray) -> torch.Tensor:
        """Volumes (B, 1, X, Y, Z), float32 in [0, 1]."""
        return torch.stack([self.volume(int(row)) for row in rows])
