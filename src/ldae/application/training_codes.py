"""Distribution of y_sem over the scans that a model was trained on, without any person's row.

A new scan is compared with it: how far its code lies from the training scans' (novelty), and how
far a manipulation moves it in units of their spread.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.files import save_arrays

NOVEL = 100.0  # percentile from which a scan is said to be unlike the training scans


def novelty_warnings(percentile: float) -> list[str]:
    """A sentence where a code lies farther from training than all that it is compared with."""
    if percentile < NOVEL:
        return []
    return [
        "The scan is unlike those that the models were trained on: its code lies farther from "
        "theirs than every code that they were compared with. Its numbers may mean nothing."
    ]


@dataclass(frozen=True)
class TrainingCodes:
    """Distribution of y_sem over the training scans.

    Attributes:
        mean: (d,) mean of the codes.
        precision: (d, d) inverse of their covariance, shrunk by Ledoit and Wolf's rule.
        distances: (101,) percentiles of the squared Mahalanobis distance over scans that the model
            was not trained on (split ``val``; ``train`` where there are none).
        logit_sd: Standard deviation of the diagnosis logit over the training codes.
        logit_range: (2,) smallest and largest logit of them.
    """

    mean: np.ndarray
    precision: np.ndarray
    distances: np.ndarray
    logit_sd: float
    logit_range: np.ndarray

    @classmethod
    def measure(
        cls, y_sem: np.ndarray, splits: pd.Series, classifier: str | Path
    ) -> "TrainingCodes":
        """Measure the distribution.

        Args:
            y_sem: (N, d) codes of the scans.
            splits: Split of each of them: ``train``, ``val``, ``test``.
            classifier: File (npz) of the diagnosis probe.
        """
        from sklearn.covariance import LedoitWolf  # its import takes a second

        y_sem = np.asarray(y_sem, np.float64)
        training = y_sem[(splits == "train").to_numpy()]
        held_out = y_sem[(splits == "val").to_numpy()]
        fitted = LedoitWolf().fit(training)
        distances = fitted.mahalanobis(held_out if len(held_out) else training)
        with np.load(classifier) as probe:
            standardised = (training - probe["mean"]) / probe["std"]
            logits = standardised @ probe["w"] + probe["b"]
        require(
            logits.std() > 0,
            f"All training scans have the same logit by {classifier}: the probe tells nothing.",
        )
        return cls(
            fitted.location_,
            fitted.precision_,
            np.percentile(distances, range(101)),
            float(logits.std()),
            np.array([logits.min(), logits.max()]),
        )

    @classmethod
    def load(cls, path: str | Path) -> "TrainingCodes":
        """Read a file written by :meth:`save`.

        Raises:
            UserError: the file does not exist.
        """
        require(
            Path(path).is_file(),
            f"{path} does not exist: it was written by an earlier version. Run the target "
            "`application` where the models were made.",
        )
        with np.load(path) as file:
            arrays = {name: file[name].astype(np.float64) for name in file.files}
        return cls(**{**arrays, "logit_sd": float(arrays["logit_sd"])})

    def save(self, path: str | Path) -> None:
        """Write the arrays to an npz, in float32."""
        save_arrays(path, **{name: np.float32(value) for name, value in vars(self).items()})

    def novelty(self, y_sem: np.ndarray) -> np.ndarray:
        """Percentile (N,) of the distance of each code (N, d) among scans like the training ones.

        50 is a usual scan; 100 is farther away than every scan that the model was compared with.
        """
        return np.interp(self._squared(y_sem), self.distances, np.arange(101.0))

    def distance(self, y_sem: np.ndarray) -> np.ndarray:
        """Distance (N,) of each code (N, d), as a multiple of the farthest compared scan's.

        It tells apart codes whose percentile is 100.
        """
        return np.sqrt(self._squared(y_sem) / self.distances[-1])

    def _squared(self, y_sem: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance (N,) from the mean of the training codes."""
        away = np.asarray(y_sem, np.float64) - self.mean
        return np.einsum("ni,ij,nj->n", away, self.precision, away)

    def beyond(self, logit: float) -> float:
        """How far a logit lies outside the training range, in widths of that range; 0 inside."""
        low, high = self.logit_range
        return max(low - logit, logit - high, 0.0) / (high - low)
