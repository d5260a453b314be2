"""Explorer of a run: a few test people, moved through the codes of the trained models."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ldae.application.training_codes import TrainingCodes
from ldae.data.volume_store import VolumeStore
from ldae.evaluation.metrics.volumes import Regions
from ldae.evaluation.probes.direction import Direction, LinearModel
from ldae.explorer.batching import Task, run_together
from ldae.explorer.code_map import make_map
from ldae.explorer.page import MEGABYTE, grid, measures, overhead, write_page
from ldae.explorer.people import chosen_people, rule
from ldae.explorer.readings import MEASURES, Reader, plain
from ldae.explorer.series import (
    CodedScan,
    Person,
    add_manipulation,
    add_reconstruction,
    add_variations,
    add_visits,
    signed_alphas,
)
from ldae.explorer.stack_coding import encode_within
from ldae.files import read_table
from ldae.inference.ldae_system import LdaeSystem

log = logging.getLogger(__name__)

TITLE = "Explorer: test scans moved through the models' codes"
LINKS = (("Report", "report.html"),)
TOLERANCES = (1, 4, 7, 10, 13)  # of intensities, in steps of 1/255; the smallest that fits
SHARE_OF_NUMBERS = 0.05  # of the page's size, for its numbers
CAUTION = (
    "A manipulated scan shows what these models hold to go with the diagnosis. It is no forecast "
    "for a person, and where α leaves the range of the training codes (grey), the models have "
    "seen nothing like it."
)
INTERVALS = (
    "A single scan has no interval. The shaded bands are the mean change of the test scans of the "
    "manipulation's table with its 95 % interval over people, drawn from this scan's own value."
)


def build_explorer(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    classifier: str | Path,
    age_regressor: str | Path,
    training: str | Path,
    manipulation: str | Path,
    counterfactuals: str | Path | None,
    page: str | Path,
    cfg: Mapping[str, Any],
    people: int,
    samples: int,
    megabytes: float,
) -> None:
    """Compute the volumes of a few test people and write the page.

    Args:
        system, volumes, embeddings: As in
            :func:`ldae.evaluation.reconstruction.evaluate_reconstruction`.
        classifier, age_regressor: ``classifier.npz`` and ``age_regressor.npz`` of the probes.
        training: ``training.npz`` of the application bundle, for the range of the training codes.
        manipulation: ``tables/manipulation.tsv``, for the intervals.
        counterfactuals: npz of :func:`ldae.ground_truth.counterfactual_heads.make_counterfactuals`,
            of synthetic cohorts.
        page: HTML file to write.
        cfg: Section ``evaluation``.
        people: Test participants of each diagnosis (``explorer.people_per_class``).
        samples: Number of codes drawn as noise (``figures.stochastic_samples``).
        megabytes: Largest size of the page (``explorer.megabytes``); small differences are left out
            until it is kept.

    Raises:
        UserError: a file is missing, or the models, volumes and embeddings do not belong together.
    """
    store = system.volume_store(volumes)
    device = system.compute.device
    direction, age = Direction.load(classifier, device), LinearModel.load(age_regressor, device)
    regions = Regions.on(store.affine, store.shape, device)
    reader = Reader(system, direction, age, regions, cfg["batch_size"])
    codes = TrainingCodes.load(training)
    truths = _truths(counterfactuals)
    chosen = chosen_people(store.index.loc[store.rows("test")], people, truths)
    alphas = signed_alphas(cfg["manipulation"]["alphas"])
    persons, tasks = [], []
    for row in chosen.itertuples():
        person = Person(reader, _coded(reader, store, embeddings, row))
        persons.append(person)
        tasks.append(_series(person, store, embeddings, row, alphas, codes, cfg, samples))
    run_together(system, tasks, cfg["batch_size"])
    described = [
        _described(person, store, row, truths.get(row.scan_id), codes)
        for person, row in zip(persons, chosen.itertuples(), strict=True)
    ]
    moved = {person.scan.scan_id: person.series[0].readings.codes for person in persons}
    shown = list(moved)
    found, trails = make_map(system, store, embeddings, age, direction.classes, shown, moved)
    for person, about in zip(persons, described, strict=True):
        about["trail"] = trails[person.scan.scan_id]
    content = {
        "grid": grid(store.affine),
        "classes": list(direction.classes),
        "measures": measures(direction.classes[1]),
        "people": described,
        "bands": change_bands(read_table(manipulation), direction.classes),
        "map": found,
    }
    most = int(megabytes * MEGABYTE * (1 - SHARE_OF_NUMBERS)) - overhead()
    most -= len(found["pictures"]["data"])
    stacks, tolerance = encode_within([person.stack for person in persons], most, TOLERANCES)
    about = [CAUTION, INTERVALS, rule(people, bool(truths)), rounding(tolerance)]
    size = write_page(page, TITLE, about, content, stacks, LINKS) / MEGABYTE
    if size > megabytes:
        log.warning(
            "The page has %.1f MB, more than explorer.megabytes (%g), with intensities exact to "
            "±%d of 255: lower explorer.people_per_class.",
            size,
            megabytes,
            tolerance,
        )


def rounding(tolerance: int) -> str:
    """How exact the page's volumes are, in a sentence."""
    return (
        f"To keep the page small, intensities are exact to ±{tolerance} of 255; all numbers were "
        "measured before. Changes of that size are not drawn."
    )


