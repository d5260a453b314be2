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

from ldae.derivatives import ScanFiles, scan_files
from ldae.errors import UserError, require
from ldae.files import digest, sha256
from ldae.fingerprint import source_fingerprint
from ldae.preprocess._ants import ants
from ldae.preprocess.field_of_view import crop, head_box
from ldae.preprocess.image_io import affine, as_mask, border_fraction, read_head, write_image
from ldae.preprocess.shard_runner import ScanRejected, Step, brain_first, run_step

ANTSXNET_FILES = ("brainExtractionRobustT1.h5", "S_template3.nii.gz")
MAX_BORDER = 0.10  # fraction of the image's outer faces that a brain mask may cover
SOFT_MASK_LEVEL = 0.5  # threshold of the binary mask file beside a soft mask


class Extractor(Protocol):
    """A network that finds the brain in one head."""

    def probability(self, head: ants.ANTsImage) -> np.ndarray:
        """Probability of brain, float32 (X, Y, Z) in the voxel order of ``head``."""
        ...


class AntsNet:
    """ANTsPyNet's ``brain_extraction(modality="t1")`` with weights from a local folder."""

    def __init__(self, weights: str | Path):
        """Load the network from the folder ``weights``; nothing is downloaded.

        Raises:
            UserError: a weight file is missing.
        """
        weights = Path(weights)
        missing = [name for name in ANTSXNET_FILES if not (weights / name).is_file()]
        require(
            not missing,
            f"ANTsPyNet's brain extraction needs {' and '.join(ANTSXNET_FILES)} in {weights} "
            f"(preprocess.brain_extraction.weights), missing: {', '.join(missing)}. Run "
            "the target `resources` on a machine with internet, or set "
            "preprocess.brain_extraction.method: deepbet.",
        )
        # Read by TensorFlow and Keras when they are imported: one thread, for repeatable results.
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        with tempfile.TemporaryDirectory() as home:
            os.environ["KERAS_HOME"] = home  # else Keras writes into the user's home folder
            import antspynet  # imports TensorFlow (5 s), which deepbet does not need
            import keras

        antspynet.set_antsxnet_cache_directory(str(weights))
        self._extract, self._clear = antspynet.brain_extraction, keras.backend.clear_session

    def probability(self, head: ants.ANTsImage) -> np.ndarray:
        image = self._extract(head, modality="t1", verbose=False)
        self._clear()  # ANTsPyNet builds its network anew for each scan
        return image.numpy()


class DeepBet:
    """deepbet (Fisch et al. 2024); its weights are inside the package."""

    def __init__(self):
        import torch
        from deepbet import BrainExtraction

        torch.set_num_threads(1)
        self._network = BrainExtraction(no_gpu=True)

    def probability(self, head: ants.ANTsImage) -> np.ndarray:
        to_ras = nib.io_orientation(affine(head))
        # The network's input is the brain's bounding box on a cube of 256 voxels a side. For heads
        # of 2 mm a side of 192 suffices: Dice 0.99 with the mask of 256, in a third of the time.
        side = 256 if max(head.spacing) < 1.75 else 192
        voxels = np.ascontiguousarray(nib.apply_orientation(head.numpy(), to_ras))
        values = self._network.run_model(voxels, shape=(side, side, side))
        back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), to_ras)
        return nib.apply_orientation(values, back)


def build_extractor(cfg: Mapping[str, Any]) -> Extractor:
    """The network named in config["preprocess"]["brain_extraction"].

    Raises:
        UserError: the method is unknown, or its weights are missing.
    """
    method = cfg["method"]
    if method == "antspynet":
        return AntsNet(cfg["weights"])
    if method == "deepbet":
        return DeepBet()
    raise UserError(
        f"preprocess.brain_extraction.method is {method!r}; allowed: antspynet, deepbet."
    )


def brain_probability(extractor: Extractor, head: ants.ANTsImage) -> np.ndarray:
    """Probability of brain (X, Y, Z); a head in a large field of view is cropped out before."""
    box = head_box(head)
    if box is None:
        return extractor.probability(head)
    probability = np.zeros(head.shape, np.float32)
    probability[box] = extractor.probability(crop(head, box))
    return probability


