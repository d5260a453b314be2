"""Calibration and clinical use of predicted probabilities, over bootstrap resamples.

Brier score, intercept and slope of the recalibration (Cox, Biometrika 1958), calibration curve, and
net benefit of a decision (Vickers and Elkin, Med Decis Making 2006).
"""

import numpy as np

from ldae.evaluation.metrics.bootstrap import Statistic, weighted_mean

CLIP = 1e-6  # probabilities are kept so far from 0 and 1 before their logit is taken
STEPS = 30  # of Newton's method
FLAT = 1e-6  # largest change of a converged intercept or slope
STEEPEST = 100.0  # a slope beyond it means that the classes are separated


def brier(positive: np.ndarray, probability: np.ndarray) -> Statistic:
    """Mean squared difference of probability (N,) and truth (N,) bool; 0 is perfect."""
    return weighted_mean((np.asarray(probability, float) - positive) ** 2)


def calibration_slope(positive: np.ndarray, probability: np.ndarray) -> Statistic:
    """Slope of the truth on the logit of the probability: 1 is perfect, below 1 too extreme.

    Newton's method for all resamples at once. It is nan where the slope does not exist, because the
    classes are separated or the probabilities are all equal.
    """
    return lambda weights: _slopes(positive, probability, weights)


def calibration_intercept(positive: np.ndarray, probability: np.ndarray) -> Statistic:
    """Mean of the truth less mean of the probability: 0 is perfect, above 0 too low a risk."""
    return weighted_mean(np.asarray(positive, float) - np.asarray(probability, float))


def _slopes(positive: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Slope (R,) of a logistic regression of the truth on the logit, for weights (R, N)."""
    clipped = np.clip(np.asarray(probability, float), CLIP, 1 - CLIP)
    logit = np.log(clipped / (1 - clipped))
    truth = np.asarray(positive, float)
    count = len(weights)
    if np.ptp(logit) < CLIP:
        return np.full(count, np.nan)
    intercept, slope, done = np.zeros(count), np.ones(count), np.zeros(count, bool)
    for _ in range(STEPS):
        fitted = 0.5 * (1 + np.tanh((intercept[:, None] + slope[:, None] * logit) / 2))
        error = weights * (truth - fitted)
        spread = weights * fitted * (1 - fitted)
        first, second = error.sum(1), error @ logit
        a, b, c = spread.sum(1), spread @ logit, spread @ logit**2
        below = a * c - b**2
        with np.errstate(divide="ignore", invalid="ignore"):
            step = (c * first - b * second) / below, (a * second - b * first) / below
        with np.errstate(invalid="ignore"):
            length = np.maximum(np.abs(step[0]), np.abs(step[1]))
            small = length < FLAT
            shrink = np.minimum(1.0, 5.0 / np.maximum(length, 1e-12))  # no leap beyond the optimum
        intercept, slope = intercept + shrink * step[0], slope + shrink * step[1]
        done |= small
        if np.all(done | ~np.isfinite(slope) | (np.abs(slope) > STEEPEST)):
            break
    valid = done & np.isfinite(slope) & (np.abs(slope) <= STEEPEST)
    return np.where(valid, slope, np.nan)


def calibration_bins(probability: np.ndarray, bins: int) -> list[np.ndarray]:
    """Masks (N,) of scans of similar probability: quantiles, fewer where they are equal."""
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)))
    if len(edges) < 2:
        return [np.full(len(probability), True)]
    place = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, len(edges) - 2)
    return [place == one for one in np.unique(place)]


def mean_within(values: np.ndarray, inside: np.ndarray) -> Statistic:
    """Mean of ``values`` (N,) over the scans of a mask (N,); nan in resamples without any."""
    kept = np.asarray(values, float) * inside

    def statistic(weights: np.ndarray) -> np.ndarray:
        total = weights @ inside.astype(float)
        return np.divide(weights @ kept, total, out=np.full(len(total), np.nan), where=total > 0)

    return statistic


def net_benefit(positive: np.ndarray, probability: np.ndarray, threshold: float) -> Statistic:
    """True positives less false ones at the odds of the threshold, per scan.

    Scans with a probability at or above the threshold are treated. That treatment of all of them is
    the same with probabilities of 1; treatment of none has a benefit of 0.
    """
    treated = np.asarray(probability, float) >= threshold
    odds = threshold / (1 - threshold)
    return weighted_mean((treated & positive) - odds * (treated & ~np.asarray(positive, bool)))
