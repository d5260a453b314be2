"""Linear probes on external test sets: their scores, and differences to the cohort's own test set.

The probes are those of :mod:`ldae.evaluation.probes.evaluate`: they are fitted on the same training
scans with the same seeds, so they are the same models. An external test set only adds scans to
predict.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.cohort.splits import EXTERNAL
from ldae.data.datasets import labelled
from ldae.data.store import INDEX
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, unpaired_difference
from ldae.evaluation.probes.evaluate import (
    VISITS,
    predict_target,
    read_predictions,
    refusal,
    too_few,
    with_columns,
)
from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData, load_probe_data
from ldae.evaluation.probes.labels import as_words, labels_of
from ldae.evaluation.probes.scores import (
    COMPARED,
    Drawn,
    absent_row,
    by_system,
    mean_over_seeds,
    score_table,
)
from ldae.evaluation.probes.statistics import statistics
from ldae.evaluation.probes.target_table import (
    DIAGNOSIS,
    MULTICLASS,
    ORDINAL,
    REGULARISED,
    STANDARD,
    Target,
    target_table,
)
from ldae.files import read_table, write_table
from ldae.seeds import derive_seed

GAPS = [
    "cohort", "reference", "target", "probe", "system", "metric", "difference", "ci_low", "ci_high",
    "n_scans", "n_subjects", "n_scans_reference", "n_subjects_reference",
]  # fmt: skip
COLUMNS = ("scan_id", "participant_id", "cohort", "split", "age", "sex")
OF_ADNI = ["paper", "paper_source"]  # columns of published values, which hold for ADNI only
NO_SCAN = (
    "none of its scans with known age and sex is in the volume store (results/cohort/ledger.tsv)"
)
OWN_TABLE = "its values come from a table of its own, which is not read for external test sets"
Found = tuple[Target, tuple, ProbeData, pd.DataFrame | None, str]


def evaluate_external_probes(
    embeddings: dict[str, str | Path],
    latents: str | Path,
    own: Mapping[str, str | Path],
    cohorts: Sequence[str],
    reference: str,
    table: str | Path,
    differences: str | Path,
    cfg: Mapping[str, Any],
    seed: int,
    *,
    volumes: str | Path,
    visits: str | Path,
    oracle: str | Path | None = None,
    predictions: Mapping[str, list[str | Path]] | None = None,
    names: Sequence[str] = STANDARD,
) -> None:
    """Score the probes on each external test set, and compare with the cohort's own test set.

    A target with a table of its own has a row that says so, without a value, and so has one whose
    column a test set lacks.

    Args:
        embeddings, latents, volumes, visits, oracle: As in
            :class:`ldae.evaluation.probes.evaluate.Sources`.
        cfg: Keys ``targets``, ``probes`` and ``bootstrap`` of section ``evaluation``.
        seed: Seed of folds, PCA and resamples.
        own: Target to ``predictions_<target>.tsv`` of the cohort's own test set.
        cohorts: Names of the external test sets.
        reference: Name of the main cohort.
        table: TSV of scores to write: cohort, and the columns of ``probes.tsv`` without the paper's
            values. A target that a test set cannot be scored on has one row without a value, and
            its note gives the reason.
        differences: TSV to write, columns :data:`GAPS`: score on the external test set less that on
            the cohort's own, for each system. Both groups of subjects are resampled.
        predictions: Target to files of predictions of the external test sets by other models.
        names: Targets to score, of those of ``cfg``; others are left out. Those of Table 7 and
            those of the user have tables of their own.
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
    known = read_table(visits, VISITS)
    table_of = target_table(cfg["targets"])
    chosen_targets = [table_of[name] for name in names if name in table_of]
    joined = [target for target in chosen_targets if target.joined]
    own_scans = index[index["split"].isin([*TRAINING, TEST]) & labelled(index, "age", [])]
    targets = [
        with_own_classes(target, with_columns(own_scans, known), known)
        for target in chosen_targets
        if not target.joined
    ]
    for cohort in cohorts:
        left_out = [absent_row(target, usable[:0], OWN_TABLE) for target in joined]
        rows += [{"cohort": cohort} | row for row in left_out]
        scans = set(usable.loc[usable["cohort"] == cohort, "scan_id"])
        if data is None or not scans:
            absent = [absent_row(target, usable[:0], NO_SCAN) for target in targets]
            rows += [{"cohort": cohort} | row for row in absent]
            continue
        chosen = data.table["scan_id"].isin(scans) | data.table["split"].isin(TRAINING)
        part = data.where(chosen.to_numpy())
        for target, classes, on, predicted, note in _predicted(
            part, known, others, targets, cfg["probes"], seed
        ):
            if predicted is None:
                found = [absent_row(target, on.table[on.table["split"] == TEST], note)]
            else:
                draws = derive_seed(seed, "external", cohort)
                ours = read_own(target, own[target.name])
                drawn = Drawn.of(target, predicted, classes, cfg["bootstrap"], draws)
                found, _ = score_table(drawn)
                about = {"cohort": cohort, "reference": reference}
                gaps += [
                    about | gap
                    for gap in _differences(
                        target, predicted, ours, classes, cfg["bootstrap"], (draws, seed)
                    )
                ]  # fmt: skip
            rows += [{"cohort": cohort} | row for row in found]
    scores = pd.DataFrame(rows).drop(columns=OF_ADNI)
    write_table(scores.astype({"n_positive": "Int64"}), table)
    write_table(pd.DataFrame(gaps, columns=GAPS), differences)


