"""True counterfactuals of a synthetic cohort: the same heads with the other diagnosis.

The truth of a synthetic cohort holds the parameters of its heads. A head can therefore be made
again with the atrophy of the same person at the same age with the other diagnosis
(:class:`ldae.synthetic.subjects.Course`). Pose, contrast, coil field and noise are those of the
real scan. Bias correction, brain mask, registration and intensity scale are taken from the real
scan as well, so only the anatomy differs. A real second scan would add the (small) errors of
estimating these steps again.

This module makes the pairs of raw downloads; :mod:`ldae.ground_truth.counterfactual_brains` makes
those of preprocessed cohorts. Only for cohorts of ``ldae.synthetic`` (config ``evaluation.truth``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from scipy import ndimage as ndi

from ldae.config import diagnosis_classes
from ldae.data.volume_store import VolumeStore
from ldae.data.volume_transform import StoreTransform
from ldae.derivatives import ScanFiles, scan_files
from ldae.errors import UserError, require
from ldae.evaluation.test_scans import spread_over_subjects
from ldae.files import read_json, read_table, save_arrays
from ldae.ground_truth.counterfactual_brains import StoredPair, brain_pair, in_store
from ldae.ground_truth.truth import join_truth
from ldae.preprocess._ants import ants
from ldae.preprocess.resampling import MARGIN, crop_around, resample
from ldae.progress import Progress
from ldae.synthetic.bases import load_base
from ldae.synthetic.download import KIND as DOWNLOAD
from ldae.synthetic.download import ORIGINAL, PROCESSED, plan_images
from ldae.synthetic.heads import Anatomy, Head, apply_atrophy
from ldae.synthetic.preprocessed import KIND as PREPROCESSED
from ldae.synthetic.scanner import PROTOCOLS, Scan, acquire
from ldae.synthetic.subjects import MARK, STAGE, Subject, Visit, draw_subject, subject_generator

MAX_DIFFERENCE = (
    0.02  # largest mean difference (range 0 to 1) of a scan made again from the stored one
)
DARK = 20.0  # of a scanner's 4095; below it the ratio of two intensities is mostly rounding


@dataclass(frozen=True)
class ScanPair:
    """A visit's scan made again, and its counterfactual.

    Attributes:
        factual, counterfactual: The two scans, on one grid.
        before, after: The heads of the two scans.
    """

    factual: Scan
    counterfactual: Scan
    before: Head
    after: Head


def make_scan_pair(
    subject: Subject, visit: Visit, target: str, seed: int, spacing: float
) -> ScanPair:
    """Make ``visit``'s scan as the download did, and once more with the diagnosis ``target``.

    Args:
        subject, visit: The subject and its visit, from the download ``seed``.
        target: Diagnosis of the counterfactual, a key of :data:`ldae.synthetic.subjects.STAGE`.
        seed: Seed of the download.
        spacing: Voxel size of the download, mm.
    """
    anatomy = Anatomy.draw(load_base(subject.base), subject_generator(seed, subject.index, 2))
    stored = [image for image in plan_images(subject) if image.on_disk]
    for earlier in subject.visits:  # each calibration starts where the one before ended
        kinds = [image.kind for image in stored if image.visit is earlier]
        if kinds:
            before = apply_atrophy(anatomy, earlier.atrophy)
        if earlier is visit:
            break
    kind = next(k for k in kinds if k in (ORIGINAL, PROCESSED))
    after = apply_atrophy(anatomy, subject.course.atrophy(STAGE[target], subject.years(visit)))

    def scan(head: Head) -> Scan:
        rng = subject_generator(seed, subject.index, 3, visit.number, kind)
        return acquire(head, PROTOCOLS[subject.phase], spacing, rng)

    return ScanPair(scan(before), scan(after), before, after)


def like_native(scan: Scan, image: nib.Nifti1Image) -> np.ndarray:
    """Reorient a made scan to the voxel order of the converted image: (X, Y, Z) float32.

    Raises:
        UserError: the shapes differ, so the two are not the same scan.
    """
    reorientation = ornt_transform(io_orientation(scan.affine), io_orientation(image.affine))
    array = apply_orientation(scan.array, reorientation).astype(np.float32)
    require(
        array.shape == image.shape,
        f"A scan made again from the truth has shape {array.shape}, but the stored one has shape "
        f"{image.shape}: evaluation.truth is not the truth of this cohort.",
    )
    return array


def correction(corrected: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Factor of the bias correction at every voxel, (X, Y, Z).

    Dark voxels (below :data:`DARK`) get the factor of the nearest voxel that is not dark.

    Args:
        corrected, raw: (X, Y, Z) intensities after and before the bias correction.
    """
    dark = raw < DARK
    factor = np.divide(corrected, raw, out=np.ones_like(raw), where=~dark)
    nearest = ndi.distance_transform_edt(dark, return_distances=False, return_indices=True)
    return factor[tuple(nearest)]


