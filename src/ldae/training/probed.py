"""What linear probes read from y_sem while it is trained: a curve that should rise.

Training scans alone, every subject held out in turn: a diagnosis of the training, not a result.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from ldae.training.validation import over_subjects

CLASSES = ("CN", "AD")  # the second is the positive one
FOLDS = 5
PENALTIES = np.logspace(-1, 5, 7)


@dataclass(frozen=True)
class Probed:
    """The scans whose codes are probed, and their labels.

    Attributes:
        rows: Of the store.
        subjects: Participant of each.
        diagnosis: Of each.
        age: Years.
    """

    rows: np.ndarray
    subjects: np.ndarray
    diagnosis: np.ndarray
    age: np.ndarray

    @classmethod
    def choose(cls, index: pd.DataFrame, rows: np.ndarray, most: int) -> "Probed":
        """At most so many of the rows with a known age, of as many subjects as can be."""
        known = rows[index["age"].notna().to_numpy()[rows]]
        chosen = over_subjects(known, index["participant_id"])[:most]
        labels = index.loc[chosen, ["participant_id", "diagnosis", "age"]]
        return cls(chosen, *(labels[name].to_numpy() for name in labels))

    def measures(self, codes: Tensor) -> dict[str, float]:
        """Ridge regressions of diagnosis and age on codes (N, d), scored on subjects left out.

        Returns:
            ``probe_auroc`` of AD against CN and ``probe_age_r``, the correlation with the age;
            either is left out where there are fewer subjects (of a class) than folds.
        """
        y_sem, found = codes.double().cpu().numpy(), {}
        of_class = [set(self.subjects[self.diagnosis == name]) for name in CLASSES]
        if min(map(len, of_class)) >= FOLDS:
            from sklearn.metrics import roc_auc_score

            either = np.isin(self.diagnosis, CLASSES)
            ill = self.diagnosis[either] == CLASSES[1]
            scores = _held_out(y_sem[either], ill.astype(float), self.subjects[either])
            found["probe_auroc"] = float(roc_auc_score(ill, scores))
        if len(set(self.subjects)) >= FOLDS:
            scores = _held_out(y_sem, self.age, self.subjects)
            if min(scores.std(), self.age.std()) > 0:
                found["probe_age_r"] = float(np.corrcoef(scores, self.age)[0, 1])
        return found


def _held_out(y_sem: np.ndarray, target: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Predictions (N,) for every scan, by a model without its subject."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    return cross_val_predict(model, y_sem, target, groups=subjects, cv=GroupKFold(FOLDS))
