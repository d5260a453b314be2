"""Validation measures shared by the stages."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch

from ldae.seeds import generator
from ldae.training.objectives.base import PartialLoss

QUARTILES = 4
SHOWN = 4  # validation scans in a picture


def mean_ssim(x_hat: torch.Tensor, x: torch.Tensor) -> float:
    """Mean structural similarity of volumes (B, 1, X, Y, Z) in [0, 1], whole volume.

    MONAI's standard window (Gaussian, 11 voxels, sigma 1.5).
    """
    from monai.metrics.regression import SSIMMetric

    metric = SSIMMetric(spatial_dims=3, data_range=1.0)
    return metric(y_pred=x_hat.float(), y=x.float()).mean().item()


def over_subjects(rows: np.ndarray, subjects: pd.Series) -> np.ndarray:
    """The rows so ordered that the first n are of as many subjects as can be.

    Args:
        rows: Of a store, ascending.
        subjects: Participant of every row of the store.

    Returns:
        The first row of each subject, then the second of each that has one, and so on.
    """
    visit = subjects[rows].groupby(subjects[rows]).cumcount().to_numpy()
    return rows[np.argsort(visit, kind="stable")]


def quartile_draws(
    scans: Iterable[str], shape: tuple[int, ...], timesteps: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fixed steps and noise, one for each scan (its scan_id) and quarter of the timesteps.

    Returns:
        t (N, 4) long, the q-th within the q-th quarter of 0 .. timesteps-1, and eps (N, 4, *shape).
        A scan's draws do not depend on the other scans of the store, nor on its row.
    """
    quarter = timesteps // QUARTILES
    steps, noise = [], []
    for scan in scans:
        source = generator(seed, "validation", scan)
        offsets = torch.randint(quarter, (QUARTILES,), generator=source)
        steps.append(offsets + quarter * torch.arange(QUARTILES))
        noise.append(torch.randn(QUARTILES, *shape, generator=source))
    return torch.stack(steps), torch.stack(noise)


def fixed_noise(seed: int, name: int | str, shape: tuple[int, ...]) -> torch.Tensor:
    """The noise (C, *S) that a validation scan (its scan_id), or a sample, is always made from."""
    return torch.randn(shape, generator=generator(seed, "validation noise", name))


def by_quartile(losses: torch.Tensor, t: torch.Tensor, timesteps: int) -> dict[str, PartialLoss]:
    """``loss_q1`` .. ``loss_q4``: losses (B,) of the items with t (B,) in a quarter."""
    quarter = t * QUARTILES // timesteps
    return {
        f"loss_q{q + 1}": PartialLoss((losses * (quarter == q)).sum(), (quarter == q).sum())
        for q in range(QUARTILES)
    }