class FixedPreprocessing:
    """Preprocessing of one real scan, from native image to store, applied to another scan.

    Bias field, brain mask and transforms are those of the real scan.

    Args:
        files: The real scan's derivatives.
        native: The converted image (BIDS).
        factual: The scan made again, (X, Y, Z) in the image's voxel order; gives the bias field.
        volumes: config["volumes"].

    Raises:
        UserError: the converted image does not exist.
    """

    def __init__(
        self, files: ScanFiles, native: Path, factual: np.ndarray, volumes: dict[str, Any]
    ):
        require(
            native.is_file(),
            f"The converted image {native} does not exist; its counterfactual cannot be made.",
        )
        self.files, self.volumes = files, volumes
        self.corrected = ants.image_read(str(files.n4))
        self.factor = correction(self.corrected.numpy(), factual)
        self.mask = ants.image_read(str(files.mask))
        self.grid = ants.image_read(str(files.registered_brain))
        found = [files.warp, files.transform] if files.warp.is_file() else [files.transform]
        self.transforms = [str(path) for path in found]
        self.transform = StoreTransform(
            volumes["spacing"], list(volumes["shape"]), volumes["interpolation"]
        )

    def __call__(self, scan: np.ndarray) -> torch.Tensor:
        """Put a scan (X, Y, Z) on the store's grid, not yet scaled: (1, X, Y, Z) float32."""
        brain = scan * self.factor * (self.mask.numpy() > 0)
        near = crop_around(self.mask, MARGIN, self.corrected.new_image_like(brain))[0]
        interpolation, prefilter = self.volumes["interpolation"], self.volumes["antialias"]
        moved = resample(near, self.grid, self.transforms, interpolation, prefilter)
        return in_store(moved, self.transform)


def download_pair(
    made: dict[str, Any],
    index: int,
    row: Any,
    files: ScanFiles,
    bids_dir: Path,
    volumes_cfg: dict[str, Any],
) -> StoredPair:
    """Make a scan of a download again, and its counterfactual.

    Args:
        made, index, row, files, volumes_cfg: As in
            :func:`ldae.ground_truth.counterfactual_brains.brain_pair`.
        bids_dir: Folder of the converted scans.
    """
    subject = draw_subject(made["seed"], index, made["visits"])
    visit = next(v for v in subject.visits if f"ses-M{v.months:03d}" == row.session_id)
    twin = make_scan_pair(subject, visit, row.target, made["seed"], made["spacing"])
    native = bids_dir / files.source
    image = nib.load(native)
    factual = like_native(twin.factual, image)
    chain = FixedPreprocessing(files, native, factual, volumes_cfg)
    truths = [head.truth() for head in (twin.before, twin.after)]
    return StoredPair(
        chain(factual),
        chain(like_native(twin.counterfactual, image)),
        *([ml["ventricle_template_ml"], ml["hippocampus_template_ml"]] for ml in truths),
    )


