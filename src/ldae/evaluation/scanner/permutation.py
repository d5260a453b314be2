"""Permutation null: labels exchanged between subjects, since scans of one are not independent."""

from collections.abc import Callable, Sequence

import numpy as np


class SubjectPermutations:
    """Fixed permutations of the subjects of N scans.

    In each, a subject takes the labels of another: its k-th scan that of the other's k-th, from the
    first again where the other has fewer scans. Labels that do not vary within a subject are thus
    permuted exactly.

    Args:
        subjects: Participant of each scan, length N; scans of one in the order of their visits.
        count: Number of permutations R.
        seed: Of the draws.

    Attributes:
        taken: (R, N) the scan whose label each scan takes.
    """

    def __init__(self, subjects: Sequence[str], count: int, seed: int):
        names, member = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
        scans = [np.flatnonzero(member == place) for place in range(len(names))]
        first = np.concatenate([[0], np.cumsum([len(one) for one in scans])])
        flat, sizes = np.concatenate(scans), np.array([len(one) for one in scans])
        turn = np.empty(len(member), dtype=int)
        for one in scans:
            turn[one] = np.arange(len(one))
        draw = np.random.default_rng(seed)
        self.taken = np.empty((count, len(member)), dtype=int)
        for row in range(count):
            other = draw.permutation(len(names))[member]
            self.taken[row] = flat[first[other] + turn % sizes[other]]

    def null(self, score: Callable[[np.ndarray], float], labels: np.ndarray) -> np.ndarray:
        """The score (R,) of the labels (N,) of every permutation; nan where it is undefined."""
        return np.array([score(labels[taken]) for taken in self.taken])


def permutation_p(found: float, null: np.ndarray) -> float:
    """One-sided p value of a score: the share of permutations that reach it, at least 1/(R + 1)."""
    null = null[~np.isnan(null)]
    if np.isnan(found) or not len(null):
        return float("nan")
    return float((1 + (null >= found - 1e-12).sum()) / (len(null) + 1))
