"""Scanner probes: what codes tell of site and scanner before and after ComBat, and its cost.

Codes that tell the site are no fault by themselves: people of sites differ, too. They are a danger
where a target differs between sites (:mod:`ldae.evaluation.scanner.confounding`). Probes are those
of all targets, on the frozen split.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, Draws, Statistic
from ldae.evaluation.probes.evaluate import too_few
from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData, load_probe_data
from ldae.evaluation.probes.labels import labels_of
from ldae.evaluation.probes.linear import fit_classifier
from ldae.evaluation.probes.statistics import statistics
from ldae.evaluation.probes.target_table import AGE, CONTINUOUS, DIAGNOSIS, Target, make_target
from ldae.evaluation.probes.targets import fit, predict, truth_columns
from ldae.evaluation.scanner.combat import ComBat, is_estimable
from ldae.evaluation.scanner.groups import Groups, column_of, large_groups
from ldae.evaluation.scanner.permutation import SubjectPermutations, permutation_p
from ldae.files import read_table, write_table
from ldae.seeds import derive_seed

METRIC = "balanced_accuracy"
NONE, COMBAT = "none", "combat"
INSEPARABLE = "not harmonised: in training a covariate tells the value, or does not vary"
TOLD = [
    "column", "system", "harmonised", "metric", "value", "ci_low", "ci_high", "chance", "null_low",
    "null_high", "p", "n_classes", "n_training", "n_scans", "n_subjects", "n_unknown", "note",
]  # fmt: skip
COST = [
    "column", "system", "target", "metric", "before", "after", "difference", "ci_low", "ci_high",
    "p", "n_scans", "n_subjects", "note",
]  # fmt: skip


def evaluate_scanner(
    sources: Mapping[str, Any],
    out: Mapping[str, str | Path],
    cfg: Mapping[str, Any],
    classes: tuple[str, str],
    seed: int,
) -> None:
    """Write what codes tell of every column of the scanner, and the cost of harmonising it.

    Args:
        sources: ``embeddings`` (system to file), ``latents`` (folder), ``pca``, ``volumes``,
            ``visits`` (scans.tsv), ``acquisitions``; as for
            :class:`ldae.evaluation.probes.evaluate.Sources`.
        out: TSV files to write:

            - ``scanner``: columns :data:`TOLD`. Balanced accuracy of a probe of the column, with
              its value by chance, the central 95 % of it for labels permuted between test subjects
              (``null_low``, ``null_high``), and the share of permutations that reach it (``p``);
            - ``cost``: columns :data:`COST`. Scores of the column itself and of diagnosis and age
              on the same scans, after harmonisation less before.
        cfg: Keys ``scanner``, ``probes`` and ``bootstrap`` of section ``evaluation``.
        classes: Negative and positive diagnosis.
        seed: Of folds, PCA, resamples and permutations.

    Raises:
        UserError: a system or a column does not exist.
    """
    settings = cfg["scanner"]
    data = load_probe_data(
        sources["latents"],
        dict(sources["embeddings"]),
        seed,
        {"volumes": sources["volumes"]},
        pca=sources["pca"],
    )
    lacking = [name for name in settings["systems"] if name not in data.features]
    require(
        not lacking,
        f"evaluation.scanner.systems: there is no {', '.join(lacking)}; there are "
        f"{', '.join(data.features)}.",
    )
    data = ProbeData(data.table, {name: data.features[name] for name in settings["systems"]})
    visits, acquisitions = (read_table(sources[key]) for key in ("visits", "acquisitions"))
    told: list[dict] = []
    cost: list[dict] = []
    for name in settings["columns"]:
        values = column_of(name, data.table, acquisitions, visits)
        for rows, more in scanner_rows(name, values, data, visits, cfg, classes, seed):
            told += rows
            cost += more
    for rows, columns, path in ((told, TOLD, out["scanner"]), (cost, COST, out["cost"])):
        whole = [name for name in columns if name.startswith("n_")]
        write_table(pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(whole, "Int64")), path)


def scanner_rows(
    name: str,
    values: pd.Series,
    data: ProbeData,
    visits: pd.DataFrame,
    cfg: Mapping[str, Any],
    classes: tuple[str, str],
    seed: int,
) -> Iterator[tuple[list[dict], list[dict]]]:
    """Rows of both tables for one column, by system; one row with a note if it has no two values.

    Args:
        name: The column.
        values: Its values for the scans of ``data``.
        data: Scans and features.
        visits: participant_id, months and diagnosis of every visit.
        cfg, classes, seed: As for :func:`evaluate_scanner`.
    """
    settings = cfg["scanner"]
    groups = large_groups(name, values, data.table, settings["min_subjects"])
    if groups.note:
        row = {"column": name, "metric": METRIC, "n_unknown": groups.unknown, "note": groups.note}
        yield [row], [{"column": name, "note": groups.note}]
        return
    table, known = data.table, groups.known
    part = data.where(known)
    member = groups.value[known].astype(str)
    about = {"column": name, "metric": METRIC, "chance": 1 / len(groups.names)}
    about |= {"n_classes": len(groups.names), "n_unknown": groups.unknown}
    about["note"] = _left_out(groups, table)
    harmonising = settings["harmonise"] == COMBAT
    beside = {
        target: covariates_of(part.table, settings["covariates"], target) for target in (None, AGE)
    }
    training = part.table["split"].isin(TRAINING).to_numpy()
    lost = harmonising and not all(
        is_estimable(member[training], one[training]) for one in beside.values()
    )
    for system, x in part.features.items():
        forms = {NONE: {None: x}}
        if harmonising and not lost:
            forms[COMBAT] = {
                target: harmonised(x, member, training, one) for target, one in beside.items()
            }
        rows: list[dict] = []
        drawn: dict[str, Draws] = {}
        for form, made in forms.items():
            row, drawn[form] = told_groups(made[None], member, part.table, groups.names, cfg, seed)
            rows.append(about | {"system": system, "harmonised": form} | row)
        more: list[dict] = []
        if lost:
            more.append({"column": name, "system": system, "note": INSEPARABLE})
        elif harmonising:
            gap = _gap(drawn[NONE], drawn[COMBAT]) | {"target": name, "metric": METRIC}
            size = {key: rows[0][key] for key in ("n_scans", "n_subjects")}
            more.append({"column": name, "system": system} | gap | size)
            for target in _clinical(classes):
                after = forms[COMBAT][AGE if target.name == AGE else None]
                found = cost_of(target, x, after, part.table, visits, cfg, seed)
                more.append({"column": name, "system": system, "target": target.name} | found)
        yield rows, more


def _clinical(classes: tuple[str, str]) -> tuple[Target, Target]:
    diagnosis = make_target(DIAGNOSIS, {"kind": "binary", "classes": list(classes)})
    return diagnosis, make_target(AGE, {"kind": CONTINUOUS})


def _left_out(groups: Groups, table: pd.DataFrame) -> str | None:
    """A note on values with too few people, whose scans are left out."""
    if not groups.small:
        return None
    lost = len(table) - int(groups.known.sum()) - groups.unknown
    return f"{lost} scans of {len(groups.small)} value(s) with too few people left out"


def covariates_of(table: pd.DataFrame, names: list[str], target: str | None) -> np.ndarray:
    """Covariates (N, c) of ComBat, without the target and without one that never varies.

    Of the test scans the target would tell the answer. The diagnosis is never a covariate, for that
    reason.
    """
    columns = {"age": table["age"].to_numpy(float), "sex": (table["sex"] == "M").to_numpy(float)}
    kept = [columns[name] for name in names if name != target and np.ptp(columns[name]) > 0]
    return np.column_stack(kept) if kept else np.empty((len(table), 0))


def harmonised(
    x: np.ndarray, member: np.ndarray, training: np.ndarray, covariates: np.ndarray
) -> np.ndarray:
    """Features after ComBat, fitted on training scans."""
    fitted = ComBat.fit(x[training], member[training], covariates[training])
    return fitted.apply(x, member, covariates)


def balanced_accuracy(truth: np.ndarray, predicted: np.ndarray, classes: tuple) -> Statistic:
    """Mean recall over the classes that a resample has.

    With many small sites nearly every resample lacks one; the mean over all classes would then be
    undefined.

    Args:
        truth, predicted: (N,) classes.
        classes: All classes.
    """
    one_hot = np.stack([truth == one for one in classes], axis=1).astype(float)
    hit = one_hot * (truth == predicted)[:, None]

    def statistic(weights: np.ndarray) -> np.ndarray:
        total, right = weights @ one_hot, weights @ hit
        there = total > 0
        recall = np.divide(right, total, out=np.zeros_like(right), where=there)
        return recall.sum(axis=1) / there.sum(axis=1)

    return statistic


def told_groups(
    x: np.ndarray,
    member: np.ndarray,
    table: pd.DataFrame,
    names: tuple[str, ...],
    cfg: Mapping[str, Any],
    seed: int,
) -> tuple[dict, Draws]:
    """How well a probe tells the groups of the test scans: a row of :data:`TOLD`, and the draws.

    The class predicted is that whose probability exceeds its share of the training scans most: the
    rule with the best balanced accuracy. The most probable class would be the largest site.

    Args:
        x: (N, d) features.
        member: (N,) group of each scan.
        table: participant_id and split of the N scans.
        names: All groups.
        cfg, seed: As for :func:`evaluate_scanner`.
    """
    training = table["split"].isin(TRAINING).to_numpy()
    test = (table["split"] == TEST).to_numpy()
    people = table["participant_id"].to_numpy()
    model = fit_classifier(
        x[training], member[training], people[training], cfg["probes"]["cv_folds"], seed
    )
    order = model[-1].classes_
    share = np.array([(member[training] == one).mean() for one in order])
    predicted = order[np.argmax(model.predict_proba(x[test]) / share, axis=1)]
    truth = member[test]
    score = balanced_accuracy(truth, predicted, names)
    bootstrap = ClusterBootstrap(people[test], cfg["bootstrap"], seed)
    drawn = bootstrap.draws(score)
    permuted = SubjectPermutations(
        people[test], cfg["scanner"]["permutations"], derive_seed(seed, "permutations")
    )
    weight = np.ones((1, len(truth)))

    def of_labels(labels: np.ndarray) -> float:
        return float(balanced_accuracy(labels, predicted, names)(weight)[0])

    null = permuted.null(of_labels, truth)
    low, high = np.quantile(null, [0.025, 0.975])
    row = drawn.interval().row("value") | bootstrap.counts
    row |= {"null_low": low, "null_high": high, "p": permutation_p(drawn.estimate, null)}
    return row | {"n_training": len(set(people[training]))}, drawn


def _gap(before: Draws, after: Draws) -> dict[str, float]:
    gap = after - before
    row = {"before": before.estimate, "after": after.estimate} | gap.interval().row("difference")
    return row | {"p": gap.two_sided_p()}


def cost_of(
    target: Target,
    before: np.ndarray,
    after: np.ndarray,
    table: pd.DataFrame,
    visits: pd.DataFrame,
    cfg: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Scores of a target's probe before and after harmonisation, on the same test scans.

    Args:
        target: Of kind binary or continuous.
        before, after: (N, d) features.
        table, visits: The N scans, and every visit.
        cfg, seed: As for :func:`evaluate_scanner`.
    """
    labels = labels_of(target, table, visits)
    part = table[labels.known].reset_index(drop=True)
    training = part["split"].isin(TRAINING).to_numpy()
    test = (part["split"] == TEST).to_numpy()
    words = np.full(len(part), "people") if target.kind == CONTINUOUS else labels.in_words()
    note = too_few(part, words, tuple(np.unique(words)), cfg["probes"]["min_subjects"])
    if not note and target.name == DIAGNOSIS and len(np.unique(words)) < 2:
        note = "scans of one diagnosis alone"
    if note:
        return {"metric": target.headline, "note": note}
    people = part["participant_id"].to_numpy()
    bootstrap = ClusterBootstrap(people[test], cfg["bootstrap"], seed)
    drawn = []
    for x in (before[labels.known], after[labels.known]):
        model = fit(
            target, x[training], labels.values[training], people[training], cfg["probes"], seed
        )
        frame = part.loc[test, ["scan_id", "participant_id", "diagnosis"]].assign(
            **truth_columns(target, labels.values[test], labels.classes),
            **predict(target, model, x[test], labels.classes),
            corrected=np.nan,
        )
        drawn.append(bootstrap.draws(statistics(target, frame, labels.classes)[target.headline]))
    return {"metric": target.headline} | _gap(*drawn) | bootstrap.counts
