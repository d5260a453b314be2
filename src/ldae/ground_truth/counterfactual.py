"""Comparison of manipulated scans with the true counterfactual: the same head, other atrophy.

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
from ldae.evaluation.metrics.image import brain_mask
from ldae.evaluation.metrics.volumes import Regions, soft_volumes, weighted
from ldae.evaluation.probes.direction import Direction, LinearModel
from ldae.files import save_arrays, write_table
from ldae.ground_truth.counterfactual_tables import differences, summarise
from ldae.inference.ldae_system import LdaeSystem
from ldae.inference.shared_estimate import SharedEstimate
from ldae.progress import Progress
from ldae.ssim import ssim_map

REGIONS = ("brain", "ventricles", "hippocampus", "elsewhere")


@dataclass(frozen=True)
class Case:
    """Real scans and their counterfactuals, (B, 1, X, Y, Z) in [0, 1] each.

    Attributes:
        original: The scan.
        truth: Its true counterfactual.
        start: The autoencoder's reconstruction of the scan.
        decoded: The autoencoder's reconstruction of the true counterfactual.
    """

    original: Tensor
    truth: Tensor
    start: Tensor
    decoded: Tensor


def compare(
    image: Tensor, base: Tensor, case: Case, regions: Regions
) -> dict[tuple[str, str], Tensor]:
    """Compare images with the true counterfactual, by region of the real brain.

    Args:
        image: Images to compare, (B, 1, X, Y, Z) in [0, 1].
        base: The same images before the manipulation.
        case: The real scans and their counterfactuals.
        regions: Regions on the same grid.

    Returns:
        (region, metric) to (B,). Metrics: ``mse`` and ``ssim`` (local, mean over the region) to the
        truth; ``mse_to_ae`` and ``ssim_to_ae`` to the autoencoder's reconstruction of the truth;
        ``change_correlation``, the correlation over the region's voxels of the change of the image
        (image less base) with the true change (decoded less start), nan where nothing changes. The
        region ``brain`` also has ``ventricle_change`` and ``hippocampus_change``: soft volumes (ml)
        of image less base.
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
    """Weighted correlation (B,) of volumes (B, 1, X, Y, Z); nan where one does not vary."""
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
    """Move scans towards the other class and compare them with their true counterfactuals.

    Methods, in the tables:

    - ``none``: the reconstruction without manipulation.
    - ``plain``, ``orthogonal``, ``random``: the variants of :meth:`Direction.variants`, at each
      alpha.
    - ``true_code``: decoded from y_sem of the true counterfactual and the scan's own z_T. It shows
      how much of the truth the encoder captures.
    - ``autoencoder``: the autoencoder's reconstruction of the true counterfactual, the best that
      any code could achieve.
    - ``truth``: the counterfactual itself.

    Args:
        system, volumes, embeddings: As in
            :func:`ldae.evaluation.reconstruction.evaluate_reconstruction`.
        classifier, age_regressor: ``classifier.npz`` and ``age_regressor.npz`` of the probes.
        counterfactuals: npz of :func:`ldae.ground_truth.counterfactual_heads.make_counterfactuals`.
        scans: Per-scan TSV to write: scan_id, participant_id, direction, method, alpha (n/a for
            methods without one), region, metric, value; metrics of :func:`compare`.
        table: TSV to write: direction, method, alpha, region, metric, value, ci_low, ci_high,
            n_scans, n_subjects.
        difference_table: TSV to write: paired differences with ``none`` and, at the same alpha,
            with ``random``.
        examples: npz to write, one scan per direction: scan_id, source, target (2,), alpha,
            original, reconstruction, manipulated (``plain``, at ``manipulation.alpha``),
            counterfactual (2, X, Y, Z), spacing.
        cfg: Section ``evaluation`` (``manipulation``, ``batch_size``, ``bootstrap``).
        seed: Seed of the random directions and the resamples.

    Raises:
        UserError: the store lacks the scan of a counterfactual.
    """
    settings = cfg["manipulation"]
    system = system.with_solver(settings["solver"])
    store = system.volume_store(volumes)
    device = system.compute.device
    direction, age = Direction.load(classifier, device), LinearModel.load(age_regressor, device)
    regions = Regions.on(store.affine, store.shape, device)
    with np.load(counterfactuals) as file:
        truths = torch.from_numpy(file["volumes"])
        names = ("scan_id", "source", "target")
        known = pd.DataFrame({name: file[name].astype(str) for name in names})
    by_scan = store.index.reset_index().set_index("scan_id")
    lacking = [name for name in known["scan_id"] if name not in by_scan.index]
    require(
        not lacking,
        f"{counterfactuals} holds scans that {volumes} lacks. Delete {counterfactuals}, so that "
        "it is made again.",
    )
    known["participant_id"] = by_scan.loc[known["scan_id"], "participant_id"].to_numpy()
    known["at"] = by_scan.loc[known["scan_id"], "row"].to_numpy()
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
        scans_of_part = rows["scan_id"].tolist()
        case, images = _images(system, scans_of_part, original, y, truth, steps, settings)
        base = images["none", None]
        for (method, alpha), image in images.items():
            before = {"autoencoder": case.start, "truth": original}.get(method, base)
            found = compare(image, before, case, regions)
            for (region, metric), values in found.items():
                key = {"method": method, "alpha": np.nan if alpha is None else alpha}
                key |= {"region": region, "metric": metric}
                identity = rows[["scan_id", "participant_id", "direction"]]
                frames.append(identity.assign(**key, value=values.cpu().numpy()))
        _keep_example(shown, rows, original, truth, base, images["plain", float(settings["alpha"])])
        progress.step(int(part[-1]) + 1)
    order = ["direction", "method", "alpha", "region", "metric", "scan_id"]
    result = pd.concat(frames).sort_values(order, ignore_index=True)
    write_table(result, scans)
    write_table(summarise(result, cfg["bootstrap"], seed), table)
    write_table(differences(result, cfg["bootstrap"], seed), difference_table)
    _save_examples(examples, shown, float(settings["alpha"]), store)


