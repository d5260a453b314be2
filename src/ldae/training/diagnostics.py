"""Representation diagnostics: posterior collapse, collapse of y_sem, and online linear probes.

Collapse is measured on validation scans, and flags warn of it. The online probes predict diagnosis
and age from y_sem while it is trained: two curves that should rise. They are fitted on training
scans and scored on validation scans. They diagnose the training and are no result, so neither their
scans nor their classes are those of the evaluation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from ldae.training.validation import interleave_subjects

ACTIVE = 0.01  # a channel is active if its means give more than this fraction of its variance
MIN_SUBJECTS = 4  # for fewer the rank of the codes is not checked
MIN_RANK = 1.5
MIN_SPREAD = 1e-3
CLASSES = ("CN", "AD")  # the second is the positive one
MIN_PROBE_SUBJECTS = 5
PENALTIES = np.logspace(-1, 5, 7)


class LatentActivity:
    """Variance of the posterior means relative to the posterior's own variance, by latent channel.

    It is accumulated batch by batch. In a collapsed channel the posterior is as wide as the prior
    whatever the scan: its means hardly vary beside their standard deviation.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: Tensor | float = 0.0  # (3, C): of means, squared means, variances

    def add(self, mean: Tensor, std: Tensor) -> None:
        """Add the posterior means and standard deviations of a batch, both (B, C, *S)."""
        moments = torch.stack([mean, mean**2, std**2]).double().transpose(1, 2).flatten(2)
        self.sums = self.sums + moments.sum(2).cpu()
        self.count += moments.shape[2]

    def result(self) -> dict[str, float]:
        """Summarise all batches added so far.

        Returns:
            ``latent_std``, the standard deviation of the means over all channels; and
            ``latent_active``, the fraction of channels above :data:`ACTIVE`.
        """
        mean, square, noise = self.sums / self.count
        variance = (square - mean**2).clamp_min(0)
        active = variance / (variance + noise) > ACTIVE
        return {
            "latent_std": variance.mean().sqrt().item(),
            "latent_active": active.double().mean().item(),
        }


def code_spread(codes: Tensor, subjects: Sequence[str]) -> dict[str, float]:
    """Spread of y_sem (N, d) of N scans between subjects, and its effective number of directions.

    Each subject counts by the mean over its scans: repeated scans of few people add no spread.

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
    """Warnings of posterior collapse, from the measures of :class:`LatentActivity`."""
    if metrics["latent_active"] >= 1.0:
        return []
    dead = 1.0 - metrics["latent_active"]
    return [
        f"posterior collapse: {dead:.0%} of the latent channels vary less than their own noise "
        "from scan to scan; lower autoencoder.kl_weight"
    ]


def code_flags(metrics: dict[str, float], subjects: int) -> list[str]:
    """Warnings of a collapsed y_sem and, in stage 3, of idle guidance.

    Args:
        metrics: Validation metrics: ``loss``, the measures of :func:`code_spread`, and in stage 3
            ``loss_frozen``.
        subjects: Number of validation subjects.
    """
    flags = []
    if metrics.get("y_spread", 1.0) < MIN_SPREAD:
        flags.append("y_sem collapses: it is nearly the same for every validation subject")
    if subjects >= MIN_SUBJECTS and metrics["y_rank"] < MIN_RANK:
        flags.append("y_sem collapses: the validation subjects differ along one direction only")
    if metrics["loss"] >= metrics.get("loss_frozen", math.inf):
        flags.append("the guidance is idle: y_sem does not lower the frozen denoiser's loss")
    return flags


@dataclass(frozen=True)
class OnlineProbes:
    """Linear probes of y_sem during the training: the scans that they use, and the labels.

    Attributes:
        rows: Rows of the store (N,); those of the training split first.
        held: Whether each row is of the validation split (N,).
        subjects, diagnosis, age: Participant, diagnosis, and age in years of each row (N,).
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
        """Choose scans with a known age, of as many subjects as possible.

        Args:
            index: Index of the store.
            train, val: Rows of the two splits.
            most: Largest number of scans from each split.
        """
        aged = index["age"].notna().to_numpy()
        splits = [
            interleave_subjects(r[aged[r]], index["participant_id"])[:most] for r in (train, val)
        ]
        rows = np.concatenate(splits)
        labels = index.loc[rows, ["participant_id", "diagnosis", "age"]]
        held = np.arange(len(rows)) >= len(splits[0])
        return cls(rows, held, *(labels[name].to_numpy() for name in labels))

    def measures(self, codes: Tensor) -> dict[str, float]:
        """Fit ridge regressions of diagnosis and age on the codes (N, d) of :attr:`rows`.

        Returns:
            ``probe_auroc`` of AD against CN, and ``probe_age_r``, the correlation of predicted and
            true age. Either is omitted if a split has fewer than :data:`MIN_PROBE_SUBJECTS`
            subjects (for the AUROC: of either class).
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
        """Whether the chosen rows (N,) have :data:`MIN_PROBE_SUBJECTS` subjects in both splits."""
        splits = (self.subjects[chosen & (self.held == held)] for held in (False, True))
        return min(len(set(split)) for split in splits) >= MIN_PROBE_SUBJECTS

    def _scores(self, y_sem: np.ndarray, target: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Predictions for the chosen validation rows, by a fit to the chosen training rows."""
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        fitted, scored = chosen & ~self.held, chosen & self.held
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
        return model.fit(y_sem[fitted], target[fitted]).predict(y_sem[scored])
