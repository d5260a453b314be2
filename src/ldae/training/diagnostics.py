"""Measures of codes that have lost what they should tell, and the flags raised on them.

What linear probes read from y_sem while it is trained: a curve that should rise.

Fitted on training scans, scored on validation scans: a diagnosis of the training, not a result, so
neither the scans nor the classes are those that the evaluation is told.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from ldae.training.validation import over_subjects

ACTIVE = 0.01  # share of a channel's variance that must come from its means
MIN_SUBJECTS = 4  # fewer codes have no rank worth a warning
MIN_RANK = 1.5
MIN_SPREAD = 1e-3


class LatentActivity:
    """Variance of posterior means against the posterior's own, by channel, batch by batch.

    A channel in which the posterior is as wide as the prior whatever the scan says nothing: its
    means hardly vary beside their standard deviation (posterior collapse).
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: Tensor | float = 0.0  # (3, C): means, their squares, variances

    def add(self, mean: Tensor, std: Tensor) -> None:
        """Count posterior means and standard deviations (B, C, *S)."""
        moments = torch.stack([mean, mean**2, std**2]).double().transpose(1, 2).flatten(2)
        self.sums = self.sums + moments.sum(2).cpu()
        self.count += moments.shape[2]

    def result(self) -> dict[str, float]:
        """``latent_std`` of the means, all channels; ``latent_active``, share of live channels."""
        mean, square, noise = self.sums / self.count
        variance = (square - mean**2).clamp_min(0)
        active = variance / (variance + noise) > ACTIVE
        return {
            "latent_std": variance.mean().sqrt().item(),
            "latent_active": active.double().mean().item(),
        }


def code_spread(codes: Tensor, subjects: Sequence[str]) -> dict[str, float]:
    """How much y_sem (N, d) of N scans differs between subjects, and in how many directions.

    A subject counts by the mean over its scans: repeated scans of few people are no spread.

    Returns:
        ``y_spread``, standard deviation between subjects over root mean square; and ``y_rank``,
        the effective number of directions (squared sum over sum of squares of the covariance's
        eigenvalues). Empty for a single subject.
    """
    numbers, _ = pd.factorize(np.asarray(subjects))
    if len(set(numbers)) < 2:
        return {}
    member = functional.one_hot(torch.as_tensor(numbers)).double().T  # (subjects, N)
    codes = member @ codes.double().cpu() / member.sum(1, keepdim=True)
    centred = codes - codes.mean(0)
    variances = torch.linalg.svdvals(centred) ** 2
    rank = variances.sum() ** 2 / (variances**2).sum().clamp_min(1e-300)
    spread = centred.pow(2).mean().sqrt() / codes.pow(2).mean().sqrt().clamp_min(1e-300)
    return {"y_spread": spread.item(), "y_rank": rank.item()}


def latent_flags(metrics: dict[str, float]) -> list[str]:
    """Flags on :class:`LatentActivity`'s measures."""
    if metrics["latent_active"] >= 1.0:
        return []
    dead = 1.0 - metrics["latent_active"]
    return [
        f"posterior collapse: {dead:.0%} of the latent channels vary less than their own noise "
        "from scan to scan; lower autoencoder.kl_weight"
    ]


def code_flags(metrics: dict[str, float], subjects: int) -> list[str]:
    """Flags on :func:`code_spread`'s measures over so many subjects, and on guidance, if any."""
    flags = []
    if metrics.get("y_spread", 1.0) < MIN_SPREAD:
        flags.append("y_sem collapses: it is nearly the same for every validation subject")
    if subjects >= MIN_SUBJECTS and metrics["y_rank"] < MIN_RANK:
        flags.append("y_sem collapses: the validation subjects differ along one direction only")
    if metrics["loss"] >= metrics.get("loss_frozen", math.inf):
        flags.append("the guidance is idle: y_sem does not lower the frozen denoiser's loss")
    return flags


CLASSES = ("CN", "AD")  # the second is the positive one
MIN_PROBE_SUBJECTS = 5
PENALTIES = np.logspace(-1, 5, 7)


@dataclass(frozen=True)
class OnlineProbes:
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
    def choose(
        cls, index: pd.DataFrame, train: np.ndarray, val: np.ndarray, most: int
    ) -> "OnlineProbes":
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
            either is left out where a split has fewer than :data:`MIN_PROBE_SUBJECTS` (of a class).
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
        return min(len(set(side)) for side in sides) >= MIN_PROBE_SUBJECTS

    def _scores(self, y_sem: np.ndarray, target: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Predictions for the chosen rows of validation, by a fit to those of training."""
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        fitted, scored = chosen & ~self.held, chosen & self.held
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
        return model.fit(y_sem[fitted], target[fitted]).predict(y_sem[scored])
