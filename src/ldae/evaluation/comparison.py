"""Tests of two systems on the same scans, several scans a subject.

The p value comes from the bootstrap of the paired difference over subjects, so that it agrees with
the interval beside it. McNemar's test is not used: it takes each scan as independent, and scans of
one subject are not; on one scan a subject it would throw most of the test data away.
"""

from collections.abc import Sequence

import numpy as np

from ldae.evaluation.bootstrap import ClusterBootstrap, Statistic


def two_sided_p(bootstrap: ClusterBootstrap, difference: Statistic) -> float:
    """Two-sided p value of a difference being zero: twice the smaller tail beyond zero.

    Each tail counts one resample more than there are, so p is never below 2/(R + 1). It is nan
    where the difference is undefined or there are fewer than two subjects.
    """
    estimate = difference(np.ones((1, bootstrap.size)))[0]
    if bootstrap.clusters < 2 or np.isnan(estimate):
        return float("nan")
    values = difference(bootstrap.weights)
    values = values[~np.isnan(values)]
    tail = min((values <= 0).sum(), (values >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(values) + 1)))


def holm(p: Sequence[float]) -> np.ndarray:
    """p values corrected for their number after Holm; missing ones stay missing and do not count.

    Args:
        p: (K,) p values of one family.
    """
    p = np.asarray(p, dtype=float)
    corrected = np.full(len(p), np.nan)
    order = [place for place in np.argsort(p, kind="stable") if not np.isnan(p[place])]
    reached = 0.0
    for rank, place in enumerate(order):
        reached = max(reached, min(1.0, (len(order) - rank) * p[place]))
        corrected[place] = reached
    return corrected
