"""Scores of a target's predictions, by its kind, as functions of the scans' weights."""

import numpy as np
import pandas as pd

from ldae.evaluation.metrics.bootstrap import Statistic
from ldae.evaluation.metrics.classification import (
    auroc,
    average_precision,
    confusion_score,
    error_score,
    macro,
    pearson,
)
from ldae.evaluation.metrics.concordance import concordance, survival_concordance
from ldae.evaluation.probes.target_table import (
    BINARY,
    CONTINUOUS,
    MULTICLASS,
    ORDINAL,
    SURVIVAL,
    Target,
)

# Kind -> the score that says whether a target is predicted at all, and its value by chance.
DISCRIMINATION = {
    BINARY: ("auroc", 0.5),
    MULTICLASS: ("macro_auroc", 0.5),
    ORDINAL: ("concordance", 0.5),
    CONTINUOUS: ("correlation", 0.0),
    SURVIVAL: ("concordance", 0.5),
}
Scores = dict[str, Statistic]


def statistics(target: Target, frame: pd.DataFrame, classes: tuple) -> Scores:
    """Every score of one system's predictions, by name.

    Args:
        target: What was predicted.
        frame: Predictions of one probe, system and seed: the columns of
            :mod:`ldae.evaluation.probes.targets`.
        classes: Negative and positive class, or all classes.
    """
    return {
        BINARY: _binary,
        MULTICLASS: _multiclass,
        ORDINAL: _ordinal,
        CONTINUOUS: _continuous,
        SURVIVAL: _survival,
    }[target.kind](target, frame, classes)


def discrimination(target: Target, frame: pd.DataFrame, classes: tuple) -> Statistic:
    """The score of :data:`DISCRIMINATION`, which alone has a known value by chance."""
    if target.kind == CONTINUOUS:
        return pearson(frame[target.truth].to_numpy(float), frame["predicted"].to_numpy(float))
    return statistics(target, frame, classes)[DISCRIMINATION[target.kind][0]]


def positives(target: Target, frame: pd.DataFrame, classes: tuple) -> np.ndarray | None:
    """Mask (N,) of the scans of the positive class, or with an event; None for other kinds."""
    if target.kind == SURVIVAL:
        return frame["event"].to_numpy() == 1
    if target.kind != BINARY:
        return None
    return frame[target.truth].to_numpy() == (classes[1] if target.named else 1)


def _binary(target: Target, frame: pd.DataFrame, classes: tuple) -> Scores:
    one = classes[1] if target.named else 1
    truth, predicted = (frame[name].to_numpy() == one for name in (target.truth, "predicted"))
    scores = {
        name: confusion_score(name, truth, predicted)
        for name in ("accuracy", "balanced_accuracy", "mcc", "sensitivity", "specificity")
    }
    if target.named:
        for name in classes[::-1]:
            sign = name == classes[1]
            for score in ("precision", "recall", "f1"):
                scores[f"{score}_{str(name).lower()}"] = confusion_score(
                    score, truth == sign, predicted == sign
                )
    probability = frame["probability"].to_numpy()
    scores["auroc"] = auroc(truth, probability)
    scores["average_precision"] = average_precision(truth, probability)
    return scores


def _multiclass(target: Target, frame: pd.DataFrame, classes: tuple) -> Scores:
    truth, predicted = frame[target.truth].to_numpy(), frame["predicted"].to_numpy()
    recall, f1 = (
        {one: confusion_score(name, truth == one, predicted == one) for one in classes}
        for name in ("recall", "f1")
    )
    curves = [
        auroc(truth == one, frame[f"probability_{str(one).lower()}"].to_numpy()) for one in classes
    ]
    return {
        "accuracy": confusion_score("accuracy", truth == predicted, np.full(len(truth), True)),
        "balanced_accuracy": macro(list(recall.values())),
        "macro_f1": macro(list(f1.values())),
        "macro_auroc": macro(curves),
        **{f"recall_{str(one).lower()}": score for one, score in recall.items()},
    }


def _continuous(target: Target, frame: pd.DataFrame, classes: tuple) -> Scores:
    truth, predicted = frame[target.truth].to_numpy(), frame["predicted"].to_numpy()
    scores = {name: error_score(name, truth, predicted) for name in ("mae", "rmse", "r2")}
    corrected = frame["corrected"].to_numpy(dtype=float)
    return scores | {"mae_corrected": error_score("mae", truth, corrected)}


def _ordinal(target: Target, frame: pd.DataFrame, classes: tuple) -> Scores:
    """Concordance of the ranks; errors in levels."""
    truth, predicted = frame[target.truth].to_numpy(float), frame["predicted"].to_numpy(float)
    nearest = np.clip(np.rint(predicted), 0, len(classes) - 1)
    return {
        "concordance": concordance(truth, predicted),
        "accuracy": confusion_score("accuracy", truth == nearest, np.full(len(truth), True)),
        "mae": error_score("mae", truth, predicted),
        "r2": error_score("r2", truth, predicted),
    }


def _survival(target: Target, frame: pd.DataFrame, classes: tuple) -> Scores:
    time, event = frame["time"].to_numpy(float), frame["event"].to_numpy()
    return {"concordance": survival_concordance(time, event, frame["predicted"].to_numpy(float))}
