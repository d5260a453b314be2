"""Manipulated scans against the true counterfactual: the same head with the other atrophy.

Only for synthetic cohorts; :mod:`ldae.ground_truth.counterfactual_heads` makes the truth.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.evaluation.examples import as_arrays
from ldae.evaluation.metrics.image import brain_mask, ssim_map
from ldae.evaluation.metrics.volumes import Regions, soft_volumes, weighted
from ldae.evaluation.probes.direction import Direction, LinearModel
from ldae.files import save_arrays, write_table
from ldae.ground_truth.counterfactual_tables import differences, summarise
from ldae.inference.ldae_system import LdaeSystem
from ldae.progress import Progress

REGIONS = ("brain", "ventricles", "hippocampus", "elsewhere")


@dataclass(frozen=True)
class Case:
    """Real scans and their counterfactuals, (B, 1, X, Y, Z) in [0, 1] each.

    Attributes:
        original, truth: The scan and its true counterfactual.
        start, decoded: The autoencoder's reconstructions of the two.
    """

    original: Tensor
    truth: Tensor
    start: Tensor
    decoded: Tensor


def compare(
    image: Tensor, base: Tensor, case: Case, regions: Regions
) -> dict[tuple[str, str], Tensor]:
    """How near an image comes to the true counterfactual, region by region of the real brain.

    Args:
        image: The image judged, (B, 1, X, Y, Z) in [0, 1].
        base: What it was before it was moved.
        case: What it is judged against.
        regions: On the same grid.

    Returns:
        (region, metric) to (B,): ``mse`` and ``ssim`` (local, mean over the region) to the truth,
        ``mse_to_ae`` and ``ssim_to_ae`` to the autoencoder's reconstruction of it, and
        ``change_correlation``, the correlation over the region's voxels of the change shown (image
        less base) with the true one (decoded less start), nan where nothing changes; for the
        region ``brain`` also ``ventricle_change`` and ``hippocampus_change``: soft volumes (ml) of
        image less base.
    """
    truth, decoded = case.truth, case.decoded
    brain = brain_mask(case.original).float()
    found = {}
    local, local_ae = ssim_map(truth, image), ssim_map(decoded, image)
    for region in REGIONS:
        weight = brain if region == "brain" else brain * regions[region]
        values = {
            "mse": weighted((image - truth) ** 2, weight),
            "mse_to_ae": weighted((image - decoded) ** 2, weight),
            "ssim": weighted(local, weight),
            "ssim_to_ae": weighted(local_ae, weight),
            "change_correlation": correlation(image - base, decoded - case.start, weight),
        }
        found |= {(region, name): value for name, value in values.items()}
    after, before = (soft_volumes(x, base, regions) for x in (image, base))
    for name, value in after.items():
        found["brain", name.replace("_ml", "_change")] = value - before[name]
    return found


def correlation(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Weighted correlation of voxels, (B,); nan where one of the two does not vary."""
    first, second, weight = (x.double() for x in (first, second, weight))
    first = first - weighted(first, weight).view(-1, 1, 1, 1, 1)
    second = second - weighted(second, weight).view(-1, 1, 1, 1, 1)
    spread = weighted(first**2, weight) * weighted(second**2, weight)
    value = weighted(first * second, weight) / spread.sqrt()
    return torch.where(spread > 0, value, torch.nan)


