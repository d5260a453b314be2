"""Validation measures and fixed random draws, shared by the stages."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch

from ldae.errors import require
from ldae.seeds import generator
from ldae.ssim import ssim
from ldae.training.objectives.base import PartialLoss

SELECTIONS = ("as_tables", "unclamped")
QUARTILES = 4  # of the timesteps
SHOWN = 4  # validation scans in a picture


def mean_ssim(x_hat: torch.Tensor, x: torch.Tensor, selection: str) -> float:
    """Mean structural similarity (SSIM) over whole volumes (B, 1, X, Y, Z), by which is selected.

    Args:
        x_hat: Decoded volumes.
        x: Scans in [0, 1].
        selection: ``as_tables``, the SSIM of the tables (:mod:`ldae.ssim`), of decoded volumes that
            are clamped to [0, 1] as there; ``unclamped``, MONAI's with its standard window
            (Gaussian, 11 voxels, sigma 1.5), of decoded volumes as they are.

    Raises:
        UserError: an unknown ``selection``.
    """
    require(
        selection in SELECTIONS,
        f"selection is {selection!r}; allowed are {', '.join(SELECTIONS)}.",
    )
    if selection == "as_tables":
        return ssim(x, x_hat.float().clamp(0, 1), x > 0)[0].mean().item()
    from monai.metrics.regression import SSIMMetric

    metric = SSIMMetric(spatial_dims=3, data_range=1.0)
    return metric(y_pred=x_hat.float(), y=x.float()).mean().item()


def interleave_subjects(rows: np.ndarray, subjects: pd.Series) -> np.ndarray:
    """Order rows such that the first n, for any n, are of as many subjects as possible.

    Args:
        rows: Rows of a store, ascending.
        subjects: Participant of every row of the store.

    Returns:
        The first row of each subject, then the second of each that has one, and so on.
    """
    visit = subjects[rows].groupby(subjects[rows]).cumcount().to_numpy()
    return rows[np.argsort(visit, kind="stable")]


def quartile_draws(
    scans: Iterable[str], shape: tuple[int, ...], timesteps: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fixed timesteps and noise: one of each for every scan (by scan_id) and quarter of timesteps.

    Returns:
        t (N, 4) long, the q-th within the q-th quarter of 0 .. timesteps-1, and eps (N, 4, *shape).
        A scan's draws depend neither on the other scans of the store nor on its row.
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
    """Fixed noise (C, *S) from which a validation scan (by scan_id) or a sample is generated."""
    return torch.randn(shape, generator=generator(seed, "validation noise", name))


def by_quartile(losses: torch.Tensor, t: torch.Tensor, timesteps: int) -> dict[str, PartialLoss]:
    """Losses (B,) by the quarter of the timesteps that t (B,) is in: ``loss_q1`` .. ``loss_q4``."""
    quarter = t * QUARTILES // timesteps
    return {
        f"loss_q{q + 1}": PartialLoss((losses * (quarter == q)).sum(), (quarter == q).sum())
        for q in range(QUARTILES)
    }
