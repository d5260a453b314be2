"""Moving y_sem along the AD/CN direction (sections 3.7 and 5.4.1, Figures 6 and 7)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.evaluation.arrays import as_arrays, save_arrays
from ldae.evaluation.bootstrap import ClusterBootstrap
from ldae.evaluation.direction import Direction
from ldae.evaluation.metrics import brain_mask, ssim
from ldae.evaluation.scans import batches, example_scans, spread_over_subjects
from ldae.evaluation.systems import LdaeSystem
from ldae.files import write_table
from ldae.progress import Progress

# Bodies and frontal horns of the lateral ventricles in MNI space: mm RAS, low and high per axis.
VENTRICLES = ((-28.0, 28.0), (-46.0, 36.0), (-6.0, 32.0))
DARK = 0.5  # of the median brain intensity: below it a voxel counts as fluid
MEASURES = (
    "ventricle_dark_ml",
    "ventricle_mean",
    "brain_dark_fraction",
    "ssim_to_unmanipulated",
    "logit_asked",
    "logit_decoded",
)


def ventricle_box(affine: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Voxels of :data:`VENTRICLES` on the store's grid (axes along RAS).

    Raises:
        UserError: the box is not inside the volume.
    """
    low, high = np.array(VENTRICLES).T
    inverse = np.linalg.inv(affine)
    corners = np.stack([inverse[:3, :3] @ mm + inverse[:3, 3] for mm in (low, high)])
    first = np.ceil(corners.min(0)).astype(int)
    last = np.floor(corners.max(0)).astype(int)
    if (first < 0).any() or (last >= np.array(shape)).any() or (last < first).any():
        raise UserError(
            f"The ventricles in MNI space (x, y, z in mm: {VENTRICLES}) do not lie in the volumes "
            f"of shape {tuple(shape)}; check volumes.shape and volumes.spacing."
        )
    return tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))


def measure(
    images: Tensor, base: Tensor, box: tuple[slice, ...], voxel_ml: float
) -> dict[str, Tensor]:
    """Image measures of manipulated volumes against the unmanipulated reconstruction.

    Brain and threshold are those of ``base`` for every alpha, so only intensities can change.

    Args:
        images, base: (B, 1, X, Y, Z) in [0, 1].
        box: Voxels of the ventricle region.
        voxel_ml: Volume of a voxel in ml.

    Returns:
        (B,) each: ``ventricle_dark_ml``, volume of dark brain voxels in the box (a proxy of the
        ventricles, not a segmentation); ``ventricle_mean``, mean intensity of the box;
        ``brain_dark_fraction``, share of dark voxels in the brain; ``ssim_to_unmanipulated``.
    """
    brain = brain_mask(base)
    median = torch.stack([x[mask].median() for x, mask in zip(base, brain, strict=True)])
    dark = (images < DARK * median.view(-1, 1, 1, 1, 1)) & brain
    inside = (..., *box)
    return {
        "ventricle_dark_ml": dark[inside].flatten(1).sum(1) * voxel_ml,
        "ventricle_mean": images[inside].flatten(1).mean(1),
        "brain_dark_fraction": dark.flatten(1).sum(1) / brain.flatten(1).sum(1),
        "ssim_to_unmanipulated": ssim(base, images, brain)[0],
    }


def evaluate_manipulation(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    classifier: str | Path,
    scans: str | Path,
    table: str | Path,
    cfg: dict[str, Any],
    seed: int,
) -> None:
    """Move test scans of both classes towards the other one and measure what changes.

    z_T comes from inversion with the scan's own y_sem and is kept; y_sem moves by each alpha.

    Args:
        system, volumes, embeddings: As in the reconstruction.
        classifier: ``classifier.npz`` of the probes.
        scans: Per-scan table: scan_id, participant_id, direction (``AD to CN``), alpha and
            :data:`MEASURES`: those of :func:`measure`, ``logit_asked`` (classifier on the moved
            code, linear by construction) and ``logit_decoded`` (on the code of the decoded
            volume, encoded again: does the decoder show what was asked for?).
        table: direction, alpha, metric, value, ci_low, ci_high, n_scans, n_subjects; besides the
            measures their paired changes from alpha = 0 (``change_<measure>``).
        cfg: Section ``evaluation`` (``manipulation``, ``batch_size``, ``bootstrap``).
        seed: Of the resamples.
    """
    store, settings = system.volume_store(volumes), cfg["manipulation"]
    direction = Direction.load(classifier, system.compute.device)
    negative, positive = direction.classes
    test = store.index.loc[store.rows("test")]
    frames = []
    for source, target, sign in ((positive, negative, -1), (negative, positive, 1)):
        chosen = test[test["diagnosis"] == source]
        chosen = spread_over_subjects(chosen, settings["max_scans"])
        codes = torch.from_numpy(system.stored_codes(embeddings, chosen["scan_id"])).float()
        progress = Progress(f"manipulation {source} to {target}", len(chosen))
        for part in batches(len(chosen), cfg["batch_size"]):
            rows, y = chosen.iloc[part], system.compute.move(codes[part])
            frames += _measure_batch(
                system, store, direction, rows, y, sign, settings, f"{source} to {target}"
            )
            progress.step(int(part[-1]) + 1)
    order = ["direction", "alpha", "scan_id"]
    result = pd.concat(frames).sort_values(order, ignore_index=True)
    write_table(result, scans)
    write_table(summarise(result, cfg["bootstrap"], seed), table)


