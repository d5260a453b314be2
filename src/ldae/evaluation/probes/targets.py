"""Fits and test predictions of the probes, by the kind of their target.

Every table of predictions has the columns probe, system, seed (n/a: the run's), scan_id,
participant_id and diagnosis, then truth and prediction of the target, then penalty. ``probe`` is
``regularised`` (scikit-learn, penalty chosen within the training subjects), ``paper``
(section 4.2) or ``none``.

Truth and prediction by kind (the truth's column is :attr:`Target.truth`; a comparison or an event
gives 1 and 0 in place of classes):

- binary: truth, predicted (class), probability (of the positive class);
- multiclass: truth, predicted (class), ``probability_<class>``;
- ordinal: truth (rank from 0), predicted (rank, as a number);
- continuous: truth, predicted, corrected (:func:`ldae.evaluation.probes.linear.corrected_age`);
- survival: time (months), event, predicted (log hazard).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from ldae.evaluation.probes.cox import fit_cox
from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData
from ldae.evaluation.probes.linear import (
    corrected_age,
    fit_classifier,
    fit_regressor,
    fit_with_held_out,
    penalty_of,
)
from ldae.evaluation.probes.paper import subject_split, train_classifier, train_regressor
from ldae.evaluation.probes.target_table import (
    AGE,
    BINARY,
    CONTINUOUS,
    MULTICLASS,
    NONE,
    PAPER,
    REGULARISED,
    SURVIVAL,
    Target,
)

ID_COLUMNS = ["scan_id", "participant_id", "diagnosis"]
AGE_SEX = "age_sex"  # a baseline
BASELINE = ("age", "sex")  # its columns


def _frame(
    test: pd.DataFrame,
    system: str,
    probe: str = REGULARISED,
    seed: float = np.nan,
    penalty: float = np.nan,
    **columns: np.ndarray,
) -> pd.DataFrame:
    known = test[ID_COLUMNS].assign(**columns, penalty=penalty)
    for position, (name, value) in enumerate(
        (("probe", probe), ("system", system), ("seed", seed))
    ):
        known.insert(position, name, value)
    return known


def _in_splits(data: ProbeData, splits: tuple[str, ...]) -> np.ndarray:
    return data.table["split"].isin(splits).to_numpy()


def without_target(data: ProbeData, target: Target) -> ProbeData:
    """Leave out of the baseline ``age_sex`` what is the target itself.

    Without the age it is called ``sex``, without the sex ``age``.
    """
    if target.joined or target.event or target.column not in BASELINE:
        return data
    place = BASELINE.index(target.column)
    rest = data.features[AGE_SEX][:, [1 - place]]
    others = {name: x for name, x in data.features.items() if name != AGE_SEX}
    return ProbeData(data.table, others | {BASELINE[1 - place]: rest})


def fit(
    target: Target,
    x: np.ndarray,
    values: np.ndarray,
    groups: Sequence[str],
    cfg: dict[str, Any],
    seed: int,
) -> Pipeline:
    """Fit the regularised probe of a target.

    Args:
        target: Its kind chooses the model: logistic, ridge or Cox regression.
        x: (N, d) features.
        values: Labels of the N scans (:class:`ldae.evaluation.probes.labels.Labels`).
        groups: Participant of each row.
        cfg: Section ``evaluation.probes`` (``cv_folds``).
        seed: Seed of the folds.
    """
    if target.kind in (BINARY, MULTICLASS):
        return fit_classifier(x, values, groups, cfg["cv_folds"], seed)
    if target.kind == SURVIVAL:
        return fit_cox(x, values, groups, cfg["cv_folds"])
    return fit_regressor(x, values, groups, cfg["cv_folds"])


def predict(
    target: Target, model: Pipeline, x: np.ndarray, classes: tuple
) -> dict[str, np.ndarray]:
    """Columns of a fitted probe's predictions for features (N, d), without the corrected values.

    Args:
        target: What the model was fitted to.
        model: From :func:`fit`.
        x: Features of the scans to predict.
        classes: Negative and positive class, or all classes.
    """
    if target.kind == BINARY:
        probability = model.predict_proba(x)[:, 1]
        names = classes if target.named else (0, 1)
        called = np.where(probability >= 0.5, names[1], names[0])
        return {"predicted": called, "probability": probability}
    if target.kind == MULTICLASS:
        probabilities = model.predict_proba(x)
        order = model[-1].classes_.tolist()
        columns = {"predicted": model.predict(x)}
        for one in classes:
            column = probabilities[:, order.index(str(one))]
            columns[f"probability_{str(one).lower()}"] = column
        return columns
    return {"predicted": model.predict(x)}


def truth_columns(target: Target, values: np.ndarray, classes: tuple) -> dict[str, np.ndarray]:
    """Columns of the truth of some scans; none where it is the diagnosis, which is there."""
    if target.kind == SURVIVAL:
        return {"time": values[:, 0], "event": values[:, 1].astype(int)}
    if target.truth in ID_COLUMNS:
        return {}
    if target.kind == BINARY:
        named = np.where(values, *classes[::-1]) if target.named else values.astype(int)
        return {target.truth: named}
    return {target.truth: values}


def regularised(
    target: Target, data: ProbeData, values: np.ndarray, classes: tuple, cfg: dict, seed: int
) -> tuple[dict[str, Pipeline], pd.DataFrame]:
    """Fit the regularised probe for every system on training scans, and predict the test scans.

    Beside the systems, a continuous target has the mean of the training scans as a baseline
    (``mean_age`` for the age, ``training_mean`` for others).

    Args:
        target: What to predict.
        data: Scans with a label.
        values, classes: Their labels (:class:`ldae.evaluation.probes.labels.Labels`).
        cfg: Section ``evaluation.probes`` (``cv_folds``).
        seed: Seed of the folds.

    Returns:
        The fitted models by system, and the predictions of all systems.
    """
    data = without_target(data, target)
    training, test = _in_splits(data, TRAINING), _in_splits(data, (TEST,))
    groups = data.table.loc[training, "participant_id"].to_numpy()
    shown, truth = data.table[test], truth_columns(target, values[test], classes)
    models, frames = {}, []
    for system, x in data.features.items():
        fitted = (x[training], values[training], groups)
        if target.kind == CONTINUOUS:
            model, held_out = fit_with_held_out(*fitted, cfg["cv_folds"])
            columns = truth | predict(target, model, x[test], classes)
            columns["corrected"] = corrected_age(columns["predicted"], values[training], held_out)
        else:
            model = fit(target, *fitted, cfg, seed)
            columns = truth | predict(target, model, x[test], classes)
        models[system] = model
        frames.append(_frame(shown, system, penalty=penalty_of(model), **columns))
    if target.kind == CONTINUOUS:
        mean = np.full(int(test.sum()), values[training].mean())
        columns = truth | {"predicted": mean, "corrected": np.full(len(mean), np.nan)}
        name = "mean_age" if target.name == AGE else "training_mean"
        frames.append(_frame(shown, name, NONE, **columns))
    return models, pd.concat(frames, ignore_index=True)


def paper_probes(
    target: Target, data: ProbeData, values: np.ndarray, classes: tuple, cfg: dict[str, Any]
) -> pd.DataFrame:
    """Test predictions of section 4.2's classifier or regressor, for every system and seed.

    It is trained on a fraction ``paper.train_fraction`` of the subjects of the split ``train``; the
    correction of predicted values is fitted on the others.

    Args:
        target: Of kind binary or continuous.
        data, values, classes: As in :func:`regularised`.
        cfg: Section ``evaluation.probes`` (``seeds``, ``paper``).
    """
    data = without_target(data, target)
    training, test = _in_splits(data, ("train",)), _in_splits(data, (TEST,))
    groups = data.table.loc[training, "participant_id"].to_numpy()
    known, shown = values[training], data.table[test]
    truth = truth_columns(target, values[test], classes)
    strata = known if target.kind == BINARY else np.zeros(len(groups))
    train = train_classifier if target.kind == BINARY else train_regressor
    frames = []
    for system, x in data.features.items():
        fitted = x[training]
        for seed in cfg["seeds"]:
            chosen = subject_split(groups, strata, cfg["paper"]["train_fraction"], seed)
            held_out = (fitted[~chosen], known[~chosen])
            model = train(fitted[chosen], known[chosen], held_out, cfg["paper"], seed)
            found = model(x[test])
            if target.kind == BINARY:
                names = classes if target.named else (0, 1)
                columns = truth | {
                    "predicted": np.where(found >= 0, names[1], names[0]),
                    # the logistic function, without overflow
                    "probability": 0.5 * (1 + np.tanh(found / 2)),
                }
            else:
                corrected = corrected_age(found, known[~chosen], model(fitted[~chosen]))
                columns = truth | {"predicted": found, "corrected": corrected}
            frames.append(_frame(shown, system, PAPER, seed, **columns))
    return pd.concat(frames, ignore_index=True)