def evaluate_counterfactual(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    classifier: str | Path,
    age_regressor: str | Path,
    counterfactuals: str | Path,
    scans: str | Path,
    table: str | Path,
    difference_table: str | Path,
    examples: str | Path,
    cfg: dict[str, Any],
    seed: int,
) -> None:
    """Move scans towards the other class and compare with what they would truly look like.

    Methods: ``none`` (the reconstruction, nothing moved); the ways of :meth:`Direction.variants` at
    each alpha; ``true_code``, y_sem of the true counterfactual with the scan's own z_T (what the
    encoder sees of the truth); ``autoencoder``, the autoencoder's reconstruction of the true
    counterfactual (the best that any code could do); ``truth``, the counterfactual itself.

    Args:
        system, volumes, embeddings: As in the reconstruction.
        classifier, age_regressor: Of the probes.
        counterfactuals: npz of :func:`ldae.ground_truth.counterfactual_heads.make_counterfactuals`.
        scans: Per-scan table: scan_id, participant_id, direction, method, alpha (nan where there
            is none), region, metric, value; metrics of :func:`compare`.
        table: direction, method, alpha, region, metric, value, ci_low, ci_high, n_scans,
            n_subjects.
        difference_table: Paired differences with ``none`` and, at the same alpha, with ``random``.
        examples: npz of one scan a direction: scan_id, source, target (2,), alpha, original,
            reconstruction, manipulated (plain, at ``manipulation.alpha``), counterfactual
            (2, X, Y, Z), spacing.
        cfg: Section ``evaluation`` (``manipulation``, ``batch_size``, ``bootstrap``).
        seed: Of the random directions and the resamples.

    Raises:
        UserError: a counterfactual is of a scan that the store does not have.
    """
    store, settings = system.volume_store(volumes), cfg["manipulation"]
    device = system.compute.device
    direction, age = Direction.load(classifier, device), LinearModel.load(age_regressor, device)
    regions = Regions.on(store.affine, store.shape, device)
    with np.load(counterfactuals) as file:
        truths = torch.from_numpy(file["volumes"])
        names = ("scan_id", "source", "target")
        known = pd.DataFrame({name: file[name].astype(str) for name in names})
    place = store.index.reset_index().set_index("scan_id")
    lacking = [name for name in known["scan_id"] if name not in place.index]
    require(
        not lacking,
        f"{counterfactuals} holds scans that {volumes} lacks; delete it to make it again.",
    )
    known["participant_id"] = place.loc[known["scan_id"], "participant_id"].to_numpy()
    known["at"] = place.loc[known["scan_id"], "row"].to_numpy()
    known["direction"] = known["source"] + " to " + known["target"]
    codes = torch.from_numpy(system.stored_codes(embeddings, known["scan_id"])).float()
    frames, shown = [], {}
    progress = Progress("counterfactuals", len(known))
    for part in batches(len(known), cfg["batch_size"]):
        rows = known.iloc[part]
        sign = torch.tensor([1.0 if t == direction.classes[1] else -1.0 for t in rows["target"]])
        y, truth = (system.compute.move(x[part]) for x in (codes, truths))
        original = system.compute.move(store.volumes(rows["at"].to_numpy()))
        steps = direction.variants(age, settings["mode"], rows["scan_id"].tolist(), seed)
        steps = {variant: sign.to(step)[:, None] * step for variant, step in steps.items()}
        case, made = _images(system, original, y, truth, steps, settings)
        base = made["none", None]
        for (method, alpha), image in made.items():
            first = {"autoencoder": case.start, "truth": original}.get(method, base)
            found = compare(image, first, case, regions)
            for (region, metric), values in found.items():
                key = {"method": method, "alpha": np.nan if alpha is None else alpha}
                key |= {"region": region, "metric": metric}
                about = rows[["scan_id", "participant_id", "direction"]]
                frames.append(about.assign(**key, value=values.cpu().numpy()))
        _keep(shown, rows, original, truth, base, made["plain", float(settings["alpha"])])
        progress.step(int(part[-1]) + 1)
    order = ["direction", "method", "alpha", "region", "metric", "scan_id"]
    result = pd.concat(frames).sort_values(order, ignore_index=True)
    write_table(result, scans)
    write_table(summarise(result, cfg["bootstrap"], seed), table)
    write_table(differences(result, cfg["bootstrap"], seed), difference_table)
    _save(examples, shown, float(settings["alpha"]), store)


def _images(
    system: LdaeSystem,
    original: Tensor,
    y: Tensor,
    truth: Tensor,
    variants: dict[str, Tensor],
    settings: dict[str, Any],
) -> tuple[Case, dict[tuple[str, float | None], Tensor]]:
    """What the images are judged against, and (method, alpha) to every image judged."""
    steps = settings["ddim_steps"]
    z_0, z_true = system.encode_z(original), system.encode_z(truth)
    z_T = system.encode_zT(z_0, y, steps)
    case = Case(original, truth, system.image(z_0), system.image(z_true))

    def show(code: Tensor) -> Tensor:
        return system.image(system.decode(z_T, code, steps))

    made: dict[tuple[str, float | None], Tensor] = {("none", None): show(y)}
    alphas = sorted({float(settings["alpha"]), *map(float, settings["alphas"])} - {0.0})
    for variant, step in variants.items():
        for alpha in alphas:
            made[variant, alpha] = show((y.double() + alpha * step).to(y.dtype))
    made["true_code", None] = show(system.y_sem(truth))
    made["autoencoder", None], made["truth", None] = case.decoded, truth
    return case, made


def _keep(
    shown: dict[str, dict[str, Any]],
    rows: pd.DataFrame,
    original: Tensor,
    truth: Tensor,
    base: Tensor,
    moved: Tensor,
) -> None:
    """Remember the first scan of every direction for the figure."""
    parts = (original, base, moved, truth)
    names = ("original", "reconstruction", "manipulated", "counterfactual")
    for i, row in enumerate(rows.itertuples()):
        if row.direction not in shown:
            images = {n: as_arrays(x[i : i + 1])[0] for n, x in zip(names, parts, strict=True)}
            about = {name: getattr(row, name) for name in ("scan_id", "source", "target")}
            shown[row.direction] = about | images


def _save(
    path: str | Path, shown: dict[str, dict[str, Any]], alpha: float, store: VolumeStore
) -> None:
    found = list(shown.values())
    columns = {name: np.stack([one[name] for one in found]) for name in found[0]}
    save_arrays(path, alpha=alpha, spacing=store.spacing, **columns)
