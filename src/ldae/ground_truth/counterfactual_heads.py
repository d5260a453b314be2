"""Synthetic scans of the same head with the other diagnosis, brought to the store's grid.

The truth of a synthetic cohort holds what its heads were made from, so a head can be made again
with the atrophy that the same person would have had at the same age with the other diagnosis
(:class:`ldae.synthetic.cohort.Course`). Pose, contrast, coil field and noise are those of the real
scan, and so are the bias correction, the brain mask, the registration and the intensity scale:
nothing but anatomy differs. Not estimated anew, these steps are spared the (small) errors that a
real second scan would add. Scans that came preprocessed: see ``counterfactual_brains``. Only for
cohorts of ``ldae.synthetic`` (config ``evaluation.truth``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from scipy import ndimage as ndi

from ldae.data.volume_store import VolumeStore
from ldae.data.volume_transform import StoreTransform
from ldae.derivatives import ScanFiles, scan_files
from ldae.errors import UserError, require
from ldae.evaluation.test_scans import spread_over_subjects
from ldae.files import read_json, read_table, save_arrays
from ldae.ground_truth.counterfactual_brains import Pair, brain_pair, in_store
from ldae.preprocess._ants import ants
from ldae.preprocess.resampling import MARGIN, around, resample
from ldae.progress import Progress
from ldae.synthetic.bases import load_base
from ldae.synthetic.cohort import MARK, STAGE, Subject, Visit, draw_subject, generator
from ldae.synthetic.download import KIND as DOWNLOAD
from ldae.synthetic.download import ORIGINAL, PROCESSED, plan_images
from ldae.synthetic.heads import Anatomy, Head, shrink
from ldae.synthetic.preprocessed import KIND as PREPROCESSED
from ldae.synthetic.scanner import PROTOCOLS, Scan, acquire

TRUTH = ("participant_id", "session_id", "seed", "subject_index")
ALIKE = 0.02  # mean difference in [0, 1] up to which a scan made again is the stored one
LEAST = 20.0  # of a scanner's 4095: below it the ratio of two intensities is mostly rounding


@dataclass(frozen=True)
class Twin:
    """A visit's scan made again, and its counterfactual: arrays on one grid, and their heads."""

    factual: Scan
    counterfactual: Scan
    before: Head
    after: Head


def make_twin(subject: Subject, visit: Visit, target: str, seed: int, spacing: float) -> Twin:
    """Make ``visit``'s scan as the download did, and once more with the diagnosis ``target``.

    Args:
        subject, visit: Of the download ``seed``.
        target: A key of :data:`ldae.synthetic.cohort.STAGE`.
        spacing: Voxel edge of the download, mm.
    """
    anatomy = Anatomy.draw(load_base(subject.base), generator(seed, subject.index, 2))
    stored = [image for image in plan_images(subject) if image.on_disk]
    for earlier in subject.visits:  # each calibration starts where the one before ended
        kinds = [image.kind for image in stored if image.visit is earlier]
        if kinds:
            before = shrink(anatomy, earlier.atrophy)
        if earlier is visit:
            break
    kind = next(k for k in kinds if k in (ORIGINAL, PROCESSED))
    after = shrink(anatomy, subject.course.atrophy(STAGE[target], subject.years(visit)))

    def scan(head: Head) -> Scan:
        rng = generator(seed, subject.index, 3, visit.number, kind)
        return acquire(head, PROTOCOLS[subject.phase], spacing, rng)

    return Twin(scan(before), scan(after), before, after)


def like_native(scan: Scan, image: nib.Nifti1Image) -> np.ndarray:
    """A made scan in the voxel order of the image that was converted from it: (X, Y, Z) float32.

    Raises:
        UserError: the two do not have one shape, so they are not of one scan.
    """
    turn = ornt_transform(io_orientation(scan.affine), io_orientation(image.affine))
    array = apply_orientation(scan.array, turn).astype(np.float32)
    require(
        array.shape == image.shape,
        f"A scan made again from the truth has shape {array.shape}, the one in the results "
        f"{image.shape}: evaluation.truth is not the truth of this cohort.",
    )
    return array


