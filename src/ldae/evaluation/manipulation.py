"""Manipulation of y_sem along the AD/CN direction, and measures of the decoded changes.

Sections 3.7 and 5.4.1 of the paper.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.data.volume_store import VolumeStore
from ldae.evaluation.examples import as_arrays, example_scans
from ldae.evaluation.manipulation_tables import summarise, trends
from ldae.evaluation.metrics.image import brain_mask
from ldae.evaluation.metrics.volumes import Regions, soft_volumes, weighted
from ldae.evaluation.probes.direction import Direction, LinearModel
from ldae.evaluation.probes.features import TRAINING
from ldae.evaluation.probes.linear import fit_classifier
from ldae.evaluation.test_scans import spread_over_subjects
from ldae.files import save_arrays, write_table
from ldae.inference.ldae_system import LdaeSystem
from ldae.inference.shared_estimate import SharedEstimate
from ldae.progress import Progress
from ldae.ssim import ssim, ssim_map


@dataclass(frozen=True)
class Probes:
    """The linear models of y_sem that judge moved codes and decoded volumes.

    Attributes:
        direction: Classifier of AD against CN.
        age: Regressor of age in years.
        sex: Classifier of male sex; None with fewer than two training subjects of one sex.
    """

    direction: Direction
    age: LinearModel
    sex: LinearModel | None

    @classmethod
    def load(
        cls,
        classifier: str | Path,
        age_regressor: str | Path,
        system: LdaeSystem,
        store: VolumeStore,
        embeddings: str | Path,
        folds: int,
        seed: int,
    ) -> "Probes":
        """Read the probes of diagnosis and age, and fit one of sex in the same way.

        Args:
            classifier, age_regressor: ``classifier.npz`` and ``age_regressor.npz`` of
                :func:`ldae.evaluation.probes.evaluate.evaluate_target`.
            system: The trained models.
            store: The volume store; the probe of sex is fitted on its splits ``train`` and ``val``.
            embeddings: y_sem of all scans by the LDAE's encoder.
            folds: Number of inner folds (``evaluation.probes.cv_folds``).
            seed: Seed of the assignment of subjects to folds.

        Raises:
            UserError: a file of a probe does not exist, or an embedding is missing.
        """
        device = system.compute.device
        training = store.index[store.index["split"].isin(TRAINING)]
        known = training[training["sex"].isin(["M", "F"])]
        sex = None
        if known.groupby("sex")["participant_id"].nunique().reindex(["F", "M"]).ge(2).all():
            y = system.stored_codes(embeddings, known["scan_id"])
            male = (known["sex"] == "M").to_numpy()
            model = fit_classifier(y, male, known["participant_id"], folds, seed)
            sex = LinearModel.of(model, device)
        else:
            logging.warning("Fewer than two training subjects of a sex: no probe of sex.")
        return cls(Direction.load(classifier, device), LinearModel.load(age_regressor, device), sex)


def measure(images: Tensor, base: Tensor, regions: Regions) -> dict[str, Tensor]:
    """Image measures of manipulated volumes against the unmanipulated reconstruction.

    Args:
        images, base: (B, 1, X, Y, Z) in [0, 1].
        regions: Regions on the same grid.

    Returns:
        (B,) each: those of :func:`soft_volumes`; ``ssim_elsewhere``, local SSIM to ``base`` in the
        brain away from ventricles and hippocampi (a measure of preserved identity);
        ``ssim_to_unmanipulated``, SSIM to ``base`` of the whole volume.
    """
    brain = brain_mask(base)
    return soft_volumes(images, base, regions) | {
        "ssim_elsewhere": weighted(ssim_map(base, images), brain * regions.elsewhere),
        "ssim_to_unmanipulated": ssim(base, images, brain)[0],
    }


def judge(
    system: LdaeSystem, judges: Probes, moved: Tensor, image: Tensor, base: Tensor
) -> dict[str, Tensor]:
    """Apply the linear models to moved codes, and to decoded volumes after encoding them again.

    Args:
        system: The trained models.
        judges: The linear models.
        moved: Moved y_sem, (B, d).
        image: Volumes decoded from it, (B, 1, X, Y, Z).
        base: Volumes decoded from the y_sem that was not moved, (B, 1, X, Y, Z).

    Returns:
        (B,) each: ``logit_asked``, the classifier on the moved code (linear in alpha by
        construction); ``logit_decoded``, the classifier on the decoded volume, which tests whether
        the decoder follows the code; ``age_asked`` and ``age_decoded`` in years, likewise;
        ``sex_kept``, 1 where ``image`` and ``base`` have the same predicted sex, else 0 (nan
        without a probe of sex).
    """
    reencoded = system.y_sem(image)
    kept = torch.full((len(image),), torch.nan)
    if judges.sex is not None:
        kept = ((judges.sex(reencoded) > 0) == (judges.sex(system.y_sem(base)) > 0)).double()
    return {
        "logit_asked": judges.direction(moved),
        "logit_decoded": judges.direction(reencoded),
        "age_asked": judges.age(moved),
        "age_decoded": judges.age(reencoded),
        "sex_kept": kept,
    }


def evaluate_manipulation(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    classifier: str | Path,
    age_regressor: str | Path,
    scans: str | Path,
    table: str | Path,
    trend_table: str | Path,
    cfg: dict[str, Any],
    seed: int,
) -> None:
    """Move test scans of each class towards the other one and measure the changes.

    z_T comes from inversion with the scan's own y_sem and stays fixed. y_sem moves by each alpha,
    in every variant of :meth:`Direction.variants`.

    Args:
        system, volumes, embeddings: As in
            :func:`ldae.evaluation.reconstruction.evaluate_reconstruction`.
        classifier, age_regressor: ``classifier.npz`` and ``age_regressor.npz`` of the probes.
        scans: Per-scan TSV to write: scan_id, participant_id, direction (``AD to CN``), way (the
            variant: ``plain``, ``orthogonal``, ``random``), alpha and the values of :func:`measure`
            and :func:`judge`.
        table: TSV to write: direction, way, alpha, metric, value, ci_low, ci_high, n_scans,
            n_subjects. Metrics are the measures and their paired changes from alpha = 0
            (``change_<measure>``).
        trend_table: TSV to write: see :func:`ldae.evaluation.manipulation_tables.trends`.
        cfg: Section ``evaluation`` (``manipulation``, ``probes``, ``batch_size``, ``bootstrap``).
        seed: Seed of the random directions, the folds and the resamples.
    """
    settings = cfg["manipulation"]
    system = system.with_solver(settings["solver"])
    store = system.volume_store(volumes)
    folds = cfg["probes"]["cv_folds"]
    judges = Probes.load(classifier, age_regressor, system, store, embeddings, folds, seed)
    regions = Regions.on(store.affine, store.shape, system.compute.device)
    negative, positive = judges.direction.classes
    test = store.index.loc[store.rows("test")]
    frames = []
    for source, target, sign in ((positive, negative, -1), (negative, positive, 1)):
        chosen = test[test["diagnosis"] == source]
        chosen = spread_over_subjects(chosen, settings["max_scans"])
        codes = torch.from_numpy(system.stored_codes(embeddings, chosen["scan_id"])).float()
        progress = Progress(f"manipulation {source} to {target}", len(chosen))
        for part in batches(len(chosen), cfg["batch_size"]):
            rows, y = chosen.iloc[part], system.compute.move(codes[part])
            found = _measure_batch(system, store, judges, regions, rows, y, sign, settings, seed)
            frames += [frame.assign(direction=f"{source} to {target}") for frame in found]
            progress.step(int(part[-1]) + 1)
    first = ["scan_id", "participant_id", "direction", "way", "alpha"]
    result = pd.concat(frames).sort_values(["direction", "way", "alpha", "scan_id"])
    result = result[first + [name for name in result if name not in first]]
    result = result.reset_index(drop=True)
    write_table(result, scans)
    write_table(summarise(result, cfg["bootstrap"], seed), table)
    write_table(trends(result, positive, cfg["bootstrap"], seed), trend_table)


def _measure_batch(
    system: LdaeSystem,
    store: VolumeStore,
    judges: Probes,
    regions: Regions,
    rows: pd.DataFrame,
    y: Tensor,
    sign: int,
    settings: dict[str, Any],
    seed: int,
) -> list[pd.DataFrame]:
    """Rows of one batch of scans for every variant and alpha."""
    steps = settings["ddim_steps"]
    z_0 = system.encode_z(store.volumes(rows.index.to_numpy()))
    z_T, shared = system.invert(rows["scan_id"].tolist(), z_0, y, steps), SharedEstimate()
    base = system.image(system.decode(z_T, y, steps, shared))
    known = rows[["scan_id", "participant_id"]]
    frames = []
    variants = judges.direction.variants(
        judges.age, settings["mode"], rows["scan_id"].tolist(), seed
    )
    for variant, step in variants.items():
        for alpha in sorted({0.0, *map(float, settings["alphas"])}):
            moved = (y.double() + sign * alpha * step).to(y.dtype)
            image = base
            if alpha:
                image = system.image(system.decode(z_T, moved, steps, shared))
            values = measure(image, base, regions) | judge(system, judges, moved, image, base)
            columns = {name: value.cpu().numpy() for name, value in values.items()}
            frames.append(known.assign(way=variant, alpha=alpha, **columns))
    return frames


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
    """Write the volumes of Figures 6 and 7 for one test scan of each class.

    Args:
        system, volumes, embeddings, classifier: As in :func:`evaluate_manipulation`.
        examples: npz to write (Figure 7): scan_id, participant_id, source, target (2,), alpha,
            original, reconstruction (alpha = 0), manipulated (2, X, Y, Z), spacing. AD to CN comes
            first.
        progression: npz to write (Figure 6, AD to CN): scan_id, source, target, original
            (X, Y, Z), alphas (A,), volumes (A, X, Y, Z), spacing.
        progression_reverse: The same for CN to AD.
        cfg: Section ``evaluation`` (``manipulation``, ``batch_size``).
        subjects: ``figures.subjects``; a class not named there shows its first test participant.

    Raises:
        UserError: the test split has no scan of a class or of a named participant.
    """
    settings = cfg["manipulation"]
    system = system.with_solver(settings["solver"])
    store = system.volume_store(volumes)
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
        z_T = system.invert([scan["scan_id"]], system.encode_z(x), y, steps)
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
