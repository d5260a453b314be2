"""Regularised linear models on frozen features, and the bias correction of predicted ages.

The regularisation is chosen by cross-validation over the training subjects.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ldae.errors import require
from ldae.evaluation.probes.preconditioned import Coordinates, PreconditionedLogistic
from ldae.files import atomic

LEAST_SLOPE = 0.1  # below it predictions depend too little on age to invert the line
INVERSE_PENALTIES = tuple(10.0**k for k in range(-4, 2))  # C of the logistic regression
PENALTIES = tuple(10.0**k for k in range(-1, 6))  # alpha of the ridge regression
PATIENCE = 2  # worse penalties in a row that end the search


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
    stratified by class. If a class has fewer subjects than ``folds``, there are only as many folds
    as it has subjects.

    Args:
        x: (N, d) features.
        labels: (N,) class, or bool.
        groups: Participant of each row.
        folds: Number of inner folds (``evaluation.probes.cv_folds``).
        seed: Seed of the assignment of subjects to folds.

    Raises:
        UserError: a class has fewer than two training subjects, or a fold would be fitted without
            one.
    """
    groups = np.asarray(groups)
    classes, member = np.unique(labels, return_inverse=True)
    fewest = min(len(set(groups[labels == one])) for one in classes) if len(classes) > 1 else 0
    require(
        fewest >= 2,
        f"A classification probe needs at least two training subjects of each class; the smallest "
        f"class has {fewest}. Add subjects, or other classes.",
    )
    splits = _stratified_folds(
        tuple(member.tolist()), tuple(groups.tolist()), min(folds, fewest), seed
    )
    parts = [Fold(x, training, rest) for training, rest in splits]
    coordinates = Coordinates(standardised(x)[0])  # those of all scans do for the folds, too
    models = [PreconditionedLogistic(1.0, coordinates, warm_start=True) for _ in parts]

    def loss(inverse_penalty: float) -> float:
        held_out = np.empty((len(labels), len(classes)))
        for part, model in zip(parts, models, strict=True):
            model.set_params(C=inverse_penalty).fit(part.fitted, labels[part.training])
            held_out[part.rest] = model.predict_proba(part.left_out)
        return log_loss(labels, held_out, labels=classes)

    chosen = least(INVERSE_PENALTIES, loss)
    final = PreconditionedLogistic(chosen, coordinates)
    model = make_pipeline(StandardScaler(), final).fit(x, labels)
    final.coordinates = None  # of the fit alone
    return model


