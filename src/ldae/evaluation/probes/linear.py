"""Regularised linear models on frozen features, and the bias correction of predicted ages.

The regularisation is chosen by cross-validation over the training subjects.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ldae.errors import require

LEAST_SLOPE = 0.1  # below it predictions depend too little on age to invert the line
INVERSE_PENALTIES = tuple(10.0**k for k in range(-4, 2))  # C of the logistic regression
PENALTIES = tuple(10.0**k for k in range(-1, 6))  # alpha of the ridge regression
MAX_ITERATIONS = 5000


def corrected_age(predicted: np.ndarray, age: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Correct the regression bias of predicted ages: too old for the young, too young for the old.

    The line ``prediction = a + b age`` is fitted on out-of-fold predictions of training scans, by
    models that were not fitted on their subjects. A test prediction becomes
    ``(prediction - a)/b``. The test scan's own age is not used. The other usual correction adds
    ``age - (a + b age)`` to the prediction, which leaks the true age and makes any error small
    (Butler et al., Human Brain Mapping 2021).

    Args:
        predicted: (N,) predicted years of test scans.
        age, held_out: (M,) true and out-of-fold predicted years of training scans.

    Returns:
        (N,) years; nan where b is below 0.1 or there are fewer than two ages.
    """
    if len(np.unique(age)) < 2:
        return np.full(len(predicted), np.nan)
    b, a = np.polyfit(age, held_out, 1)
    if b < LEAST_SLOPE:
        return np.full(len(predicted), np.nan)
    return (predicted - a) / b


def fit_classifier(
    x: np.ndarray, labels: np.ndarray, groups: Sequence[str], folds: int, seed: int
) -> Pipeline:
    """Fit a standardisation and a logistic regression, C chosen by cross-validated log loss.

    More than two classes give a multinomial regression. Folds hold whole subjects and are
    stratified by class, so that no fold trains without a class. If a class has fewer subjects than
    ``folds``, there are only as many folds as it has subjects.

    Args:
        x: (N, d) features.
        labels: (N,) class, or bool.
        groups: Participant of each row.
        folds: Number of inner folds (``evaluation.probes.cv_folds``).
        seed: Seed of the assignment of subjects to folds.

    Raises:
        UserError: a class has fewer than two training subjects.
    """
    groups = np.asarray(groups)
    classes = np.unique(labels)
    fewest = min(len(set(groups[labels == one])) for one in classes) if len(classes) > 1 else 0
    require(
        fewest >= 2,
        f"A classification probe needs at least two training subjects of each class; the smallest "
        f"class has {fewest}. Add subjects, or change evaluation.probes.classes.",
    )
    inner = StratifiedGroupKFold(min(folds, fewest), shuffle=True, random_state=seed)
    splits = list(inner.split(x, labels, groups))

    def model(inverse_penalty: float) -> Pipeline:
        return make_pipeline(
            StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS)
        )

    def loss(inverse_penalty: float) -> float:
        held_out = cross_val_predict(
            model(inverse_penalty), x, labels, cv=splits, method="predict_proba"
        )
        return log_loss(labels, held_out, labels=classes)

    return model(min(INVERSE_PENALTIES, key=loss)).fit(x, labels)


def fit_regressor(x: np.ndarray, target: np.ndarray, groups: Sequence[str], folds: int) -> Pipeline:
    """Fit a standardisation and a ridge regression, penalty chosen by cross-validated error.

    Args:
        x: (N, d) features.
        target: (N,) values, such as years.
        groups: Participant of each row; folds hold whole participants.
        folds: Number of inner folds (``evaluation.probes.cv_folds``).

    Raises:
        UserError: fewer than two training subjects.
    """
    subjects = len(set(groups))
    require(
        subjects >= 2, f"A regression probe needs at least two training subjects, not {subjects}."
    )
    splits = _folds(groups, folds)

    def model(penalty: float) -> Pipeline:
        return make_pipeline(StandardScaler(), Ridge(alpha=penalty))

    def loss(penalty: float) -> float:
        return mean_squared_error(target, cross_val_predict(model(penalty), x, target, cv=splits))

    return model(min(PENALTIES, key=loss)).fit(x, target)


def held_out_predictions(
    model: Pipeline, x: np.ndarray, target: np.ndarray, groups: Sequence[str], folds: int
) -> np.ndarray:
    """Out-of-fold predictions (N,) for the scans that a regressor was fitted on.

    Each scan is predicted by a model that was not fitted on its subject. The penalty is that of
    ``model``, chosen on all scans.

    Args:
        model: The fitted regressor.
        x, target, groups, folds: As in :func:`fit_regressor`.
    """
    return cross_val_predict(clone(model), x, target, cv=_folds(groups, folds))


def _folds(groups: Sequence[str], folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    inner = GroupKFold(min(folds, len(set(groups))))
    return list(inner.split(np.zeros(len(groups)), groups=groups))


def penalty_of(model: Pipeline) -> float:
    """The chosen penalty of a fitted model: C (classifier) or alpha (ridge)."""
    final = model[-1]
    return float(final.C if isinstance(final, LogisticRegression) else final.alpha)
