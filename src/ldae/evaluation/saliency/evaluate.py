"""Saliency of the diagnosis read-out on test scans: maps, regions, attention, and checks of them.

The read-out is the classifier of the probes on y_sem. Its maps say which voxels it uses, not which
are ill. Whether they say even that is tested: they must change with the weights
(:mod:`ldae.evaluation.saliency.random_weights`), and on a synthetic cohort lie where the true
atrophy lies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.compute import Compute
from ldae.data.volume_store import VolumeStore
from ldae.dependencies import as_restored
from ldae.errors import require
from ldae.evaluation.metrics.image import brain_mask
from ldae.evaluation.probes.direction import Direction
from ldae.evaluation.saliency.agreement import rank_correlation, sizes, truth_scores
from ldae.evaluation.saliency.attributions import ReadOut, slice_encoder
from ldae.evaluation.saliency.random_weights import ALL, IMAGE, TRAINED, randomised
from ldae.evaluation.saliency.regions import RegionSet, region_set
from ldae.evaluation.saliency.tables import SCAN, attention_table, check_table, region_table
from ldae.evaluation.saliency.views import (
    GRADIENTS,
    METHODS,
    Views,
    reference_volume,
    slice_positions,
    test_scans,
)
from ldae.files import save_arrays, write_table
from ldae.models.loading import load_encoder
from ldae.models.training_scans import require_fit
from ldae.nets.execution import apply_execution_options
from ldae.nets.semantic_encoder import SemanticEncoder, initial_encoder
from ldae.nets.slice_attention import slice_attention
from ldae.seeds import derive_seed


@dataclass(frozen=True)
class Case:
    """What is compared with a scan's maps.

    Attributes:
        about: scan_id, participant_id and diagnosis.
        brain: (X, Y, Z) bool.
        change: True change of each voxel between the two diagnoses, (X, Y, Z); None: not known.
        fwhm, spacing: As in :func:`ldae.evaluation.saliency.agreement.sizes`.
    """

    about: dict[str, str]
    brain: np.ndarray
    change: np.ndarray | None
    fwhm: float
    spacing: float

    def sizes(self, values: np.ndarray) -> np.ndarray:
        """Sizes (N,) of a map or a change at the voxels of the brain, as they are compared."""
        return sizes(values, self.brain, self.fwhm, self.spacing)

    @cached_property
    def change_sizes(self) -> np.ndarray | None:
        """Sizes (N,) of the true change; every map is compared with them."""
        return None if self.change is None else self.sizes(self.change)


def evaluate_saliency(
    model: str | Path,
    volumes: str | Path,
    classifier: str | Path,
    tissues: Mapping[str, str | Path],
    counterfactuals: str | Path | None,
    outputs: Mapping[str, str | Path],
    cfg: Mapping[str, Any],
    device: str,
    threads: int,
    seed: int,
) -> None:
    """Map the diagnosis read-out of test scans of both classes, and check the maps.

    Args:
        model: Folder of the LDAE.
        volumes: Folder of the volume store.
        classifier: ``classifier.npz`` of the probes.
        tissues: MNI's probability maps, ``grey`` and ``white``.
        counterfactuals: npz of :func:`ldae.ground_truth.counterfactual_heads.make_counterfactuals`;
            None: the truth is not known.
        outputs: Files to write: ``maps`` (npz of class means, for the figure), ``regions``,
            ``checks`` and, of an encoder with a branch of slices, ``attention`` (tables of
            :mod:`ldae.evaluation.saliency.tables`).
        cfg: Section ``evaluation`` (``saliency``, ``bootstrap``).
        device: ``cuda`` or ``cpu``.
        threads: CPU threads.
        seed: Seed of the random weights and the resamples.

    Raises:
        UserError: a file is missing, the model does not fit the store, or a class has no test scan.
    """
    settings, resamples = cfg["saliency"], cfg["bootstrap"]
    compute, store = Compute.prepare(device, threads, "fp32"), VolumeStore(volumes)
    encoder, card = load_encoder(model)
    require_fit(store, card, model)
    slices = slice_encoder(encoder)
    # Recomputed activations keep a pass of full-size volumes within a GPU's memory.
    recomputed = compute.cuda and slices is not None and not slices.batch_norms
    encoder = compute.place(apply_execution_options(encoder, {"checkpointing": recomputed})).eval()
    direction = Direction.load(classifier, compute.device)
    chosen = test_scans(store, direction.classes, settings["max_scans"])
    regions = region_set(store.affine, store.shape, tissues, settings["atlas"])
    x = [compute.move(store.volumes(np.array([row]))) for row in chosen.index]
    brain = torch.stack([brain_mask(one)[0, 0] for one in x])
    reference = reference_volume(store, settings["reference"], direction.classes[0])
    views = Views(
        x=x,
        reference=compute.move(reference),
        edge=max(1, round(settings["block"] / store.spacing)),
        steps=settings["steps"],
    )
    cases = _cases(chosen, x, brain, counterfactuals, settings["fwhm"], store.spacing)
    read_out = ReadOut(encoder, direction)
    maps = {method: list(views.maps(read_out, method)) for method in METHODS}
    trained = _sizes(cases, maps)
    found = [_compared(cases, trained, trained, TRAINED, 0)]
    image = [(one - views.reference)[0, 0].cpu().numpy() for one in x]
    alone = dict.fromkeys(METHODS, _sizes(cases, {IMAGE: image})[IMAGE])
    found.append(_compared(cases, alone, trained, IMAGE, 0))
    architecture = as_restored(card["architecture"])
    for draw in range(settings["draws"]):
        drawn = derive_seed(seed, "saliency", draw)
        fresh = compute.place(initial_encoder(architecture, drawn)).eval().requires_grad_(False)
        for level, random in randomised(read_out, fresh, drawn):
            methods = METHODS if level == ALL else (GRADIENTS,)
            there = _sizes(cases, {method: views.maps(random, method) for method in methods})
            found.append(_compared(cases, there, trained, level, draw))
    write_table(region_table(_totals(cases, maps, regions), resamples, seed), outputs["regions"])
    if "attention" in outputs:
        require(
            slices is not None,
            f"The model in {model} has no branch of slices, so it has no attention over them. Set "
            "ldae.encoder.kind to what it was trained with.",
        )
        places = slice_positions(store, slices.plane)
        table = attention_table(chosen, _attention(slices, x), places, resamples, seed)
        write_table(table, outputs["attention"])
    write_table(check_table(pd.concat(found), resamples, seed), outputs["checks"])
    _save_maps(outputs["maps"], direction.classes, cases, x, maps, store)


def _attention(slices: SemanticEncoder, x: list[Tensor]) -> dict[str, np.ndarray]:
    """Attention weights (N, L) of N scans by kind: ``summary``, and ``heads``, their mean."""
    found = [slice_attention(slices, one) for one in x]
    return {
        "summary": torch.cat([one.summary for one in found]).cpu().numpy(),
        "heads": torch.cat([one.heads.mean(dim=1) for one in found]).cpu().numpy(),
    }


def _cases(
    chosen: pd.DataFrame,
    x: list[Tensor],
    brain: Tensor,
    counterfactuals: str | Path | None,
    fwhm: float,
    spacing: float,
) -> list[Case]:
    """What the maps of each scan are compared with."""
    known: dict[str, np.ndarray] = {}
    if counterfactuals is not None:
        with np.load(counterfactuals) as file:
            known = dict(zip(file["scan_id"].astype(str), file["volumes"], strict=True))
    found = []
    for one, inside, row in zip(
        x, brain.cpu().numpy(), chosen[SCAN].to_dict("records"), strict=True
    ):
        other = known.get(row["scan_id"])
        change = None if other is None else one[0, 0].cpu().numpy() - other[0]
        found.append(Case(row, inside, change, fwhm, spacing))
    return found


def _sizes(
    cases: list[Case], maps: Mapping[str, Iterable[np.ndarray]]
) -> dict[str, list[np.ndarray]]:
    """Sizes of the maps of each method, a scan at a time, as they are compared."""
    return {
        method: [case.sizes(one) for case, one in zip(cases, found, strict=True)]
        for method, found in maps.items()
    }


def _compared(
    cases: list[Case],
    sizes_of: Mapping[str, list[np.ndarray]],
    trained: Mapping[str, list[np.ndarray]],
    level: str,
    draw: int,
) -> pd.DataFrame:
    """Scores of the maps of one read-out, by their sizes: likeness to the trained one's, truth."""
    rows = []
    for method, found in sizes_of.items():
        for case, size, other in zip(cases, found, trained[method], strict=True):
            values = {}
            if case.change_sizes is not None:
                values = truth_scores(size, case.change_sizes)
            if level != TRAINED:
                values["likeness"] = rank_correlation(size, other)
            about = case.about | {"method": method, "level": level, "draw": draw}
            rows += [about | {"measure": name, "value": value} for name, value in values.items()]
    columns = [*SCAN, "method", "level", "draw", "measure", "value"]
    return pd.DataFrame(rows, columns=columns)