def read_own(target: Target, path: str | Path) -> pd.DataFrame:
    """Read a target's ``predictions_<target>.tsv``; classes that look like numbers become text."""
    found = read_table(path)
    named = [name for name in (target.truth, "predicted") if target.named and name in found]
    return found.assign(**{name: as_words(found[name]) for name in named})


def with_own_classes(target: Target, scans: pd.DataFrame, visits: pd.DataFrame) -> Target:
    """A target whose classes or levels are those of the cohort's own scans, if it names none.

    The probes are those of the own test set, whatever other classes an external one has.

    Args:
        target: Without a table of its own.
        scans: The cohort's own training and test scans, with the columns of scans.tsv.
        visits: Every known visit.
    """
    if target.classes or target.event or target.kind not in (MULTICLASS, ORDINAL):
        return target
    return replace(target, classes=labels_of(target, scans, visits).classes)


def unlabelled(target: Target, scans: pd.DataFrame, known: pd.DataFrame) -> str | None:
    """Why no scan of an external test set has a label, None if one has.

    Args:
        target: What to predict.
        scans: All its scans, with the target's columns.
        known: Those with a label.
    """
    if len(known) or target.event:
        return None
    columns = ", ".join(target.columns)
    if not scans[target.columns].notna().all(axis=1).any():
        return f"no scan of it has a value in column {columns}"
    return f"no scan of it has one of the target's values in column {columns}"


def _predicted(
    data: ProbeData,
    visits: pd.DataFrame,
    others: Mapping[str, list[pd.DataFrame]],
    targets: Sequence[Target],
    settings: dict[str, Any],
    seed: int,
) -> Iterator[Found]:
    """Target, classes, its scans, predictions or None, and the reason; of one external test set."""
    scans = data.table.loc[data.table["split"] == TEST, "scan_id"]
    for target in targets:
        table = with_columns(data.table, visits)
        labels = labels_of(target, table, visits)
        part = data.where(labels.known)
        lacking = unlabelled(
            target, table[table["split"] == TEST], part.table[part.table["split"] == TEST]
        )
        if lacking:
            note: str | None = lacking
        elif target.name == DIAGNOSIS:
            note = too_few(part.table, labels.in_words(), labels.classes, 1)
        else:
            note = refusal(target, part, labels, settings["min_subjects"])
        predicted = None
        if note is None:
            _, frame = predict_target(target, part, labels, settings, seed)
            more = [one[one["scan_id"].isin(scans)] for one in others.get(target.name, ())]
            predicted = pd.concat([frame, *more], ignore_index=True)
        yield target, labels.classes, part, predicted, note or ""


def _differences(
    target: Target,
    external: pd.DataFrame,
    own: pd.DataFrame,
    classes: tuple,
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
            about = {"target": target.name, "probe": probe, "system": system, "metric": metric}
            rows.append(about | gap.row("difference") | size)
    return rows
