"""Concordance of a score with times to an event, or with ordered levels, over bootstrap resamples.

Libraries (scikit-survival, lifelines) give the concordance of one sample; here all resamples are
computed at once from their weights, by products of matrices of pairs.
"""

from collections.abc import Callable

import numpy as np

from ldae.evaluation.metrics.bootstrap import Statistic

BLOCK = 512  # rows of the matrices of pairs that are held at a time


def concordance(level: np.ndarray, score: np.ndarray) -> Statistic:
    """Share of pairs of different levels that the score orders like them; ties count half.

    Args:
        level: (N,) ordered levels or values.
        score: (N,) predictions.

    Returns:
        Function of weights (R, N): (R,), 0.5 by chance; nan where all levels are equal.
    """
    return _of_pairs(lambda rows: level[rows, None] > level[None, :], np.asarray(score, float))


def survival_concordance(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> Statistic:
    """Harrell's concordance: of pairs whose order is known, the share with the higher risk first.

    A pair is known if the earlier time is an event (Harrell et al., JAMA 1982); at equal times an
    event precedes a censored one. Equal risks count half.

    Args:
        time: (N,) time to the event, or to the last time known to be without it.
        event: (N,) 1 for an event.
        risk: (N,) predictions: the higher, the earlier.

    Returns:
        Function of weights (R, N): (R,), 0.5 by chance; nan where no pair is known.
    """
    happened = np.asarray(event) == 1

    def before(rows: np.ndarray) -> np.ndarray:
        later = time[None, :] > time[rows, None]
        same = (time[None, :] == time[rows, None]) & ~happened[None, :]
        return happened[rows, None] & (later | same)

    return _of_pairs(before, np.asarray(risk, float))


def _of_pairs(known: Callable[[np.ndarray], np.ndarray], score: np.ndarray) -> Statistic:
    """Weighted share of the pairs (i, j) of ``known`` in which i has the higher score."""

    def statistic(weights: np.ndarray) -> np.ndarray:
        right, total = np.zeros(len(weights)), np.zeros(len(weights))
        for start in range(0, len(score), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(score)))
            pairs = known(rows)
            gap = score[rows, None] - score[None, :]
            ordered = np.where(pairs, 0.5 * (np.sign(gap) + 1), 0.0)
            mine = weights[:, rows]
            right += np.einsum("rn,rn->r", mine, weights @ ordered.T)
            total += np.einsum("rn,rn->r", mine, weights @ pairs.T.astype(np.float64))
        return np.divide(right, total, out=np.full(len(weights), np.nan), where=total > 0)

    return statistic