def make_counterfactuals(
    truth: Sequence[str | Path],
    scans: str | Path,
    volumes: str | Path,
    bids_dir: str | Path,
    preproc_dir: str | Path,
    arrays: str | Path,
    template: str,
    volumes_cfg: dict[str, Any],
    cfg: dict[str, Any],
) -> None:
    """Write the counterfactuals of the test scans that the manipulation moves.

    Args:
        truth: truth.tsv of each cohort, with its ``synthetic.json`` beside it.
        scans: scans.tsv, for the paths of the converted images.
        volumes: Folder of the volume store.
        bids_dir, preproc_dir: Folders of the converted and of the preprocessed scans.
        arrays: npz to write: scan_id, source, target (N,); volumes (N, 1, X, Y, Z) float32 in
            [0, 1], the counterfactuals in the intensity scale of the stored scans; before, after
            (N, 2), the true volumes of ventricles and hippocampi, ml in template scale.
        template: Name of the template's space.
        volumes_cfg: config["volumes"].
        cfg: Section ``evaluation`` (``manipulation``, ``targets``).

    Raises:
        UserError: a cohort is not synthetic, or the truth is not that of these cohorts.
    """
    made = {str(path): _made(Path(path)) for path in truth}
    store = VolumeStore(volumes)
    derivatives = {f.scan_id: f for f in scan_files(read_table(scans), preproc_dir, template)}
    make_pair = {DOWNLOAD: download_pair, PREPROCESSED: brain_pair}
    chosen = chosen_scans(store, cfg)
    known = join_truth(chosen, truth, ["subject_index"])
    found: dict[str, list] = {key: [] for key in ("volumes", "before", "after")}
    progress = Progress("counterfactual heads", len(chosen))
    for done, (at, row) in enumerate(zip(chosen.index, known.itertuples(), strict=True), start=1):
        about = made[row.truth]
        scan_pair = make_pair[about["kind"]](
            about["arguments"],
            int(row.subject_index),
            row,
            derivatives[row.scan_id],
            Path(bids_dir),
            volumes_cfg,
        )
        scale = scan_pair.again.max()
        difference = float((scan_pair.again / scale - store.volume(at)).abs().mean())
        if difference > MAX_DIFFERENCE:
            raise UserError(
                f"The scan {row.scan_id} made again from the truth differs from the stored one by "
                f"{difference:.3f} of the range on average: {row.truth} is not the truth of "
                "its cohort."
            )
        found["volumes"].append((scan_pair.other / scale).clamp(0, 1).numpy().astype(np.float32))
        found["before"].append(scan_pair.before)
        found["after"].append(scan_pair.after)
        progress.step(done)
    save_arrays(
        arrays,
        scan_id=chosen["scan_id"],
        source=chosen["source"],
        target=chosen["target"],
        **{key: np.stack(values) for key, values in found.items()},
    )


def _made(truth: Path) -> dict[str, Any]:
    """Kind and arguments of the synthetic cohort whose truth.tsv this is."""
    mark = truth.with_name(MARK)
    require(
        mark.is_file(),
        f"{mark} is missing: true counterfactuals exist only for cohorts of ldae.synthetic. Set "
        "evaluation.truth to the truth.tsv in the folder of such a cohort.",
    )
    return read_json(mark)


def chosen_scans(store: VolumeStore, cfg: dict[str, Any]) -> pd.DataFrame:
    """Rows of the store's index that the manipulation moves, with ``source`` and ``target``."""
    negative, positive = diagnosis_classes(cfg)
    test = store.index.loc[store.rows("test")]
    parts = []
    for source, target in ((positive, negative), (negative, positive)):
        part = test[test["diagnosis"] == source]
        part = spread_over_subjects(part, cfg["manipulation"]["max_scans"])
        parts.append(part.assign(source=source, target=target))
    return pd.concat(parts)
