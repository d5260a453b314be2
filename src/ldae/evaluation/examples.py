"""Example scans of the figures: selection, and volumes as arrays.

Arrays are written as npz: float16 volumes and names, without pickles and without dates.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.errors import UserError
from ldae.files import save_arrays
from ldae.inference.ldae_system import LdaeSystem
from ldae.seeds import fixed_noise


def as_arrays(volumes: Tensor) -> np.ndarray:
    """Volumes (B, 1, X, Y, Z) on any device as float16 (B, X, Y, Z)."""
    return volumes[:, 0].cpu().numpy().astype(np.float16)


def example_scans(test: pd.DataFrame, subjects: dict[str, str | None]) -> pd.DataFrame:
    """Select one scan per class to show: the first of the named, or of any, test participant.

    Args:
        test: Test rows with scan_id, participant_id, diagnosis.
        subjects: ``figures.subjects`` of the config: diagnosis to participant_id or None.

    Raises:
        UserError: the test split has no such scan.
    """
    rows = []
    for diagnosis, participant in subjects.items():
        found = test[test["diagnosis"] == diagnosis].sort_values("scan_id")
        if participant is not None:
            found = found[found["participant_id"] == participant]
        if found.empty:
            who = "any participant" if participant is None else participant
            raise UserError(
                f"The test split holds no {diagnosis} scan of {who} to show; change "
                f"figures.subjects.{diagnosis} or the classes named there."
            )
        rows.append(found.index[0])
    return test.loc[rows]


def reconstruction_examples(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    arrays: str | Path,
    cfg: dict[str, Any],
    subjects: dict[str, str | None],
    samples: int,
) -> None:
    """Write the volumes of Figures 3 and 4 for one test scan of each class, at the largest T.

    Args:
        system, volumes, embeddings: As in
            :func:`ldae.evaluation.reconstruction.evaluate_reconstruction`.
        arrays: npz to write: scan_id, participant_id, diagnosis, original, reconstruction (the
            autoencoder's), encoded (N, X, Y, Z), samples (N, K, X, Y, Z), T, spacing. Sample 0
            starts from the noise of the tables where ``start_noise`` is the paper's.
        cfg: Section ``evaluation``.
        subjects: ``figures.subjects``: diagnosis to participant, None for the first of the class.
        samples: Number K of stochastic codes per scan (``figures.stochastic_samples``).

    Raises:
        UserError: the test split has no scan of a class or of a named participant.
    """
    system = system.with_solver(cfg["solver"])
    store, steps = system.volume_store(volumes), max(cfg["ddim_steps"])
    chosen = example_scans(store.index.loc[store.rows("test")], subjects)
    codes = torch.from_numpy(system.stored_codes(embeddings, chosen["scan_id"])).float()
    y = system.compute.move(codes)
    x = store.volumes(chosen["row"].to_numpy())
    z_0 = system.encode_z(x)
    starts = [system.invert(chosen["scan_id"].tolist(), z_0, y, steps)]
    for number in range(samples):
        noise = fixed_noise(chosen["scan_id"], z_0.shape[1:], cfg["noise_seed"], number)
        starts.append(system.compute.move(noise))
    images = [system.images(z_T, y, steps, cfg["batch_size"]) for z_T in starts]
    decoded = as_arrays(torch.cat(images)).reshape(len(starts), len(chosen), *store.shape)
    save_arrays(
        arrays,
        scan_id=chosen["scan_id"],
        participant_id=chosen["participant_id"],
        diagnosis=chosen["diagnosis"],
        T=steps,
        spacing=store.spacing,
        original=as_arrays(x),
        reconstruction=as_arrays(system.image(z_0)),
        encoded=decoded[0],
        samples=decoded[1:].swapaxes(0, 1),
    )