def change_bands(table: pd.DataFrame, classes: tuple[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Mean changes of the test scans by measure and alpha, with intervals.

    Args:
        table: tables/manipulation.tsv.
        classes: The classifier's negative and positive class. Positive alphas lead to the latter.

    Returns:
        Key of the measure to entries ``alpha``, ``value``, ``low``, ``high``, ``people``, ascending
        in alpha; changes from alpha = 0.
    """
    negative, positive = classes
    plain_way = table[(table["way"] == "plain") & (table["alpha"] > 0)]
    bands = {}
    for key, measure in MEASURES.items():
        rows = []
        for source, target, sign in ((positive, negative, -1), (negative, positive, 1)):
            part = plain_way[plain_way["direction"] == f"{source} to {target}"]
            for row in part[part["metric"] == measure.change].itertuples():
                value, low, high = plain([row.value, row.ci_low, row.ci_high])
                known = {"value": value, "low": low, "high": high, "people": int(row.n_subjects)}
                rows.append({"alpha": sign * float(row.alpha), **known})
        bands[key] = sorted(rows, key=lambda row: row["alpha"])
    return bands


def _truths(counterfactuals: str | Path | None) -> dict[str, tuple[str, np.ndarray]]:
    """Target class and volume (X, Y, Z) of every true counterfactual, by scan."""
    if counterfactuals is None:
        return {}
    with np.load(counterfactuals) as file:
        names, targets = file["scan_id"].astype(str), file["target"].astype(str)
        pairs = zip(targets, file["volumes"][:, 0], strict=True)
        return dict(zip(names, pairs, strict=True))


def _coded(reader: Reader, store: VolumeStore, embeddings: str | Path, row: Any) -> CodedScan:
    """A scan of the store with its codes; ``row`` is one of its index."""
    stored = reader.system.stored_codes(embeddings, pd.Series([row.scan_id]))
    x = store.volumes(np.array([row.Index]))
    return CodedScan.of(reader.system, row.scan_id, x, torch.from_numpy(stored).float())


def _series(
    person: Person,
    store: VolumeStore,
    embeddings: str | Path,
    row: Any,
    alphas: list[float],
    codes: TrainingCodes,
    cfg: Mapping[str, Any],
    samples: int,
) -> Task:
    """All series of one person, whose shown scan is ``row`` of the store's index."""
    yield from add_manipulation(person, alphas, cfg["manipulation"], codes.logit_range)
    visits = _visits(store, row.participant_id)
    if len(visits) > 1:
        ends = [next(visits.iloc[[place]].itertuples()) for place in (0, -1)]
        first, last = (
            person.scan
            if end.scan_id == row.scan_id
            else _coded(person.reader, store, embeddings, end)
            for end in ends
        )
        months = [float(end.months) for end in ends]
        yield from add_visits(person, first, last, months, cfg["interpolation"])
    yield from add_reconstruction(person, cfg)
    if samples:
        yield from add_variations(person, samples, cfg["manipulation"], cfg["noise_seed"])


def _visits(store: VolumeStore, participant: str) -> pd.DataFrame:
    """A test participant's scans, one a month, ascending."""
    test = store.index.loc[store.rows("test")]
    mine = test[test["participant_id"] == participant].sort_values(["months", "scan_id"])
    return mine.drop_duplicates("months")


def _described(
    person: Person,
    store: VolumeStore,
    row: Any,
    truth: tuple[str, np.ndarray] | None,
    codes: TrainingCodes,
) -> dict[str, Any]:
    """A person for the page's JSON."""
    visits = _visits(store, row.participant_id)
    real = store.volumes(visits.index.to_numpy())
    read = person.reader(real)
    about = {
        "scan": row.scan_id,
        "diagnosis": row.diagnosis,
        "age": plain([row.age])[0],
        "month": plain([row.months])[0],
        "novelty": plain(codes.novelty(person.scan.y.cpu().numpy()))[0],
        "series": [series.content() for series in person.series],
        "visits": {
            "positions": plain(visits["months"]),
            "decoded": {name: plain(value) for name, value in read.decoded.items()},
        },
        "truth": None,
    }
    if truth is not None:
        target, volume = truth
        pair = torch.stack([person.scan.x[0], torch.from_numpy(volume)[None]])
        values = person.reader(pair, base=person.scan.x).decoded
        frame = person.stack.add(volume, after=0)
        changes = {name: plain([value[1] - value[0]])[0] for name, value in values.items()}
        about["truth"] = {"frame": frame, "target": target, "changes": changes}
    return about
