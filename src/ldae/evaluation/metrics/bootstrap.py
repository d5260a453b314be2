"""Cluster bootstrap over subjects: percentile intervals and paired tests of two systems.

Scans of one subject are not independent, so whole subjects are drawn with replacement. A resample
is stored as weights: the number of times each scan counts in it. A statistic is a function of these
weights. All resamples are therefore computed in one vectorised call, and different statistics (or
systems) are computed on the same resamples.

The p value of a paired difference comes from the same bootstrap, so it agrees with the interval
beside it. McNemar's test is not used, because it assumes independent scans. With one scan per
subject it would be valid, but would discard most of the test data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
Statistic = Callable[[np.ndarray], np.ndarray]
"""Function of weights (R, N); returns (R,), nan where it is undefined for that resample."""


@dataclass(frozen=True)
class Interval:
    """A statistic of all scans and its percentile interval (nan where it is undefined)."""

    estimate: float
    low: float
    high: float

    def row(self, name: str = "estimate") -> dict[str, float]:
        """Columns of a table: ``name``, ``ci_low``, ``ci_high``."""
        return {name: self.estimate, "ci_low": self.low, "ci_high": self.high}


@dataclass(frozen=True)
class Draws:
    """A statistic computed once: on all scans, and on every resample.

    Intervals, differences and p values of several systems are made from these, so that no
    statistic is computed twice.

    Attributes:
        estimate: Of all scans.
        values: (R,) of the resamples; nan where it is undefined.
        clusters: Number of clusters that were drawn.
    """

    estimate: float
    values: np.ndarray
    clusters: int

    def interval(self) -> Interval:
        """Estimate and the central 95 % of the resamples; see :meth:`ClusterBootstrap.interval`."""
        if self.clusters < 2 or np.isnan(self.estimate):
            return Interval(self.estimate, np.nan, np.nan)
        return _percentile_interval(self.estimate, self.values)

    def two_sided_p(self, null: float = 0.0) -> float:
        """Two-sided p value of the value ``null``: twice the smaller tail of resamples beyond it.

        One is added to the count of the tail and to the number of resamples R, so p is at least
        2/(R + 1). It is nan where the statistic is undefined or there are fewer than two subjects.
        """
        if self.clusters < 2 or np.isnan(self.estimate):
            return float("nan")
        values = self.values[~np.isnan(self.values)]
        tail = min((values <= null).sum(), (values >= null).sum())
        return float(min(1.0, 2 * (tail + 1) / (len(values) + 1)))

    def __sub__(self, other: "Draws") -> "Draws":
        return Draws(self.estimate - other.estimate, self.values - other.values, self.clusters)


class ClusterBootstrap:
    """Fixed resamples of the clusters of N observations.

    Args:
        clusters: The cluster (participant) of each observation, length N.
        resamples: Number of resamples R.
        seed: Seed of the draws; the same clusters and seed give the same resamples.

    Attributes:
        size: Number of observations N.
        clusters: Number of clusters.
        weights: (R, N) float64, how often each observation counts in each resample.

    Raises:
        ValueError: there are no observations.
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

    @property
    def counts(self) -> dict[str, int]:
        """Columns of a table: numbers of observations, which are scans, and of subjects."""
        return {"n_scans": self.size, "n_subjects": self.clusters}

    def interval(self, statistic: Statistic) -> Interval:
        """Estimate on all observations and the central 95 % of the resamples.

        Resamples in which the statistic is undefined (one class only) are left out. With fewer
        than two clusters the limits are nan.
        """
        return self.draws(statistic).interval()

    def draws(self, statistic: Statistic) -> Draws:
        """The statistic on all observations and on every resample.

        With fewer than two clusters, or a statistic that is undefined on all observations, the
        resamples are not computed: their values are nan.
        """
        estimate = float(statistic(np.ones((1, self.size)))[0])
        if self.clusters < 2 or np.isnan(estimate):
            return Draws(estimate, np.full(len(self.weights), np.nan), self.clusters)
        return Draws(estimate, statistic(self.weights), self.clusters)

    def mean(self, values: Sequence[float]) -> Interval:
        """Interval of the mean over scans of ``values`` (N,)."""
        return self.interval(weighted_mean(values))

    def difference(self, first: Sequence[float], second: Sequence[float]) -> Interval:
        """Interval of the mean of the paired differences ``first - second``, (N,) each."""
        return self.mean(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))


def _percentile_interval(estimate: float, values: np.ndarray) -> Interval:
    """Central 95 % of the values (R,) of the resamples; undefined ones (nan) are left out."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(estimate, np.nan, np.nan)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(estimate, float(low), float(high))


def unpaired_difference(
    first: ClusterBootstrap,
    of_first: Statistic,
    second: ClusterBootstrap,
    of_second: Statistic,
) -> Interval:
    """Interval of the difference of two groups of subjects, ``first - second``.

    Both groups are resampled, independently of each other: they need different seeds. The limits
    are nan where a group has fewer than two subjects.

    Args:
        first, second: Resamples of either group; their number is the same.
        of_first, of_second: The statistic of either group, as a function of its own weights.

    Raises:
        ValueError: the numbers of resamples differ.
    """
    if len(first.weights) != len(second.weights):
        raise ValueError("two groups need the same number of resamples")
    one, other = (
        float(statistic(np.ones((1, group.size)))[0])
        for group, statistic in ((first, of_first), (second, of_second))
    )
    if min(first.clusters, second.clusters) < 2 or np.isnan(one - other):
        return Interval(one - other, np.nan, np.nan)
    return _percentile_interval(one - other, of_first(first.weights) - of_second(second.weights))


def weighted_mean(values: Sequence[float]) -> Statistic:
    """Mean of ``values`` (N,) as a function of the weights."""
    column = np.asarray(values, dtype=np.float64)
    return lambda weights: weights @ column / weights.sum(1)


def difference_of(first: Statistic, second: Statistic) -> Statistic:
    """Difference of two statistics on the same resamples."""
    return lambda weights: first(weights) - second(weights)


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's correction of p values for multiple tests.

    Args:
        p: (K,) p values of one family. Missing ones (nan) stay nan and do not count.

    Returns:
        (K,) corrected p values.
    """
    p = np.asarray(p, dtype=float)
    corrected = np.full(len(p), np.nan)
    order = [index for index in np.argsort(p, kind="stable") if not np.isnan(p[index])]
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[index]))
        corrected[index] = largest
    return corrected
