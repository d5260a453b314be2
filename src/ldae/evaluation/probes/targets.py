"""What is probed for: diagnosis, age, three groups, conversion. Fits and test predictions.

Every table of predictions has the columns probe (``regularised``: scikit-learn's, penalty chosen
within the training subjects; ``paper``: section 4.2; ``none``), system, seed (n/a: the run's),
scan_id, participant_id, diagnosis, then truth and prediction of the target, then penalty.
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

KNOWN = ["scan_id", "participant_id", "diagnosis"]


def _frame(
    data: ProbeData,
    system: str,
    probe: str = REGULARISED,
    seed: float = np.nan,
    penalty: float = np.nan,
    **columns: np.ndarray,
) -> pd.DataFrame:
    test = data.table[data.table["split"] == TEST]
    known = test[KNOWN].assign(**columns, penalty=penalty)
    for place, (name, value) in enumerate((("probe", probe), ("system", system), ("seed", seed))):
        known.insert(place, name, value)
    return known


def _side(data: ProbeData, splits: tuple[str, ...]) -> np.ndarray:
    return data.table["split"].isin(splits).to_numpy()


def probe_diagnosis(
    data: ProbeData, positive: str, cfg: dict[str, Any], seed: int
) -> tuple[dict[str, Pipeline], pd.DataFrame]:
    """Regularised classifiers by system, and their test predictions.

    Columns of the target: predicted, probability (of the positive class).
    """
    negative = next(name for name in cfg["classes"] if name != positive)
    training, test = _side(data, TRAINING), _side(data, (TEST,))
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
    """Test predictions of section 4.2's classifier, for every system and seed."""
    negative = next(name for name in cfg["classes"] if name != positive)
    training, test = _side(data, ("train",)), _side(data, (TEST,))
    known = data.table[training]
    truth = (known["diagnosis"] == positive).to_numpy()
    frames = []
    for system, x in data.features.items():
        for seed in cfg["seeds"]:
            fraction = cfg["paper"]["train_fraction"]
            chosen = subject_split(known["participant_id"], truth, fraction, seed)
            model = train_classifier(x[training][chosen], truth[chosen], cfg["paper"], seed)
            logit = model(x[test])
            predicted = np.where(logit >= 0, positive, negative)
            probability = 0.5 * (1 + np.tanh(logit / 2))  # the logistic function, no overflow
            frames.append(
                _frame(data, system, PAPER, seed, predicted=predicted, probability=probability)
            )
    return pd.concat(frames, ignore_index=True)


def of_age(data: ProbeData) -> ProbeData:
    """The data with sex alone in place of age and sex, which would give the answer."""
    sex = data.features["age_sex"][:, 1:]
    others = {name: x for name, x in data.features.items() if name != "age_sex"}
    return ProbeData(data.table, others | {"sex": sex})


def probe_age(data: ProbeData, cfg: dict[str, Any]) -> tuple[dict[str, Pipeline], pd.DataFrame]:
    """Regularised regressors of age in years by system, and their test predictions.

    Columns of the target: age, predicted, corrected (see :mod:`ldae.evaluation.probes.linear`).
    Further baselines are the sex alone and the mean age of the training scans.
    """
    data = of_age(data)
    training, test = _side(data, TRAINING), _side(data, (TEST,))
    age = data.table["age"].to_numpy()
    groups = data.table.loc[training, "participant_id"].to_numpy()
    models, frames = {}, []
    for system, x in data.features.items():
        inside = (x[training], age[training], groups, cfg["cv_folds"])
        model = fit_regressor(*inside)
        predicted = model.predict(x[test])
        corrected = corrected_age(predicted, age[training], held_out_predictions(model, *inside))
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
    nothing = np.full(len(mean), np.nan)
    frames.append(_frame(data, "mean_age", NONE, age=age[test], predicted=mean, corrected=nothing))
    return models, pd.concat(frames, ignore_index=True)


def paper_age(data: ProbeData, cfg: dict[str, Any]) -> pd.DataFrame:
    """Test predictions of section 4.2's regressor, for every system and seed."""
    data = of_age(data)
    training, test = _side(data, ("train",)), _side(data, (TEST,))
    age = data.table["age"].to_numpy()
    groups = data.table.loc[training, "participant_id"].to_numpy()
    frames = []
    for system, x in data.features.items():
        inside, known = x[training], age[training]
        for seed in cfg["seeds"]:
            fraction = cfg["paper"]["train_fraction"]
            chosen = subject_split(groups, np.zeros(len(groups)), fraction, seed)
            model = train_regressor(inside[chosen], known[chosen], cfg["paper"], seed)
            predicted = model(x[test])
            corrected = corrected_age(predicted, known[~chosen], model(inside[~chosen]))
            columns = {"age": age[test], "predicted": predicted, "corrected": corrected}
            frames.append(_frame(data, system, PAPER, seed, **columns))
    return pd.concat(frames, ignore_index=True)


def probe_groups(data: ProbeData, cfg: dict[str, Any], seed: int) -> pd.DataFrame:
    """Test predictions of a multinomial regression for ``probes.groups`` (CN, MCI, AD).

    Columns of the target: predicted, and probability_<group> for each.
    """
    training, test = _side(data, TRAINING), _side(data, (TEST,))
    known = data.table[training]
    labels = known["diagnosis"].to_numpy(dtype=str)
    frames = []
    for system, x in data.features.items():
        model = fit_classifier(x[training], labels, known["participant_id"], cfg["cv_folds"], seed)
        chances = model.predict_proba(x[test])
        order = model[-1].classes_.tolist()
        columns = {"predicted": model.predict(x[test])}
        for one in cfg["groups"]:
            columns[f"probability_{one.lower()}"] = chances[:, order.index(one)]
        frames.append(_frame(data, system, penalty=penalty_of(model), **columns))
    return pd.concat(frames, ignore_index=True)


def probe_conversion(
    data: ProbeData, converts: np.ndarray, cfg: dict[str, Any], seed: int
) -> pd.DataFrame:
    """Test predictions of who converts from MCI to AD.

    Args:
        data: MCI scans with a known label. converts: (N,) bool, that label.

    Returns:
        Columns of the target: converts, predicted (0 or 1), probability.
    """
    training, test = _side(data, TRAINING), _side(data, (TEST,))
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
