"""Classification and regression scores of weighted scans, vectorised over bootstrap resamples.

Each function takes the truth and the predictions of N scans and returns a
:data:`~ldae.evaluation.metrics.bootstrap.Statistic`. With weights of one they equal scikit-learn's
metrics of the same names. A score that is undefined in a resample (a class is absent) is nan there.
"""

from collections.abc import Sequence

import numpy as np

from ldae.evaluation.metrics.bootstrap import Statistic

CONFUSION_SCORES = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "mcc",
    "sensitivity",
    "specificity",
)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def confusion_score(name: str, positive: np.ndarray, predicted: np.ndarray) -> Statistic:
    """A score of the 2 x 2 confusion matrix.

    Args:
        name: One of :data:`CONFUSION_SCORES`.
        positive: (N,) bool, the truth is the positive class.
        predicted: (N,) bool, the prediction is the positive class.

    Raises:
        ValueError: unknown name.
    """
    if name not in CONFUSION_SCORES:
        raise ValueError(f"unknown score {name!r}; known: {', '.join(CONFUSION_SCORES)}")
    cells = np.stack(
        [positive & predicted, ~positive & predicted, positive & ~predicted, ~positive & ~predicted]
    ).astype(np.float64)

    def statistic(weights: np.ndarray) -> np.ndarray:
        tp, fp, fn, tn = (weights @ cells.T).T
        sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
        if name == "accuracy":
            return (tp + tn) / (tp + fp + fn + tn)
        if name == "balanced_accuracy":
            return (sensitivity + specificity) / 2
        if name == "precision":
            return _ratio(tp, tp + fp)
        if name == "f1":
            return _ratio(2 * tp, 2 * tp + fp + fn)
        if name == "mcc":
            below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
            return _ratio(tp * tn - fp * fn, below)
        return specificity if name == "specificity" else sensitivity

    return statistic


def _tail_counts(positive: np.ndarray, score: np.ndarray, weights: np.ndarray):
    """Weights of positives and negatives at or above each distinct score, highest first: (R, K)."""
    order = np.argsort(-score, kind="stable")
    ranked, truth, weights = score[order], positive[order], weights[:, order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # ties end together
    return np.cumsum(weights * truth, 1)[:, last], np.cumsum(weights * ~truth, 1)[:, last]


def auroc(positive: np.ndarray, score: np.ndarray) -> Statistic:
    """Area under the ROC curve of ``score`` (N,) for ``positive`` (N,) bool."""

    def statistic(weights: np.ndarray) -> np.ndarray:
        above, false = _tail_counts(positive, score, weights)
        zero = np.zeros((len(weights), 1))
        tp, fp = np.hstack([zero, above]), np.hstack([zero, false])
        area = np.sum(np.diff(fp) * (tp[:, 1:] + tp[:, :-1]) / 2, axis=1)
        return _ratio(area, above[:, -1] * false[:, -1])

    return statistic


def average_precision(positive: np.ndarray, score: np.ndarray) -> Statistic:
    """Average precision of ``score`` (N,) for ``positive`` (N,) bool, without interpolation."""

    def statistic(weights: np.ndarray) -> np.ndarray:
        tp, fp = _tail_counts(positive, score, weights)
        step = np.diff(np.hstack([np.zeros((len(weights), 1)), tp]))
        precision = np.nan_to_num(_ratio(tp, tp + fp))
        return _ratio(np.sum(step * precision, axis=1), tp[:, -1])

    return statistic


def macro(statistics: Sequence[Statistic]) -> Statistic:
    """Mean of several statistics (of classes, or of seeds); nan where one of them is nan."""
    return lambda weights: np.mean([one(weights) for one in statistics], axis=0)


def on_rows(rows: np.ndarray, score: Statistic) -> Statistic:
    """The score of some scans, for weights of all; nan for a resample that has none of them.

    Args:
        rows: Places (n,) or mask (N,) of the scans.
        score: Of these scans, as a function of their own weights.
    """
    return lambda weights: _where_drawn(score, weights[:, rows])


def _where_drawn(score: Statistic, weights: np.ndarray) -> np.ndarray:
    """The score of every resample that has a scan; nan for the others, which are not asked for."""
    there = weights.sum(1) > 0
    found = np.full(len(weights), np.nan)
    if there.any():
        found[there] = score(weights[there])
    return found


def over_parts(parts: Sequence[tuple[np.ndarray, Statistic]]) -> Statistic:
    """Mean of a score over parts of the scans, such as folds, weighted by their scans.

    Scans of different parts are not compared with each other: predictions of two folds come from
    two models. Parts in which the score is undefined (one class) are left out.

    Args:
        parts: Of each part its rows (n,), and the score of these rows.
    """

    def statistic(weights: np.ndarray) -> np.ndarray:
        total, size = np.zeros(len(weights)), np.zeros(len(weights))
        for rows, score in parts:
            mine = weights[:, rows]
            drawn, found = mine.sum(1), _where_drawn(score, mine)
            known = ~np.isnan(found)
            total[known] += (drawn * np.where(known, found, 0.0))[known]
            size[known] += drawn[known]
        return _ratio(total, size)

    return statistic


def error_score(name: str, truth: np.ndarray, predicted: np.ndarray) -> Statistic:
    """Error of a regression.

    Args:
        name: ``mae``, ``rmse`` (over all scans, not batches) or ``r2``.
        truth, predicted: (N,) values.

    Raises:
        ValueError: unknown name.
    """
    if name not in ("mae", "rmse", "r2"):
        raise ValueError(f"unknown score {name!r}; known: mae, rmse, r2")
    truth, error = np.asarray(truth, float), np.asarray(truth, float) - np.asarray(predicted, float)

    def statistic(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(1)
        if name == "mae":
            return weights @ np.abs(error) / total
        squared = weights @ error**2
        if name == "rmse":
            return np.sqrt(squared / total)
        centred = truth - truth.mean()  # exact for any centre; the mean keeps rounding small
        spread = weights @ centred**2 - (weights @ centred) ** 2 / total
        return 1 - _ratio(squared, np.where(spread > 1e-12, spread, 0.0))

    return statistic


def pearson(first: np.ndarray, second: np.ndarray) -> Statistic:
    """Pearson correlation of two (N,) variables; nan where one of them does not vary."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    # The variance of a constant is not exactly 0; below the floor it counts as 0.
    floors = [1e-12 * np.var(x) + 1e-24 * np.mean(x) ** 2 for x in (a, b)]
    a, b = a - a.mean(), b - b.mean()

    def statistic(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(1)
        mean_a, mean_b = weights @ a / total, weights @ b / total
        var_a = weights @ a**2 / total - mean_a**2
        var_b = weights @ b**2 / total - mean_b**2
        varies = (var_a > floors[0]) & (var_b > floors[1])
        below = np.sqrt(np.where(varies, var_a * var_b, 0.0))
        return _ratio(weights @ (a * b) / total - mean_a * mean_b, below)

    return statistic
