"""Linear probes on external test sets: their scores, and differences to the cohort's own test set.

The probes are those of :mod:`ldae.evaluation.probes.evaluate`: they are fitted on the same training
scans with the same seeds, so they are the same models. An external test set only adds scans to
predict.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.cohort.splits import EXTERNAL
from ldae.data.datasets import labelled
from ldae.data.store import INDEX
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, unpaired_difference
from ldae.evaluation.probes.evaluate import (
    grouped_targets,
    predict_groups,
    read_predictions,
    too_few,
)
from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData, load_probe_data
from ldae.evaluation.probes.scores import (
    COMPARED,
    REGULARISED,
    absent_row,
    by_system,
    mean_over_seeds,
    score_table,
    statistics,
)
from ldae.evaluation.probes.targets import (
    paper_age,
    paper_diagnosis,
    probe_age,
    probe_diagnosis,
)
from ldae.files import read_table, write_table
from ldae.seeds import derive_seed
from ldae.systems import TARGETS

GAPS = [
    "cohort", "reference", "target", "probe", "system", "metric", "difference", "ci_low", "ci_high",
    "n_scans", "n_subjects", "n_scans_reference", "n_subjects_reference",
]  # fmt: skip
COLUMNS = ("scan_id", "participant_id", "cohort", "split", "age", "sex")
OF_ADNI = ["paper", "paper_source"]  # columns of published values, which hold for ADNI only
NO_SCAN = (
    "none of its scans with known age and sex is in the volume store (results/cohort/ledger.tsv)"
)
Found = tuple[str, Sequence[str], ProbeData, pd.DataFrame | None, str]


def evaluate_external_probes(
    embeddings: dict[str, str | Path],
    latents: str | Path,
    own: Mapping[str, str | Path],
    cohorts: Sequence[str],
    reference: str,
    table: str | Path,
    differences: str | Path,
    cfg: dict[str, Any],
    seed: int,
    *,
    volumes: str | Path,
    visits: str | Path,
    oracle: str | Path | None = None,
    predictions: Mapping[str, list[str | Path]] | None = None,
) -> None:
    """Score the probes on each external test set, and compare with the cohort's own test set.

    Args:
        embeddings, latents, cfg, seed, volumes, visits, oracle: As for
            :func:`ldae.evaluation.probes.evaluate.evaluate_probes`.
        own: Target to ``predictions_<target>.tsv`` of the cohort's own test set.
        cohorts: Names of the external test sets.
        reference: Name of the main cohort.
        table: TSV of scores to write: cohort, and the columns of ``probes.tsv`` without the paper's
            values. A target that a test set cannot be scored on has one row without a value, and
            its note gives the reason.
        differences: TSV to write, columns :data:`GAPS`: score on the external test set less that on
            the cohort's own, for each system. Both groups of subjects are resampled.
        predictions: Target to files of predictions of the external test sets by other models.
    """
    index = read_table(Path(latents) / INDEX, COLUMNS)
    usable = index[(index["split"] == EXTERNAL) & labelled(index, "age", [])]
    rows: list[dict] = []
    gaps: list[dict] = []
    data = None
    if len(usable):
        tables = {"volumes": volumes} | ({"oracle": oracle} if oracle else {})
        data = load_probe_data(latents, embeddings, seed, tables, EXTERNAL)
    others = {
        target: [read_predictions(path) for path in paths]
        for target, paths in (predictions or {}).items()
    }
    known = read_table(visits, ("participant_id", "months", "diagnosis"))
    for cohort in cohorts:
        scans = set(usable.loc[usable["cohort"] == cohort, "scan_id"])
        if data is None or not scans:
            absent = [absent_row(target, usable[:0], NO_SCAN) for target in TARGETS]
            rows += [{"cohort": cohort} | row for row in absent]
            continue
        chosen = data.table["scan_id"].isin(scans) | data.table["split"].isin(TRAINING)
        part = data.where(chosen.to_numpy())
        for target, classes, on, predicted, note in _predicted(
            part, known, others, cfg["probes"], seed
        ):
            if predicted is None:
                found = [absent_row(target, on.table[on.table["split"] == TEST], note)]
            else:
                draws = derive_seed(seed, "external", cohort)
                found, _ = score_table(target, predicted, classes, cfg["bootstrap"], draws)
                about = {"cohort": cohort, "reference": reference}
                gaps += [
                    about | gap
                    for gap in _differences(
                        target, predicted, read_table(own[target]), classes, cfg["bootstrap"],
                        (draws, seed),
                    )
                ]  # fmt: skip
            rows += [{"cohort": cohort} | row for row in found]
    scores = pd.DataFrame(rows).drop(columns=OF_ADNI)
    write_table(scores.astype({"n_positive": "Int64"}), table)
    write_table(pd.DataFrame(gaps, columns=GAPS), differences)


def _predicted(
    data: ProbeData,
    visits: pd.DataFrame,
    others: Mapping[str, list[pd.DataFrame]],
    settings: dict[str, Any],
    seed: int,
) -> Iterator[Found]:
    """Target, classes, its scans, predictions or None, and the reason; of one external test set."""
    classes = tuple(settings["classes"])
    scans = data.table.loc[data.table["split"] == TEST, "scan_id"]
    more = {
        target: [frame[frame["scan_id"].isin(scans)] for frame in frames]
        for target, frames in others.items()
    }
    part = data.where(data.table["diagnosis"].isin(classes).to_numpy())
    note = too_few(part.table, part.table["diagnosis"].to_numpy(dtype=str), classes, 1)
    predicted = None
    if note is None:
        _, frame = probe_diagnosis(part, classes[1], settings, seed)
        frames = [frame, paper_diagnosis(part, classes[1], settings), *more.get("diagnosis", [])]
        predicted = pd.concat(frames, ignore_index=True)
    yield "diagnosis", classes, part, predicted, note or ""

    _, frame = probe_age(data, settings)
    frames = [frame, paper_age(data, settings), *more.get("age", [])]
    yield "age", classes, data, pd.concat(frames, ignore_index=True), ""

    for target, part, labels, names in grouped_targets(data, visits, settings):
        note = too_few(part.table, labels, names, settings["min_subjects"])
        predicted = None if note else predict_groups(target, part, labels, settings, seed)
        yield target, names, part, predicted, note or ""


def _differences(
    target: str,
    external: pd.DataFrame,
    own: pd.DataFrame,
    classes: Sequence[str],
    resamples: int,
    seeds: tuple[int, int],
) -> list[dict]:
    """Rows of the differences, without the cohorts; none if the own test set has no scores."""
    found, ours = by_system(external), by_system(own)
    if (REGULARISED, COMPARED) not in ours:
        return []
    first, second = (
        ClusterBootstrap(frames[REGULARISED, COMPARED][0]["participant_id"], resamples, seed)
        for frames, seed in zip((found, ours), seeds, strict=True)
    )
    size = {
        "n_scans": first.size,
        "n_subjects": first.clusters,
        "n_scans_reference": second.size,
        "n_subjects_reference": second.clusters,
    }
    rows = []
    for probe, system in found:
        theirs, mine = (
            mean_over_seeds([statistics(target, frame, classes) for frame in frames[probe, system]])
            for frames in (found, ours)
        )
        for metric, statistic in theirs.items():
            gap = unpaired_difference(first, statistic, second, mine[metric])
            about = {"target": target, "probe": probe, "system": system, "metric": metric}
            rows.append(about | gap.row("difference") | size)
    return rows
