"""Percentile intervals by resampling subjects, not scans.

Scans of one subject are not independent, so whole subjects are drawn with replacement (the cluster
bootstrap). A resample is stored as the number of times each scan counts in it; a statistic is a
function of such weights, so that all resamples are computed in one vectorised call and different
statistics (or systems) see the same resamples.

Tests of two systems on the same scans, several scans a subject.

The p value comes from the bootstrap of the paired difference over subjects, so that it agrees with
the interval beside it. McNemar's test is not used: it takes each scan as independent, and scans of
one subject are not; on one scan a subject it would throw most of the test data away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
Statistic = Callable[[np.ndarray], np.ndarray]
"""Weights (R, N) to R values; nan where the statistic is undefined for that resample."""


@dataclass(frozen=True)
class Interval:
    """A statistic of all scans and its percentile interval (nan where it cannot be had)."""

    estimate: float
    low: float
    high: float

    def row(self, name: str = "estimate") -> dict[str, float]:
        """Columns of a table: ``name``, ``ci_low``, ``ci_high``."""
        return {name: self.estimate, "ci_low": self.low, "ci_high": self.high}


class ClusterBootstrap:
    """Fixed resamples of the clusters of N observations.

    Args:
        clusters: The cluster (participant) of each observation, length N.
        resamples: Number of resamples R.
        seed: Of the draws; the same clusters and seed give the same resamples.

    Attributes:
        weights: (R, N) float64: how often each observation counts in each resample.
    """

    def __init__(self, clusters: Sequence[str], resamples: int, seed: int):
        names, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
        if not len(names):
            raise ValueError("a bootstrap needs at least one observation")
        self.size, self.clusters = len(member), len(names)
        draws = np.random.default_rng(seed).multinomial(
            self.clusters, np.full(self.clusters, 1 / self.clusters), size=resamples
        )
        self.weights = draws[:, member].astype(np.float64)

    def interval(self, statistic: Statistic) -> Interval:
        """Estimate on all observations and the central 95 % of the resamples.

        Resamples in which the statistic is undefined (one class only) are left out. With fewer
        than two clusters there is nothing to resample and the limits are nan.
        """
        estimate = float(statistic(np.ones((1, self.size)))[0])
        if self.clusters < 2 or np.isnan(estimate):
            return Interval(estimate, np.nan, np.nan)
        values = statistic(self.weights)
        values = values[~np.isnan(values)]
        if not len(values):
            return Interval(estimate, np.nan, np.nan)
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(estimate, float(low), float(high))

    def mean(self, values: Sequence[float]) -> Interval:
        """Interval of the mean over scans."""
        return self.interval(weighted_mean(values))

    def difference(self, first: Sequence[float], second: Sequence[float]) -> Interval:
        """Interval of the mean of the paired differences ``first - second``."""
        return self.mean(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))


def weighted_mean(values: Sequence[float]) -> Statistic:
    """Mean of ``values`` (N,) as a function of the weights."""
    column = np.asarray(values, dtype=np.float64)
    return lambda weights: weights @ column / weights.sum(1)


def minus(first: Statistic, second: Statistic) -> Statistic:
    """Difference of two statistics on the same resamples."""
    return lambda weights: first(weights) - second(weights)


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
