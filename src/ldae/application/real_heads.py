"""Measures of real heads: masks, registration, reconstruction, novelty, age and ventricles."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from nibabel.processing import resample_from_to
from torch import Tensor

from ldae.application.batch import OK, Batch
from ldae.application.bundle import Bundle
from ldae.application.commands import read_volume
from ldae.application.inputs import InputScan
from ldae.application.known_heads import KnownHead
from ldae.application.manipulated import Strength
from ldae.application.many_heads import apply_to_many
from ldae.application.raw_head import FINDINGS, VOLUMES, PreparedHead, apply, prepare
from ldae.errors import UserError, require
from ldae.evaluation.metrics.image import brain_mask
from ldae.evaluation.metrics.volumes import Regions, soft_volumes
from ldae.files import MISSING, read_json, save_arrays, write_json
from ldae.preprocess.qc_measures import dice
from ldae.ssim import ssim

SEEN = "scan.npz"  # the scan on the models' grid, for the average of the heads
KNOWN = "known.json"  # digest of what was known of the head when it was measured
QUALITY = ("brain_ml", "dice", "ncc", "asymmetry")


def measure_heads(
    bundle: Bundle,
    scans: Sequence[InputScan],
    known: Mapping[str, KnownHead],
    out: Path,
    steps: int,
    brain_weights: Path | None = None,
) -> tuple[pd.DataFrame, Batch]:
    """Apply the models to all heads, measure what came, and return a row for each that worked.

    Heads that fail the quality check are measured too. A head that is done by the same models, and
    with the same knowledge of it, is kept, whatever heads are beside it.

    Args:
        bundle: The models; heads are moved by its ``alpha``, away from the predicted class.
        scans: The heads.
        known: What is known of each, by name.
        out: Folder to write: a folder for each head, and the table ``scans.tsv``.
        steps: Steps of the solver.
        brain_weights: See :meth:`ldae.application.bundle.Bundle.preprocessing`.

    Returns:
        A table, in the order of the scans: scan_id, those of :func:`measure`, ssim_average
        (:func:`average_ssim`), nearest (:func:`nearest_scans`), quality (verdict),
        novelty_percentile, predicted (class), warnings; and the batch, which knows the heads that
        failed.

    Raises:
        UserError: no head worked.
    """
    strength = Strength(float(bundle.settings["alpha"]))

    def work(scan: InputScan, folder: Path) -> dict[str, Any]:
        head = prepare(bundle, scan.path, folder, True, brain_weights)
        findings = apply(bundle, head, folder, strength, steps, force=True)
        about = known[scan.scan_id]
        found = {**findings, **measure(bundle, head, folder, about)}
        write_json({"sha256": about.content()}, folder / KNOWN)
        return found

    def fits(scan: InputScan, folder: Path) -> bool:
        return read_json(folder / KNOWN) == {"sha256": known[scan.scan_id].content()}

    settings = {
        "command": "real",
        "bundle": bundle.fingerprint,
        "steps": steps,
        "strength": vars(strength),
    }
    batch = apply_to_many(scans, out, settings, work, (FINDINGS, *VOLUMES[:2], SEEN, KNOWN), fits)
    rows = [row for row in batch.rows.values() if row["status"] == OK]
    require(
        bool(rows),
        f"None of {len(scans)} head(s) could be measured: {batch.table} has the reasons.",
    )
    heads = pd.DataFrame(rows).drop(columns=["path", "content", "settings", "status", "reason"])
    of_text = ("scan_id", "predicted", "quality", "warnings")  # all others are numbers
    numbers = [name for name in heads if name not in of_text]
    heads[numbers] = heads[numbers].replace(MISSING, math.nan).astype(float)
    volumes = torch.cat([_seen(out / name / SEEN) for name in heads["scan_id"]])
    decoded = torch.cat([_volume(out / name / VOLUMES[0]) for name in heads["scan_id"]])
    found = {"ssim_average": average_ssim(volumes), "nearest": nearest_scans(volumes, decoded)}
    return heads.assign(**found), batch


def measure(
    bundle: Bundle, head: PreparedHead, folder: Path, known: KnownHead
) -> dict[str, float | None]:
    """Measures of one head whose findings lie in ``folder``; ``scan.npz`` is written there.

    Returns:
        age (years) and those of :data:`QUALITY`, where they are known; mask_dice: Dice of brain
        mask and segmentation; ssim_autoencoder, ssim_ldae: SSIM of the reconstruction within the
        brain, by the autoencoder alone and by the LDAE from y_sem and z_T; distance
        (:meth:`ldae.application.training_codes.TrainingCodes.distance`); predicted_age, which the
        findings round; true_ventricle_ml: the
        known volume in the template's scale; scan_ventricle_ml, ventricle_ml and
        moved_ventricle_ml: soft volume in the scan, in the reconstruction, and in the manipulated
        one; alpha. Volumes are in ml.
    """
    x, affine = read_volume(head.files.registered_brain, bundle.settings["volumes"])
    save_arrays(folder / SEEN, volume=x.numpy())
    system = bundle.system
    x = system.compute.move(x)
    y, compressed = system.y_sem(x), system.image(system.encode_z(x))
    decoded, moved = (system.compute.move(_volume(folder / name)) for name in VOLUMES[:2])
    regions = Regions.on(affine, tuple(x.shape[2:]), x.device)
    measures = read_json(head.files.measures)
    brain = brain_mask(x)
    return {
        "age": known.age,
        **{name: float(measures[name]) for name in QUALITY if name in measures},
        "mask_dice": _mask_dice(head.files.mask, known.segmentation),
        "ssim_autoencoder": float(ssim(x, compressed, brain)[1]),
        "ssim_ldae": float(ssim(x, decoded, brain)[1]),
        "distance": float(bundle.training.distance(y.cpu().numpy())[0]),
        "predicted_age": float(bundle.age()(y)),
        "true_ventricle_ml": known.ventricle_ml / measures.get("affine_determinant", math.nan),
        "scan_ventricle_ml": _ventricles(x, x, regions),
        "ventricle_ml": _ventricles(decoded, decoded, regions),
        "moved_ventricle_ml": _ventricles(moved, decoded, regions),
        "alpha": read_json(folder / FINDINGS)["counterfactual"]["alpha"],
    }


def average_ssim(volumes: Tensor) -> list[float]:
    """SSIM within the brain of each volume with the voxel average of all others: a floor.

    Args:
        volumes: (N, 1, X, Y, Z) in [0, 1].

    Returns:
        N values; nan where there is one volume alone.
    """
    if len(volumes) < 2:
        return [math.nan] * len(volumes)
    others = (volumes.sum(0, keepdim=True) - volumes) / (len(volumes) - 1)
    return ssim(volumes, others, brain_mask(volumes))[1].tolist()


def nearest_scans(volumes: Tensor, decoded: Tensor) -> list[int]:
    """Place of the scan that each reconstruction is most similar to: its own, if it shows it.

    Args:
        volumes: (N, 1, X, Y, Z) scans.
        decoded: (N, 1, X, Y, Z) their reconstructions, in the same order.
    """
    brains = brain_mask(volumes)
    return [
        int(ssim(volumes, image[None].expand_as(volumes), brains)[1].argmax()) for image in decoded
    ]


def _ventricles(image: Tensor, base: Tensor, regions: Regions) -> float:
    return float(soft_volumes(image, base, regions)["ventricle_ml"][0])


def _volume(path: Path) -> Tensor:
    """A written volume as (1, 1, X, Y, Z) float32."""
    return torch.from_numpy(nib.load(path).get_fdata(dtype=np.float32))[None, None]


def _seen(path: Path) -> Tensor:
    with np.load(path) as content:
        return torch.from_numpy(content["volume"])


def _mask_dice(mask: Path, segmentation: Path | None) -> float:
    """Dice of a head's brain mask and its segmentation, on the mask's grid; nan without one."""
    if segmentation is None:
        return math.nan
    own = nib.load(mask)
    try:
        other = nib.load(segmentation)
        labels = resample_from_to(other, own, order=0).get_fdata()
    except (nib.filebasedimages.ImageFileError, OSError, ValueError) as error:
        raise UserError(f"The segmentation {segmentation} cannot be read: {error}.") from error
    require(
        bool((labels > 0).any()),
        f"The segmentation {segmentation} has no voxel above 0 within the head: is it of this one?",
    )
    return dice(own.get_fdata(), labels)