def _images(
    system: LdaeSystem,
    scan_ids: list[str],
    original: Tensor,
    y: Tensor,
    truth: Tensor,
    variants: dict[str, Tensor],
    settings: dict[str, Any],
) -> tuple[Case, dict[tuple[str, float | None], Tensor]]:
    """The true counterfactuals, and the images to compare with them by (method, alpha)."""
    steps = settings["ddim_steps"]
    z_0, z_true = system.encode_z(original), system.encode_z(truth)
    z_T, shared = system.invert(scan_ids, z_0, y, steps), SharedEstimate()
    case = Case(original, truth, system.image(z_0), system.image(z_true))

    def show(code: Tensor) -> Tensor:
        return system.image(system.decode(z_T, code, steps, shared))

    images: dict[tuple[str, float | None], Tensor] = {("none", None): show(y)}
    alphas = sorted({float(settings["alpha"]), *map(float, settings["alphas"])} - {0.0})
    for variant, step in variants.items():
        for alpha in alphas:
            images[variant, alpha] = show((y.double() + alpha * step).to(y.dtype))
    images["true_code", None] = show(system.y_sem(truth))
    images["autoencoder", None], images["truth", None] = case.decoded, truth
    return case, images


def _keep_example(
    shown: dict[str, dict[str, Any]],
    rows: pd.DataFrame,
    original: Tensor,
    truth: Tensor,
    base: Tensor,
    moved: Tensor,
) -> None:
    """Add the first scan of every direction, for the figure, to ``shown``."""
    parts = (original, base, moved, truth)
    names = ("original", "reconstruction", "manipulated", "counterfactual")
    for i, row in enumerate(rows.itertuples()):
        if row.direction not in shown:
            images = {n: as_arrays(x[i : i + 1])[0] for n, x in zip(names, parts, strict=True)}
            about = {name: getattr(row, name) for name in ("scan_id", "source", "target")}
            shown[row.direction] = about | images


def _save_examples(
    path: str | Path, shown: dict[str, dict[str, Any]], alpha: float, store: VolumeStore
) -> None:
    found = list(shown.values())
    columns = {name: np.stack([one[name] for one in found]) for name in found[0]}
    save_arrays(path, alpha=alpha, spacing=store.spacing, **columns)