@lru_cache(maxsize=4)
def _stratified_folds(
    member: tuple[int, ...], groups: tuple, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of whole subjects, stratified by class; made once for all systems of a target.

    Raises:
        UserError: all of a class is in one fold, as the two subjects of one can be.
    """
    classes = np.array(member)
    inner = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    found = list(inner.split(np.zeros(len(classes)), classes, np.array(groups)))
    require(
        all(len(np.unique(classes[training])) == classes.max() + 1 for training, _ in found),
        f"All training scans of one class are in one of {folds} inner folds of whole subjects, so "
        "that a classification probe would be fitted without it. Add subjects of the smallest "
        "class, or other classes.",
    )
    return found


def standardised(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, d) with mean 0 and SD 1, their means and their SDs, as StandardScaler's.

    The SD of a constant feature is 1. A scaler takes three times as long, for its sums over parts.
    """
    mean = x.mean(axis=0)
    found = x - mean
    variance = np.einsum("ij,ij->j", found, found) / len(x)
    rounding = np.finfo(float).eps * len(x)
    constant = variance <= rounding * variance + (rounding * mean) ** 2
    scale = np.where(constant, 1.0, np.sqrt(variance))
    found /= scale
    return found, mean, scale


class Fold:
    """A fold of an inner cross-validation, standardised once for all penalties.

    Args:
        x: (N, d) features.
        training, rest: Rows that are fitted, and rows that are predicted.

    Attributes:
        fitted, left_out: Standardised features of either.
    """

    def __init__(self, x: np.ndarray, training: np.ndarray, rest: np.ndarray):
        self.training, self.rest = training, rest
        self.fitted, mean, scale = standardised(x[training])
        self.left_out = (x[rest] - mean) / scale


def least(penalties: Sequence[float], loss: Callable[[float], float]) -> float:
    """The penalty of the least cross-validated loss, from strong to weak ones.

    The search ends once two penalties in a row are worse than the best before them: weaker ones
    take the longest to fit, and overfit further.

    Args:
        penalties: From the strongest to the weakest.
        loss: Cross-validated loss of one; called in that order, so that fits may start warm.
    """
    best, lowest, worse = penalties[0], np.inf, 0
    for penalty in penalties:
        found = loss(penalty)
        worse = worse + 1 if found >= lowest else 0
        if found < lowest:
            best, lowest = penalty, found
        if worse == PATIENCE:
            break
    return best


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
    return fit_with_held_out(x, target, groups, folds)[0]


def fit_with_held_out(
    x: np.ndarray, target: np.ndarray, groups: Sequence[str], folds: int
) -> tuple[Pipeline, np.ndarray]:
    """The model of :func:`fit_regressor`, and out-of-fold predictions (N,) at its penalty.

    The predictions are those of :func:`held_out_predictions`, which the choice of the penalty has
    made already.

    Args:
        x, target, groups, folds: As in :func:`fit_regressor`.

    Raises:
        UserError: fewer than two training subjects.
    """
    subjects = len(set(groups))
    require(
        subjects >= 2, f"A regression probe needs at least two training subjects, not {subjects}."
    )
    splits = _folds(groups, folds)

    parts = [Fold(x, training, rest) for training, rest in splits]
    held_out = np.empty((len(PENALTIES), len(target)))
    for part in parts:
        held_out[:, part.rest] = _ridge_path(part, target[part.training])
    losses = [mean_squared_error(target, one) for one in held_out]
    chosen = int(np.argmin(losses))
    model = make_pipeline(StandardScaler(), Ridge(alpha=PENALTIES[chosen])).fit(x, target)
    return model, held_out[chosen]


def _ridge_path(part: Fold, target: np.ndarray) -> np.ndarray:
    """Predictions of a fold's left-out rows by ridge regressions of all penalties: (P, n).

    One eigendecomposition, of the smaller of the two products of the features with themselves,
    gives all of them.
    """
    x, mean = part.fitted, target.mean()
    wide = x.shape[1] > x.shape[0]
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    values = np.clip(values, 0.0, None)
    across = part.left_out @ x.T if wide else part.left_out
    right = vectors.T @ ((target - mean) if wide else x.T @ (target - mean))
    left = across @ vectors
    return np.stack([mean + left @ (right / (values + penalty)) for penalty in PENALTIES])


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
    """The chosen penalty of a fitted model: C (classifier) or alpha (ridge, Cox)."""
    final = model[-1]
    return float(final.C if isinstance(final, LogisticRegression) else final.alpha)


def save_linear(model: Pipeline, path: str | Path, **more: Any) -> None:
    """Write a linear model of y_sem: output = w . (y - mean)/std + b = w_raw . y + b_raw.

    The output is the logit of the positive class, or the age in years.

    Args:
        model: Fitted pipeline of a scaler and a linear model with one output.
        path: npz to write: mean, std, w, w_raw (d,), b, b_raw ().
        more: Further arrays, such as ``classes`` (negative and positive class).
    """
    scaler, linear = model[0], model[-1]
    w, b = np.ravel(linear.coef_), float(np.ravel(linear.intercept_)[0])
    w_raw = w / scaler.scale_
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            mean=scaler.mean_,
            std=scaler.scale_,
            w=w,
            b=b,
            w_raw=w_raw,
            b_raw=b - w_raw @ scaler.mean_,
            **{name: np.array(value) for name, value in more.items()},
        )
