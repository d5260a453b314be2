"""What linear probes read from y_sem while it is trained: a curve that should rise.

Fitted on training scans, scored on validation scans: a diagnosis of the training, not a result, so
neither the scans nor the classes are those that the evaluation is told.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from ldae.training.validation import over_subjects

CLASSES = ("CN", "AD")  # the second is the positive one
MIN_SUBJECTS = 5
PENALTIES = np.logspace(-1, 5, 7)


@dataclass(frozen=True)
class Probed:
    """Training and validation scans whose codes are probed, and their labels.

    Attributes:
        rows: Of the store; those of training first.
        held: Whether each is of validation.
        subjects, diagnosis, age: Of each; years.
    """

    rows: np.ndarray
    held: np.ndarray
    subjects: np.ndarray
    diagnosis: np.ndarray
    age: np.ndarray

    @classmethod
    def choose(cls, index: pd.DataFrame, train: np.ndarray, val: np.ndarray, most: int) -> "Probed":
        """At most so many rows of either split with a known age, of as many subjects as can be."""
        aged = index["age"].notna().to_numpy()
        sides = [over_subjects(r[aged[r]], index["participant_id"])[:most] for r in (train, val)]
        rows = np.concatenate(sides)
        labels = index.loc[rows, ["participant_id", "diagnosis", "age"]]
        held = np.arange(len(rows)) >= len(sides[0])
        return cls(rows, held, *(labels[name].to_numpy() for name in labels))

    def measures(self, codes: Tensor) -> dict[str, float]:
        """Ridge regressions of diagnosis and age on the rows' codes (N, d).

        Returns:
            ``probe_auroc`` of AD against CN and ``probe_age_r``, the correlation with the age;
            either is left out where a split has fewer than :data:`MIN_SUBJECTS` (of a class).
        """
        y_sem, found = codes.double().cpu().numpy(), {}
        either = np.isin(self.diagnosis, CLASSES)
        ill = self.diagnosis == CLASSES[1]
        if self._enough(ill) and self._enough(either & ~ill):
            from sklearn.metrics import roc_auc_score

            scored = either & self.held
            scores = self._scores(y_sem, ill.astype(float), either)
            found["probe_auroc"] = float(roc_auc_score(ill[scored], scores))
        every = np.ones_like(self.held)
        if self._enough(every):
            scores, age = self._scores(y_sem, self.age, every), self.age[self.held]
            if min(scores.std(), age.std()) > 0:
                found["probe_age_r"] = float(np.corrcoef(scores, age)[0, 1])
        return found

    def _enough(self, chosen: np.ndarray) -> bool:
        sides = (self.subjects[chosen & (self.held == held)] for held in (False, True))
        return min(len(set(side)) for side in sides) >= MIN_SUBJECTS

    def _scores(self, y_sem: np.ndarray, target: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Predictions for the chosen rows of validation, by a fit to those of training."""
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        fitted, scored = chosen & ~self.held, chosen & self.held
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
        return model.fit(y_sem[fitted], target[fitted]).predict(y_sem[scored])
