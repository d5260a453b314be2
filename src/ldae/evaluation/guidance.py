"""Noise-prediction loss on test subjects, with and without the gradient estimator.

Stage 3 trains the gradient estimator to lower this loss. The comparison shows whether y_sem
improves the noise estimate on test subjects, and whether it has to be the subject's own y_sem. All
systems get the same latents, timesteps and noise, so differences are paired.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ldae.data.sampling import batches
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap
from ldae.evaluation.test_scans import spread_over_subjects, wrong_scans
from ldae.files import write_table
from ldae.inference.ldae_system import LdaeSystem
from ldae.progress import Progress
from ldae.seeds import generator

PER_QUARTILE = 8  # timesteps per scan and quartile
SYSTEMS = ("ldm", "right_y_sem", "wrong_y_sem", "mean_y_sem")
METRICS = ("loss", "weighted_loss")
COMPARISONS = (
    ("right_y_sem", "ldm"),
    ("wrong_y_sem", "ldm"),
    ("mean_y_sem", "ldm"),
    ("right_y_sem", "wrong_y_sem"),
    ("right_y_sem", "mean_y_sem"),
)


def fixed_timesteps(timesteps: int) -> np.ndarray:
    """Timesteps of every scan, (32,): midpoints of equal parts of 0..timesteps-1, 8 a quartile."""
    count = 4 * PER_QUARTILE
    return ((np.arange(count) + 0.5) * timesteps / count).astype(int)


def evaluate_guidance(
    system: LdaeSystem,
    latents: str | Path,
    embeddings: str | Path,
    scans: str | Path,
    table: str | Path,
    differences: str | Path,
    cfg: dict[str, Any],
    seed: int,
) -> None:
    """Measure the loss of the frozen LDM, alone and guided by three codes.

    The codes are the scan's own y_sem, that of another participant's scan, and the mean y_sem of
    the training scans.

    Args:
        system: The trained models.
        latents: Folder of the latent store; posterior means of the split ``test`` are used, at most
            ``cfg["max_scans"]`` of them.
        embeddings: y_sem of all scans by the LDAE's encoder.
        scans: Per-scan TSV to write: scan_id, participant_id, system, quartile (1 is
            t < timesteps/4; ``all``), loss (mean squared error of the noise), weighted_loss (the
            loss times lambda_t of Eq. 10).
        table: TSV to write: system, quartile, metric, value, ci_low, ci_high, n_scans, n_subjects.
        differences: TSV to write: system, reference, quartile, metric, difference (system less
            reference; negative where the system has the lower loss), ci_low, ci_high, n_scans,
            n_subjects.
        cfg: Section ``evaluation`` (``max_scans``, ``batch_size``, ``bootstrap``).
        seed: Seed of the noise, the wrong partners and the resamples.
    """
    store = system.latent_store(latents)
    test = spread_over_subjects(store.index.loc[store.rows("test")], cfg["max_scans"])
    own = system.stored_codes(embeddings, test["scan_id"])
    training = store.index.loc[store.rows("train"), "scan_id"]
    codes = {
        "right_y_sem": own,
        "wrong_y_sem": system.stored_codes(embeddings, pd.Series(wrong_scans(test, seed))),
        "mean_y_sem": np.broadcast_to(system.stored_codes(embeddings, training).mean(0), own.shape),
    }
    steps = fixed_timesteps(system.schedule.timesteps)
    loss = {name: np.zeros((len(test), len(steps))) for name in SYSTEMS}
    progress = Progress("guidance", len(test))
    for part in batches(len(test), cfg["batch_size"]):
        z_0 = system.latents(store, test.index[part].to_numpy())
        scan_ids = test["scan_id"].iloc[part]
        y = {
            name: system.compute.move(torch.from_numpy(code[part]).float())
            for name, code in codes.items()
        }
        for column, step in enumerate(steps):
            eps = system.compute.move(
                torch.stack(
                    [
                        torch.randn(z_0.shape[1:], generator=generator(seed, "loss", name, step))
                        for name in scan_ids
                    ]
                )
            )
            t = torch.full((len(part),), int(step), dtype=torch.long, device=z_0.device)
            z_t = system.schedule.q_sample(z_0, t, eps)
            frozen, guided = system.estimates(z_t, t, *y.values())
            for name, estimate in zip(("ldm", *y), (frozen, *guided), strict=True):
                error = ((estimate - eps) ** 2).flatten(1).mean(1)
                loss[name][part, column] = error.cpu().numpy()
        progress.step(int(part[-1]) + 1)

    weights = system.schedule.weights.cpu().numpy()[steps]
    result = pd.concat(
        [_by_quartile(test, name, values, weights) for name, values in loss.items()],
        ignore_index=True,
    )
    write_table(result, scans)
    means, gaps = summarise(result, cfg["bootstrap"], seed)
    write_table(gaps, differences)
    write_table(means, table)


def _by_quartile(
    test: pd.DataFrame, name: str, loss: np.ndarray, weights: np.ndarray
) -> pd.DataFrame:
    """Rows of one system: ``loss`` (N, 4 * PER_QUARTILE) averaged within and over quartiles."""
    frames = []
    parts = [slice(q * PER_QUARTILE, (q + 1) * PER_QUARTILE) for q in range(4)] + [slice(None)]
    for label, part in zip(["1", "2", "3", "4", "all"], parts, strict=True):
        frames.append(
            test[["scan_id", "participant_id"]].assign(
                system=name,
                quartile=label,
                loss=loss[:, part].mean(1),
                weighted_loss=(loss * weights)[:, part].mean(1),
            )
        )
    return pd.concat(frames)


def summarise(scans: pd.DataFrame, resamples: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means, and paired differences of :data:`COMPARISONS`, with intervals over subjects.

    Args:
        scans: Per-scan table of :func:`evaluate_guidance`.
    """
    means, gaps = [], []
    for quartile, part in scans.groupby("quartile", sort=False):
        losses = {name: rows.set_index("scan_id") for name, rows in part.groupby("system")}
        first = losses["ldm"]
        bootstrap = ClusterBootstrap(first["participant_id"], resamples, seed)
        size = bootstrap.counts
        for metric in METRICS:
            columns = {name: losses[name].loc[first.index, metric] for name in SYSTEMS}
            for name, values in columns.items():
                key = {"system": name, "quartile": quartile, "metric": metric}
                means.append(key | bootstrap.mean(values).row("value") | size)
            for name, reference in COMPARISONS:
                key = {"system": name, "reference": reference, "quartile": quartile}
                values = bootstrap.difference(columns[name], columns[reference])
                gaps.append(key | {"metric": metric} | values.row("difference") | size)
    return pd.DataFrame(means), pd.DataFrame(gaps)
