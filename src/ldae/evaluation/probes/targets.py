"""Targets of the probes (diagnosis, age, three groups, conversion): fits and test predictions.

Every table of predictions has the columns probe, system, seed (n/a: the run's), scan_id,
participant_id and diagnosis, then truth and prediction of the target, then penalty. ``probe`` is
``regularised`` (scikit-learn, penalty chosen within the training subjects), ``paper``
(section 4.2) or ``none``.
"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData
from ldae.evaluation.probes.linear import (
    corrected_age,
    fit_classifier,
    fit_regressor,
    held_out_predictions,
    penalty_of,
)
from ldae.evaluation.probes.paper import subject_split, train_classifier, train_regressor
from ldae.evaluation.probes.scores import NONE, PAPER, REGULARISED

ID_COLUMNS = ["scan_id", "participant_id", "diagnosis"]


def _frame(
    data: ProbeData,
    system: str,
    probe: str = REGULARISED,
    seed: float = np.nan,
    penalty: float = np.nan,
    **columns: np.ndarray,
) -> pd.DataFrame:
    test = data.table[data.table["split"] == TEST]
    known = test[ID_COLUMNS].assign(**columns, penalty=penalty)
    for position, (name, value) in enumerate(
        (("probe", probe), ("system", system), ("seed", seed))
    ):
        known.insert(position, name, value)
    return known


def _in_splits(data: ProbeData, splits: tuple[str, ...]) -> np.ndarray:
    return data.table["split"].isin(splits).to_numpy()


def probe_diagnosis(
    data: ProbeData, positive: str, cfg: dict[str, Any], seed: int
) -> tuple[dict[str, Pipeline], pd.DataFrame]:
    """Fit a regularised classifier for every system and predict the test scans.

    Columns of the target: predicted, probability (of the positive class).

    Args:
        data: Scans of the two classes.
        positive: The positive class.
        cfg: Section ``evaluation.probes`` (``classes``, ``cv_folds``).
        seed: Seed of the folds.

    Returns:
        The fitted classifiers by system, and the predictions of all systems.
    """
    negative = next(name for name in cfg["classes"] if name != positive)
    training, test = _in_splits(data, TRAINING), _in_splits(data, (TEST,))
    known = data.table[training]
    truth = (known["diagnosis"] == positive).to_numpy()
    models, frames = {}, []
    for system, x in data.features.items():
        groups = known["participant_id"]
        model = fit_classifier(x[training], truth, groups, cfg["cv_folds"], seed)
        probability = model.predict_proba(x[test])[:, 1]
        models[system] = model
        frames.append(
            _frame(
                data,
                system,
                penalty=penalty_of(model),
                predicted=np.where(probability >= 0.5, positive, negative),
                probability=probability,
            )
        )
    return models, pd.concat(frames, ignore_index=True)


def paper_diagnosis(data: ProbeData, positive: str, cfg: dict[str, Any]) -> pd.DataFrame:
    """Test predictions of section 4.2's classifier, for every system and seed.

    It is trained on a fraction ``paper.train_fraction`` of the subjects of the split ``train``.
    """
    negative = next(name for name in cfg["classes"] if name != positive)
    training, test = _in_splits(data, ("train",)), _in_splits(data, (TEST,))
    known = data.table[training]
    truth = (known["diagnosis"] == positive).to_numpy()
    frames = []
    for system, x in data.features.items():
        for seed in cfg["seeds"]:
            fraction = cfg["paper"]["train_fraction"]
            chosen = subject_split(known["participant_id"], truth, fraction, seed)
            mine, held_out = x[training][chosen], (x[training][~chosen], truth[~chosen])
            model = train_classifier(mine, truth[chosen], held_out, cfg["paper"], seed)
            logit = model(x[test])
            predicted = np.where(logit >= 0, positive, negative)
            probability = 0.5 * (1 + np.tanh(logit / 2))  # the logistic function, without overflow
            frames.append(
                _frame(data, system, PAPER, seed, predicted=predicted, probability=probability)
            )
    return pd.concat(frames, ignore_index=True)


def without_age(data: ProbeData) -> ProbeData:
    """Replace the baseline ``age_sex``, which contains the target, by sex alone."""
    sex = data.features["age_sex"][:, 1:]
    others = {name: x for name, x in data.features.items() if name != "age_sex"}
    return ProbeData(data.table, others | {"sex": sex})


def probe_age(data: ProbeData, cfg: dict[str, Any]) -> tuple[dict[str, Pipeline], pd.DataFrame]:
    """Fit a regularised regressor of age for every system and predict the test scans.

    Columns of the target, in years: age, predicted, corrected (see
    :func:`ldae.evaluation.probes.linear.corrected_age`). Further baselines are ``sex`` alone and
    ``mean_age``, the mean age of the training scans.

    Returns:
        The fitted regressors by system, and the predictions of all systems.
    """
    data = without_age(data)
    training, test = _in_splits(data, TRAINING), _in_splits(data, (TEST,))
    age = data.table["age"].to_numpy()
    groups = data.table.loc[training, "participant_id"].to_numpy()
    models, frames = {}, []
    for system, x in data.features.items():
        fit_data = (x[training], age[training], groups, cfg["cv_folds"])
        model = fit_regressor(*fit_data)
        predicted = model.predict(x[test])
        corrected = corrected_age(predicted, age[training], held_out_predictions(model, *fit_data))
        models[system] = model
        frames.append(
            _frame(
                data,
                system,
                penalty=penalty_of(model),
                age=age[test],
                predicted=predicted,
                corrected=corrected,
            )
        )
    mean = np.full(int(test.sum()), age[training].mean())
    missing = np.full(len(mean), np.nan)
    frames.append(_frame(data, "mean_age", NONE, age=age[test], predicted=mean, corrected=missing))
    return models, pd.concat(frames, ignore_index=True)


def paper_age(data: ProbeData, cfg: dict[str, Any]) -> pd.DataFrame:
    """Test predictions of section 4.2's regressor, for every system and seed.

    It is trained on a fraction ``paper.train_fraction`` of the subjects of the split ``train``; the
    correction of the predicted ages is fitted on the others.
    """
    data = without_age(data)
    training, test = _in_splits(data, ("train",)), _in_splits(data, (TEST,))
    age = data.table["age"].to_numpy()
    groups = data.table.loc[training, "participant_id"].to_numpy()
    frames = []
    for system, x in data.features.items():
        x_training, age_training = x[training], age[training]
        for seed in cfg["seeds"]:
            fraction = cfg["paper"]["train_fraction"]
            chosen = subject_split(groups, np.zeros(len(groups)), fraction, seed)
            mine, held_out = x_training[chosen], (x_training[~chosen], age_training[~chosen])
            model = train_regressor(mine, age_training[chosen], held_out, cfg["paper"], seed)
            predicted = model(x[test])
            corrected = corrected_age(predicted, age_training[~chosen], model(x_training[~chosen]))
            columns = {"age": age[test], "predicted": predicted, "corrected": corrected}
            frames.append(_frame(data, system, PAPER, seed, **columns))
    return pd.concat(frames, ignore_index=True)


def probe_groups(data: ProbeData, cfg: dict[str, Any], seed: int) -> pd.DataFrame:
    """Test predictions of a multinomial regression for ``probes.groups`` (CN, MCI, AD).

    Columns of the target: predicted, and ``probability_<group>`` for each group.
    """
    training, test = _in_splits(data, TRAINING), _in_splits(data, (TEST,))
    known = data.table[training]
    labels = known["diagnosis"].to_numpy(dtype=str)
    frames = []
    for system, x in data.features.items():
        model = fit_classifier(x[training], labels, known["participant_id"], cfg["cv_folds"], seed)
        probabilities = model.predict_proba(x[test])
        order = model[-1].classes_.tolist()
        columns = {"predicted": model.predict(x[test])}
        for group in cfg["groups"]:
            columns[f"probability_{group.lower()}"] = probabilities[:, order.index(group)]
        frames.append(_frame(data, system, penalty=penalty_of(model), **columns))
    return pd.concat(frames, ignore_index=True)


def probe_conversion(
    data: ProbeData, converts: np.ndarray, cfg: dict[str, Any], seed: int
) -> pd.DataFrame:
    """Test predictions of conversion from MCI to AD.

    Columns of the target: converts, predicted (0 or 1 each), probability.

    Args:
        data: MCI scans with a known label.
        converts: (N,) bool, the label.
        cfg: Section ``evaluation.probes`` (``cv_folds``).
        seed: Seed of the folds.
    """
    training, test = _in_splits(data, TRAINING), _in_splits(data, (TEST,))
    groups = data.table.loc[training, "participant_id"]
    frames = []
    for system, x in data.features.items():
        model = fit_classifier(x[training], converts[training], groups, cfg["cv_folds"], seed)
        probability = model.predict_proba(x[test])[:, 1]
        frames.append(
            _frame(
                data,
                system,
                penalty=penalty_of(model),
                converts=converts[test].astype(int),
                predicted=(probability >= 0.5).astype(int),
                probability=probability,
            )
        )
    return pd.concat(frames, ignore_index=True)