def _measure_batch(
    system: LdaeSystem,
    store: VolumeStore,
    direction: Direction,
    rows: pd.DataFrame,
    y: Tensor,
    sign: int,
    settings: dict[str, Any],
    label: str,
) -> list[pd.DataFrame]:
    steps = settings["ddim_steps"]
    box = ventricle_box(store.affine, store.shape)
    voxel_ml = abs(float(np.linalg.det(store.affine[:3, :3]))) / 1000
    z_0 = system.encode_z(store.volumes(rows.index.to_numpy()))
    z_T = system.encode_zT(z_0, y, steps)
    base = system.image(system.decode(z_T, y, steps))
    frames = []
    for alpha in sorted({0.0, *map(float, settings["alphas"])}):
        moved = direction.move(y, sign * alpha, settings["mode"])
        image = base if alpha == 0 else system.image(system.decode(z_T, moved, steps))
        values = measure(image, base, box, voxel_ml)
        values["logit_asked"] = direction(moved)
        values["logit_decoded"] = direction(system.y_sem(image))
        columns = {name: value.cpu().numpy() for name, value in values.items()}
        known = rows[["scan_id", "participant_id"]]
        frames.append(known.assign(direction=label, alpha=alpha, **columns))
    return frames


def summarise(scans: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Means of the measures and of their changes from alpha = 0, with intervals over subjects."""
    rows = []
    for label, part in scans.groupby("direction", sort=False):
        levels = {alpha: level.set_index("scan_id") for alpha, level in part.groupby("alpha")}
        base = levels[0.0]
        bootstrap = ClusterBootstrap(base["participant_id"], resamples, seed)
        size = {"n_scans": bootstrap.size, "n_subjects": bootstrap.clusters}
        for alpha, level in levels.items():
            for name in MEASURES:
                key = {"direction": label, "alpha": alpha}
                value, start = level.loc[base.index, name], base[name]
                rows.append(key | {"metric": name} | bootstrap.mean(value).row("value") | size)
                change = bootstrap.difference(value, start).row("value")
                rows.append(key | {"metric": f"change_{name}"} | change | size)
    return pd.DataFrame(rows)


def manipulation_examples(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    classifier: str | Path,
    examples: str | Path,
    progression: str | Path,
    progression_reverse: str | Path,
    cfg: dict[str, Any],
    subjects: dict[str, str | None],
) -> None:
    """Volumes of Figures 6 and 7 for one test scan of each class.

    Args:
        system, volumes, embeddings, classifier: As in :func:`evaluate_manipulation`.
        examples: npz (Figure 7): scan_id, participant_id, source, target (2,), alpha, original,
            reconstruction (alpha = 0), manipulated (2, X, Y, Z), spacing; first AD to CN.
        progression: npz (Figure 6, AD to CN): scan_id, source, target, original, alphas, volumes
            (A, X, Y, Z), spacing. ``progression_reverse``: the same for CN to AD.
        cfg: Section ``evaluation``.
        subjects: ``figures.subjects``; a class not named there shows its first test participant.
    """
    store, settings = system.volume_store(volumes), cfg["manipulation"]
    direction, steps = Direction.load(classifier, system.compute.device), settings["ddim_steps"]
    negative, positive = direction.classes
    test = store.index.loc[store.rows("test")]
    alphas = [float(alpha) for alpha in settings["alphas"]]
    found: dict[str, list[np.ndarray]] = {
        name: [] for name in ("original", "reconstruction", "manipulated")
    }
    order = ((positive, negative, -1, progression), (negative, positive, 1, progression_reverse))
    shown = []
    for source, target, sign, path in order:
        scan = example_scans(test, {source: subjects.get(source)}).iloc[0]
        shown.append(scan)
        x = store.volumes(np.array([scan["row"]]))
        y = system.compute.move(
            torch.from_numpy(system.stored_codes(embeddings, pd.Series([scan["scan_id"]]))).float()
        )
        z_T = system.encode_zT(system.encode_z(x), y, steps)
        strengths = sorted({0.0, float(settings["alpha"]), *alphas})
        many = y.expand(len(strengths), -1)
        moved = direction.move(many, sign * torch.tensor(strengths), settings["mode"])
        starts = z_T.expand(len(strengths), *z_T.shape[1:])
        decoded = as_arrays(system.images(starts, moved, steps, cfg["batch_size"]))
        image = dict(zip(strengths, decoded, strict=True))
        found["original"].append(as_arrays(x)[0])
        found["reconstruction"].append(image[0.0])
        found["manipulated"].append(image[float(settings["alpha"])])
        save_arrays(
            path,
            scan_id=scan["scan_id"],
            source=source,
            target=target,
            original=found["original"][-1],
            alphas=np.array(alphas),
            volumes=np.stack([image[alpha] for alpha in alphas]),
            spacing=store.spacing,
        )
    save_arrays(
        examples,
        scan_id=[scan["scan_id"] for scan in shown],
        participant_id=[scan["participant_id"] for scan in shown],
        source=[positive, negative],
        target=[negative, positive],
        alpha=float(settings["alpha"]),
        spacing=store.spacing,
        **{name: np.stack(volumes) for name, volumes in found.items()},
    )