def clean_mask(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Largest connected component of ``probability >= threshold``, holes filled; bool (X, Y, Z).

    Raises:
        ScanRejected: no voxel reaches the threshold, or the mask covers more than ``MAX_BORDER`` of
            the image's outer faces, as no brain does.
    """
    mask = probability >= threshold
    if not mask.any():
        raise ScanRejected(f"the brain mask is empty (highest probability {probability.max():.3g})")
    mask = fill_voids.fill(cc3d.largest_k(mask, k=1).astype(bool)).astype(bool)
    border = border_fraction(mask)
    if border > MAX_BORDER:
        raise ScanRejected(
            f"the brain mask covers {border:.0%} of the image's outer faces "
            f"(at most {MAX_BORDER:.0%})"
        )
    return mask


def run_brain_extraction(
    scans: pd.DataFrame,
    bids_dir: str | Path,
    preproc_dir: str | Path,
    manifest: str | Path,
    cfg: Mapping[str, Any],
    earlier: str | Path | None = None,
) -> pd.DataFrame:
    """Extract the brains of one shard's scans, from the corrected head or, before N4, the raw one.

    Args:
        scans: Rows of scans.tsv.
        bids_dir: Folder the ``path`` column is relative to.
        preproc_dir: Output folder; receives ``*_desc-brain_mask.nii.gz`` on the native grid and,
            if N4 ran before, ``*_desc-brain_T1w.nii.gz``.
        manifest: Manifest to write.
        cfg: config["preprocess"]. ``brain_extraction.threshold``: null multiplies the head by the
            probability instead of a binary mask; the mask file is binary in both cases.
            ``n4.mask`` sets the order of the two steps.
        earlier: Manifest of N4, if it ran before.

    Returns:
        The manifest.

    Raises:
        UserError: weights are missing, the method is unknown, or a soft mask is requested before
            there is a corrected head to multiply by it.
    """
    settings = cfg["brain_extraction"]
    threshold, first = settings["threshold"], brain_first(cfg)
    require(
        threshold is not None or not first,
        "preprocess.brain_extraction.threshold: null (a soft mask) needs preprocess.n4.mask: none; "
        "set the threshold to a number such as 0.5 for n4.mask: brain.",
    )
    extractor = build_extractor(settings)

    def head_of(files: ScanFiles) -> Path:
        return Path(bids_dir) / files.source if first else files.n4

    def run(files: ScanFiles) -> None:
        _extract_brain(files, head_of(files), extractor, threshold, first)

    depends = {
        "source": source_fingerprint(
            "preprocess.brain_extraction:_extract_brain",
            "preprocess.brain_extraction:build_extractor",
        ),
        "method": settings["method"],
        "threshold": threshold,
        "first": first,
    }
    if settings["method"] == "antspynet":
        depends["weights"] = [sha256(Path(settings["weights"]) / name) for name in ANTSXNET_FILES]
    step = Step(
        name="brain",
        fingerprint=digest(depends),
        inputs=lambda files: [head_of(files)],
        outputs=lambda files: [files.mask, *([] if first else [files.brain])],
        run=run,
    )
    files = scan_files(scans, preproc_dir, cfg["template"]["name"])
    return run_step(step, files, manifest, earlier)


def _extract_brain(
    files: ScanFiles, image: Path, extractor: Extractor, threshold: float | None, first: bool
) -> None:
    """Write the brain mask of one scan and, unless N4 runs later (``first``), its brain."""
    head = read_head(image)
    probability = brain_probability(extractor, head)
    mask = clean_mask(probability, SOFT_MASK_LEVEL if threshold is None else threshold)
    write_image(as_mask(mask, head), files.mask)
    if not first:
        weight = probability if threshold is None else mask
        brain = (head.numpy() * weight).astype(np.float32)
        write_image(head.new_image_like(brain), files.brain)
