"""Brain extraction by a learned network: ANTsPyNet's (the paper's, section 4.1) or deepbet's."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import cc3d
import fill_voids
import nibabel as nib
import numpy as np
import pandas as pd

from ldae.errors import UserError, require
from ldae.files import atomic, digest, sha256
from ldae.fingerprint import source_fingerprint
from ldae.preprocess._ants import ants
from ldae.preprocess.batch import ScanRejected, Step, run_step
from ldae.preprocess.scan_files import ScanFiles, scan_files

ANTSXNET_FILES = ("brainExtractionRobustT1.h5", "S_template3.nii.gz")
MAX_BORDER = 0.10  # share of the image's outer faces that a brain mask may cover
SOFT_MASK_LEVEL = 0.5  # where a probability counts as brain when it is kept as a soft mask


class Extractor(Protocol):
    """A network that finds the brain in one head."""

    def probability(self, head: Path) -> np.ndarray:
        """Probability of brain, float32 (X, Y, Z) in the voxel order of the file."""
        ...


class AntsNet:
    """ANTsPyNet's ``brain_extraction(modality="t1")`` with weights from a local folder."""

    def __init__(self, weights: str | Path):
        """Load nothing over the network.

        Raises:
            UserError: a weight file is missing.
        """
        weights = Path(weights)
        missing = [name for name in ANTSXNET_FILES if not (weights / name).is_file()]
        require(
            not missing,
            f"ANTsPyNet's brain extraction needs {' and '.join(ANTSXNET_FILES)} in {weights} "
            f"(preprocess.brain_extraction.weights), missing: {', '.join(missing)}. Run "
            "`snakemake resources` on a machine with internet, or set "
            "preprocess.brain_extraction.method: deepbet.",
        )
        # Read by TensorFlow and Keras when they are imported: one thread, for repeatable results.
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        with tempfile.TemporaryDirectory() as home:
            os.environ["KERAS_HOME"] = home  # else Keras writes into the user's home folder
            import antspynet  # imports TensorFlow (5 s), which deepbet's users need not wait for
            import keras

        antspynet.set_antsxnet_cache_directory(str(weights))
        self._extract, self._clear = antspynet.brain_extraction, keras.backend.clear_session

    def probability(self, head: Path) -> np.ndarray:
        image = self._extract(ants.image_read(str(head)), modality="t1", verbose=False)
        self._clear()  # ANTsPyNet builds its network anew for each scan
        return image.numpy()


class DeepBet:
    """deepbet (Fisch et al. 2024); its weights are inside the package."""

    def __init__(self):
        import torch
        from deepbet import BrainExtraction

        torch.set_num_threads(1)
        self._network = BrainExtraction(no_gpu=True)

    def probability(self, head: Path) -> np.ndarray:
        image = nib.load(head)
        canonical = nib.as_closest_canonical(image)
        # The network sees the brain's bounding box on a cube of 256 voxels. For heads of 2 mm one
        # of 192 does: Dice 0.99 with the mask of 256 at a third of the time.
        side = 256 if max(canonical.header.get_zooms()[:3]) < 1.75 else 192
        voxels = np.ascontiguousarray(canonical.get_fdata(dtype=np.float32))
        values = self._network.run_model(voxels, shape=(side, side, side))
        back = nib.orientations.ornt_transform(
            nib.io_orientation(canonical.affine), nib.io_orientation(image.affine)
        )
        return nib.apply_orientation(values, back)


def build_extractor(cfg: Mapping[str, Any]) -> Extractor:
    """The network named in config["preprocess"]["brain_extraction"]."""
    method = cfg["method"]
    if method == "antspynet":
        return AntsNet(cfg["weights"])
    if method == "deepbet":
        return DeepBet()
    raise UserError(
        f"preprocess.brain_extraction.method is {method!r}; allowed: antspynet, deepbet."
    )


def clean_mask(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Largest connected component of ``probability >= threshold``, holes filled; bool (X, Y, Z).

    Raises:
        ScanRejected: nothing reaches the threshold, or the mask covers much of the image's outer
            faces, which no brain does.
    """
    mask = probability >= threshold
    if not mask.any():
        raise ScanRejected(f"the brain mask is empty (highest probability {probability.max():.3g})")
    mask = fill_voids.fill(cc3d.largest_k(mask, k=1).astype(bool)).astype(bool)
    faces = [mask.take(end, axis) for axis in range(3) for end in (0, -1)]
    border = sum(face.sum() for face in faces) / sum(face.size for face in faces)
    if border > MAX_BORDER:
        raise ScanRejected(
            f"the brain mask covers {border:.0%} of the image's outer faces "
            f"(at most {MAX_BORDER:.0%})"
        )
    return mask


def run_brain_extraction(
    scans: pd.DataFrame,
    preproc_dir: str | Path,
    manifest_in: str | Path,
    manifest: str | Path,
    cfg: Mapping[str, Any],
) -> pd.DataFrame:
    """Find the brains of one shard's scans.

    Args:
        scans: Rows of scans.tsv.
        preproc_dir: Folder of the N4 step; writes ``*_desc-brain_mask.nii.gz`` and
            ``*_desc-brain_T1w.nii.gz`` on the native grid.
        manifest_in: Manifest of the N4 step.
        manifest: Manifest to write.
        cfg: config["preprocess"]. ``brain_extraction.threshold``: null multiplies the head by the
            probability instead of a binary mask; the mask file is binary in both cases.

    Raises:
        UserError: weights are missing, or the method is unknown.
    """
    settings = cfg["brain_extraction"]
    extractor = build_extractor(settings)
    threshold = settings["threshold"]

    def run(files: ScanFiles) -> None:
        head = ants.image_read(str(files.n4))
        probability = extractor.probability(files.n4)
        mask = clean_mask(probability, SOFT_MASK_LEVEL if threshold is None else threshold)
        weight = probability if threshold is None else mask
        brain = head.new_image_like((head.numpy() * weight).astype(np.float32))
        for image, path in (
            (brain, files.brain),
            (head.new_image_like(mask.astype(np.float32)).clone("unsigned char"), files.mask),
        ):
            with atomic(path) as temporary:
                ants.image_write(image, str(temporary))

    depends = {
        "source": source_fingerprint("preprocess/brain.py", "preprocess/_ants.py"),
        "method": settings["method"],
        "threshold": threshold,
    }
    if settings["method"] == "antspynet":
        depends["weights"] = [sha256(Path(settings["weights"]) / name) for name in ANTSXNET_FILES]
    step = Step(
        name="brain",
        fingerprint=digest(depends),
        inputs=lambda files: [files.n4],
        outputs=lambda files: [files.brain, files.mask],
        run=run,
    )
    files = scan_files(scans, preproc_dir, cfg["template"]["name"])
    return run_step(step, files, manifest, earlier=manifest_in)