def correction(corrected: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """The factor of the bias correction at every voxel, from the nearest one that is not dark."""
    dark = raw < LEAST
    factor = np.divide(corrected, raw, out=np.ones_like(raw), where=~dark)
    nearest = ndi.distance_transform_edt(dark, return_distances=False, return_indices=True)
    return factor[tuple(nearest)]


class Chain:
    """The way of one real scan from the scanner to the store, to be gone by another scan.

    Args:
        files: The scan's derivatives.
        native: The converted image (BIDS).
        factual: The scan made again, in the image's voxel order; gives the bias field.
        volumes: config["volumes"].
    """

    def __init__(
        self, files: ScanFiles, native: Path, factual: np.ndarray, volumes: dict[str, Any]
    ):
        require(native.is_file(), f"The scan {native} is not there to make its counterfactual.")
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
        """Bring a scan (X, Y, Z) to the store's grid: (1, X, Y, Z) float32, its own intensities."""
        brain = scan * self.factor * (self.mask.numpy() > 0)
        near = around(self.mask, MARGIN, self.corrected.new_image_like(brain))[0]
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
) -> Pair:
    """A scan of a download made again, and its counterfactual; arguments as of ``brain_pair``."""
    subject = draw_subject(made["seed"], index, made["visits"])
    visit = next(v for v in subject.visits if f"ses-M{v.months:03d}" == row.session_id)
    twin = make_twin(subject, visit, row.target, made["seed"], made["spacing"])
    native = bids_dir / files.source
    image = nib.load(native)
    factual = like_native(twin.factual, image)
    chain = Chain(files, native, factual, volumes_cfg)
    truths = [head.truth() for head in (twin.before, twin.after)]
    return Pair(
        chain(factual),
        chain(like_native(twin.counterfactual, image)),
        *([ml["ventricle_template_ml"], ml["hippocampus_template_ml"]] for ml in truths),
    )


def make_counterfactuals(
    truth: str | Path,
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
        truth: truth.tsv of the cohort, ``synthetic.json`` beside it.
        scans: scans.tsv, for the paths of the converted images.
        volumes: Folder of the volume store.
        bids_dir, preproc_dir: Folders of the converted and of the preprocessed scans.
        arrays: npz to write: scan_id, source, target (N,), volumes (N, 1, X, Y, Z) float32 in
            [0, 1], the counterfactuals in the intensity scale of the stored scans; ``before`` and
            ``after`` (N, 2): true volumes of ventricles and hippocampi, ml in the template's scale.
        template: Name of the template's space.
        volumes_cfg: config["volumes"].
        cfg: Section ``evaluation`` (``manipulation``, ``probes``).

    Raises:
        UserError: the truth is not that of this cohort.
    """
    mark = Path(truth).with_name(MARK)
    require(
        mark.is_file(),
        f"{mark} is missing: the true counterfactual can be made for cohorts of ldae.synthetic "
        "alone. Set evaluation.truth to the truth.tsv in the folder of such a cohort.",
    )
    made = read_json(mark)
    store = VolumeStore(volumes)
    known = read_table(truth, TRUTH).set_index(["participant_id", "session_id"])
    derivatives = {f.scan_id: f for f in scan_files(read_table(scans), preproc_dir, template)}
    pair = {DOWNLOAD: download_pair, PREPROCESSED: brain_pair}[made["kind"]]
    chosen = chosen_scans(store, cfg)
    found: dict[str, list] = {key: [] for key in ("volumes", "before", "after")}
    progress = Progress("counterfactual heads", len(chosen))
    for done, row in enumerate(chosen.itertuples(), start=1):
        place = (row.participant_id, row.session_id)
        require(place in known.index, f"The truth {truth} lacks the scan {row.scan_id}.")
        index = int(known.at[place, "subject_index"])
        files = derivatives[row.scan_id]
        twins = pair(made["arguments"], index, row, files, Path(bids_dir), volumes_cfg)
        scale = twins.again.max()
        miss = float((twins.again / scale - store.volume(row.Index)).abs().mean())
        if miss > ALIKE:
            raise UserError(
                f"The scan {row.scan_id} made again from the truth differs from the stored one by "
                f"{miss:.3f} of the range on average: {truth} is not the truth of this cohort."
            )
        found["volumes"].append((twins.other / scale).clamp(0, 1).numpy().astype(np.float32))
        found["before"].append(twins.before)
        found["after"].append(twins.after)
        progress.step(done)
    save_arrays(
        arrays,
        scan_id=chosen["scan_id"],
        source=chosen["source"],
        target=chosen["target"],
        **{key: np.stack(values) for key, values in found.items()},
    )


def chosen_scans(store: VolumeStore, cfg: dict[str, Any]) -> pd.DataFrame:
    """Rows of the store's index that the manipulation moves, with ``source`` and ``target``."""
    negative, positive = cfg["probes"]["classes"]
    test = store.index.loc[store.rows("test")]
    parts = []
    for source, target in ((positive, negative), (negative, positive)):
        part = test[test["diagnosis"] == source]
        part = spread_over_subjects(part, cfg["manipulation"]["max_scans"])
        parts.append(part.assign(source=source, target=target))
    return pd.concat(parts)