def _totals(
    cases: list[Case], maps: Mapping[str, list[np.ndarray]], regions: RegionSet
) -> pd.DataFrame:
    """Attribution in every region of every scan, for :func:`region_table`."""
    rows = []
    for method, found in maps.items():
        for case, own in zip(cases, found, strict=True):
            inside = own * case.brain
            size, part = regions.totals(np.abs(inside)), regions.totals(inside)
            voxels = regions.totals(case.brain)
            whole = {
                "whole": np.abs(inside).sum(dtype=np.float64),
                "whole_voxels": case.brain.sum(),
            }
            for number, (kind, name) in enumerate(regions.names):
                about = case.about | {"method": method, "set": kind, "region": name} | whole
                values = {"size": size[number], "part": part[number], "voxels": voxels[number]}
                rows.append(about | values)
    return pd.DataFrame(rows)


def _save_maps(
    path: str | Path,
    classes: tuple[str, str],
    cases: list[Case],
    x: list[Tensor],
    maps: Mapping[str, list[np.ndarray]],
    store: VolumeStore,
) -> None:
    """Class means for the figure: scans, maps, and the size of the true change."""
    shown: dict[str, list] = {name: [] for name in ("scan", *METHODS, "scans", "change")}
    for name in classes[::-1]:
        at = [number for number, case in enumerate(cases) if case.about["diagnosis"] == name]
        shown["scan"].append(np.mean([x[n][0, 0].cpu().numpy() for n in at], axis=0))
        for method in METHODS:
            shown[method].append(np.mean([maps[method][n] for n in at], axis=0))
        changes = [np.abs(cases[n].change) for n in at if cases[n].change is not None]
        shown["change"].append(np.mean(changes, axis=0) if changes else None)
        shown["scans"].append(len(at))
    if any(one is None for one in shown["change"]):
        del shown["change"]
    save_arrays(
        path,
        classes=classes[::-1],
        spacing=store.spacing,
        **{name: np.stack(values) for name, values in shown.items()},
    )
