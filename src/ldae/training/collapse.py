"""Measures of codes that have lost what they should tell, and the flags raised on them."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

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
