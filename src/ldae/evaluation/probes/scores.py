"""Scores of the probes with intervals, and paired differences between systems."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.evaluation.metrics.bootstrap import (
    ClusterBootstrap,
    Statistic,
    difference_of,
    holm,
    two_sided_p,
)
from ldae.evaluation.metrics.classification import (
    auroc,
    average_precision,
    confusion_score,
    error_score,
    macro,
)
from ldae.evaluation.published_values import probe_value
from ldae.systems import TARGETS

COMPARED = "ldae"
REGULARISED, PAPER, NONE = "regularised", "paper", "none"
FAMILY = ["target", "probe", "metric"]  # p values are corrected for the number of systems within it


def statistics(target: str, frame: pd.DataFrame, classes: Sequence[str]) -> dict[str, Statistic]:
    """Every score of one system's predictions, by name, as a function of the scans' weights.

    Args:
        target: ``diagnosis``, ``age``, ``groups`` or ``conversion``.
        frame: Predictions of one probe, system and seed, with the columns of the target in
            :mod:`ldae.evaluation.probes.targets`.
        classes: Negative and positive class, or all classes of ``groups``.

    Raises:
        ValueError: the target is none of these.
    """
    if target not in ("diagnosis", "age", "groups", "conversion"):
        raise ValueError(f"no scores are defined for the target {target!r}")
    if target == "age":
        age = frame["age"].to_numpy()
        scores = {
            name: error_score(name, age, frame["predicted"].to_numpy())
            for name in ("mae", "rmse", "r2")
        }
        corrected = frame["corrected"].to_numpy(dtype=float)
        return scores | {"mae_corrected": error_score("mae", age, corrected)}
    if target == "groups":
        return _group_scores(frame, classes)
    if target == "conversion":
        truth, predicted = (frame[name].to_numpy() == 1 for name in ("converts", "predicted"))
    else:
        truth, predicted = (
            frame[name].to_numpy() == classes[1] for name in ("diagnosis", "predicted")
        )
    scores = {
        name: confusion_score(name, truth, predicted)
        for name in ("accuracy", "balanced_accuracy", "mcc", "sensitivity", "specificity")
    }
    if target == "diagnosis":
        for one in classes[::-1]:
            sign = one == classes[1]
            for name in ("precision", "recall", "f1"):
                score = confusion_score(name, truth == sign, predicted == sign)
                scores[f"{name}_{one.lower()}"] = score
    probability = frame["probability"].to_numpy()
    scores["auroc"] = auroc(truth, probability)
    scores["average_precision"] = average_precision(truth, probability)
    return scores


def _group_scores(frame: pd.DataFrame, classes: Sequence[str]) -> dict[str, Statistic]:
    truth, predicted = frame["diagnosis"].to_numpy(), frame["predicted"].to_numpy()
    recall, f1 = (
        {one: confusion_score(name, truth == one, predicted == one) for one in classes}
        for name in ("recall", "f1")
    )
    curves = [
        auroc(truth == one, frame[f"probability_{one.lower()}"].to_numpy()) for one in classes
    ]
    return {
        "accuracy": confusion_score("accuracy", truth == predicted, np.full(len(truth), True)),
        "balanced_accuracy": macro(list(recall.values())),
        "macro_f1": macro(list(f1.values())),
        "macro_auroc": macro(curves),
        **{f"recall_{one.lower()}": score for one, score in recall.items()},
    }


def _size(bootstrap: ClusterBootstrap) -> dict[str, int]:
    return {"n_scans": bootstrap.size, "n_subjects": bootstrap.clusters}


def by_system(predictions: pd.DataFrame) -> dict[tuple[str, str], list[pd.DataFrame]]:
    """Predictions by (probe, system), one table a seed; sorted by scan_id."""
    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for (probe, system, _), part in predictions.groupby(
        ["probe", "system", "seed"], sort=False, dropna=False
    ):
        part = part.sort_values("scan_id", ignore_index=True)
        found.setdefault((probe, system), []).append(part)
    return found


def mean_over_seeds(seeds: Sequence[dict[str, Statistic]]) -> dict[str, Statistic]:
    """The mean of each score over the seeds of a probe (:func:`statistics` of each)."""
    return {name: macro([one[name] for one in seeds]) for name in seeds[0]}


def score_table(
    target: str, predictions: pd.DataFrame, classes: Sequence[str], resamples: int, seed: int
) -> tuple[list[dict], list[dict]]:
    """Rows of the score table and of the paired differences for one target.

    The score of a probe trained with several seeds is their mean, in every resample. The interval
    is over subjects; ``seed_sd`` is the SD of the score over the seeds.

    Args:
        target: As in :func:`statistics`.
        predictions: probe, system, seed, scan_id, participant_id and the columns that
            :func:`statistics` reads.
        classes: As in :func:`statistics`.

    Raises:
        UserError: a system's predictions are for other scans than the LDAE's.
    """
    found = by_system(predictions)
    first = found[REGULARISED, COMPARED][0]
    bootstrap = ClusterBootstrap(first["participant_id"], resamples, seed)
    positives = {"diagnosis": lambda: first["diagnosis"] == classes[1],
                 "conversion": lambda: first["converts"] == 1}.get(target)  # fmt: skip
    count = np.nan if positives is None else int(positives().sum())
    unit_weights = np.ones((1, bootstrap.size))
    rows, scores = [], {}
    for (probe, system), frames in found.items():
        for frame in frames:
            require(
                frame["scan_id"].equals(first["scan_id"]),
                f"The predictions of {system} for {target} are not for the test scans of "
                f"{COMPARED}: {len(frame)} scans against {len(first)}. Delete their file, so that "
                "they are made again for the present splits.",
            )
        seeds = [statistics(target, frame, classes) for frame in frames]
        mean_scores = mean_over_seeds(seeds)
        scores[probe, system] = mean_scores
        for metric, statistic in mean_scores.items():
            paper, source = probe_value(target, metric, system)
            spread = (
                np.std([one[metric](unit_weights)[0] for one in seeds], ddof=1)
                if seeds[1:]
                else None
            )
            rows.append(
                {"target": target, "probe": probe, "system": system, "metric": metric}
                | bootstrap.interval(statistic).row("value")
                | _size(bootstrap)
                | {"n_positive": count, "penalty": frames[0]["penalty"].iloc[0]}
                | {"n_seeds": len(seeds), "seed_sd": spread}
                | {"paper": paper, "paper_source": source, "note": None}
            )
    return rows, _differences(target, scores, bootstrap)


def _differences(
    target: str, scores: dict[tuple[str, str], dict[str, Statistic]], bootstrap: ClusterBootstrap
) -> list[dict]:
    """The LDAE less each other system of the same probe.

    Systems without a probe (``none``) are compared with the LDAE's regularised probe.
    """
    rows = []
    for (probe, system), others in scores.items():
        own = REGULARISED if probe == NONE else probe
        if system == COMPARED or (own, COMPARED) not in scores:
            continue
        for metric, statistic in others.items():
            difference = difference_of(scores[own, COMPARED][metric], statistic)
            rows.append(
                {"target": target, "probe": own, "system": COMPARED, "reference": system}
                | {"metric": metric}
                | bootstrap.interval(difference).row("difference")
                | {"p": two_sided_p(bootstrap, difference), "p_holm": np.nan}
                | _size(bootstrap)
            )
    table = pd.DataFrame(rows)
    if rows:
        table["p_holm"] = table.groupby(FAMILY)["p"].transform(holm)
    return table.to_dict("records")


def absent_row(target: str, test: pd.DataFrame, note: str) -> dict:
    """A row of the score table for a target that cannot be probed; ``note`` gives the reason."""
    return {
        "target": target,
        "probe": REGULARISED,
        "system": COMPARED,
        "metric": TARGETS[target].headline,
        "value": np.nan,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "n_scans": len(test),
        "n_subjects": test["participant_id"].nunique(),
        "n_positive": np.nan,
        "penalty": np.nan,
        "n_seeds": 0,
        "seed_sd": np.nan,
        "paper": np.nan,
        "paper_source": None,
        "note": note,
    }
