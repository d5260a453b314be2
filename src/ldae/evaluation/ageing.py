"""Change per year of codes and latents: of one participant's visits, and of the training people.

The population's change is the slope of one regression on time within participants. No diagnosis
and no test or validation scan enters it.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.inference.ldae_system import LdaeSystem

log = logging.getLogger(__name__)


class Ageing(NamedTuple):
    """Mean change per year of the training people.

    Attributes:
        y: Of y_sem, (d,).
        z: Of the latents z_0, (C, *S), in the scale of the diffusion.
        subjects: Number of people with visits at two months or more; where it is 0, so is the
            change.
    """

    y: Tensor
    z: Tensor
    subjects: int


def slope_weights(months: Sequence[int], participants: Sequence[str] | None = None) -> np.ndarray:
    """Weights (N,) of N visits, whose weighted sum is the slope per year of any of their values.

    The slope is that of least squares with a level of its own for each participant and one slope
    for all. Participants without two different months have weights of 0.

    Args:
        months: Months of the visits.
        participants: Their participants; None: all of one.
    """
    years = pd.Series(np.asarray(months, dtype=float) / 12)
    of = np.zeros(len(years)) if participants is None else np.asarray(participants)
    centred = (years - years.groupby(of).transform("mean")).to_numpy()
    total = float((centred**2).sum())
    return centred / total if total > 0 else np.zeros(len(years))


def measure_ageing(system: LdaeSystem, latents: str | Path, embeddings: str | Path) -> Ageing:
    """Change per year of y_sem and z_0 over the training people of a latent store.

    Only scans of people with two visits or more are read. Where there are none, the change is 0,
    and the log says so.

    Args:
        system: The trained models.
        latents: Folder of the latent store.
        embeddings: y_sem of all scans by the LDAE's encoder.
    """
    store = system.latent_store(latents)
    training = store.index.loc[store.rows("train")]
    weights = slope_weights(training["months"], training["participant_id"])
    used = training[weights != 0]
    subjects = used["participant_id"].nunique()
    y = system.stored_codes(embeddings, training["scan_id"])
    z = torch.zeros(store.shape, dtype=torch.float64)
    for row, weight in zip(used.index, weights[weights != 0], strict=True):
        z += float(weight) * store.latent(row).double()
    if subjects:
        log.info("change per year of y_sem and latents: from %d training people", subjects)
    else:
        log.warning(
            "No training participant has scans at two months, so the population's change is "
            "unknown: population_change repeats the mean of the visits."
        )
    change = torch.from_numpy(weights @ y).float()
    return Ageing(change, (z * (system.scale / store.scale)).float(), subjects)
