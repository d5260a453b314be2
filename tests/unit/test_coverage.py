"""Intervals and p values over 200 simulated cohorts: how often they are right.

A person has a true value, and two or three scans that share part of their error, as real ones do.
The probe is given: what varies is who is in the test split.
"""

import numpy as np
import pytest
from scipy.stats import kstest

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, Statistic
from ldae.evaluation.metrics.classification import auroc, confusion_score, error_score, pearson
from ldae.evaluation.metrics.concordance import concordance, survival_concordance

COHORTS, PEOPLE, RESAMPLES = 200, 80, 500


def population(people: int, seed: int) -> dict[str, np.ndarray]:
    """Scans (N,) of people: truth, two unrelated scores of equal worth, and who is who."""
    rng = np.random.default_rng(seed)
    visits = rng.integers(2, 4, people)
    person = np.repeat(np.arange(people), visits)
    truth = rng.normal(size=people)[person]
    scores = [
        truth + 0.8 * rng.normal(size=people)[person] + 0.5 * rng.normal(size=len(person))
        for _ in range(2)
    ]
    time = rng.exponential(np.exp(-truth))
    censored = rng.exponential(2.0, size=len(person))
    return {
        "person": person,
        "truth": truth,
        "score": scores[0],
        "other": scores[1],
        "time": np.minimum(time, censored),
        "event": (time <= censored).astype(float),
    }


def statistic(name: str, scans: dict[str, np.ndarray], score: str = "score") -> Statistic:
    """A score of the product for one kind of target."""
    truth, found = scans["truth"], scans[score]
    positive, called = truth > 0.4, found > 0.4
    return {
        "auroc": lambda: auroc(positive, found),
        "balanced_accuracy": lambda: confusion_score("balanced_accuracy", positive, called),
        "mae": lambda: error_score("mae", truth, found),
        "correlation": lambda: pearson(truth, found),
        "concordance": lambda: concordance(np.digitize(truth, [-0.7, 0.7]), found),
        "survival": lambda: survival_concordance(scans["time"], scans["event"], found),
    }[name]()


@pytest.mark.parametrize(
    "name", ["auroc", "balanced_accuracy", "mae", "correlation", "concordance", "survival"]
)
def test_intervals_hold_the_true_value_of_95_in_100_cohorts(name):
    large = [population(1000, 1_000_000 + seed) for seed in range(5)]
    true = np.mean([statistic(name, one)(np.ones((1, len(one["truth"]))))[0] for one in large])
    held = 0
    for seed in range(COHORTS):
        scans = population(PEOPLE, seed)
        interval = ClusterBootstrap(scans["person"], RESAMPLES, seed).interval(
            statistic(name, scans)
        )
        held += interval.low <= true <= interval.high
    assert 0.92 <= held / COHORTS <= 0.97


@pytest.mark.parametrize("name", ["auroc", "mae"])
def test_p_values_of_equally_good_systems_are_uniform(name):
    p = []
    for seed in range(COHORTS):
        scans = population(PEOPLE, 5_000 + seed)
        bootstrap = ClusterBootstrap(scans["person"], RESAMPLES, seed)
        first, second = (
            bootstrap.draws(statistic(name, scans, score)) for score in ("score", "other")
        )
        p.append((first - second).two_sided_p())
    assert kstest(p, "uniform").pvalue > 0.05
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09
