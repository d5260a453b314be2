"""Reconstruction of test scans by trained systems (sections 5.1 to 5.3, Table 6)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.data.volume_store import VolumeStore
from ldae.evaluation.metrics.image import ImageMetrics, brain_mask, mse, ssim, ssim_window
from ldae.evaluation.metrics.volumes import Regions, soft_volumes
from ldae.evaluation.reconstruction_tables import control_table, summary_table
from ldae.evaluation.test_scans import spread_over_subjects, wrong_scans
from ldae.files import write_table
from ldae.inference.ldae_system import LdaeSystem
from ldae.inference.trained_system import Reconstruction, TrainedSystem
from ldae.progress import Progress

ORDER = ["system", "variant", "T", "scan_id"]


def evaluate_reconstruction(
    system: TrainedSystem,
    volumes: str | Path,
    scans: str | Path,
    cfg: dict[str, Any],
    seed: int,
    embeddings: str | Path | None = None,
    max_scans: int | None = None,
) -> pd.DataFrame:
    """Reconstruct test scans and write a row a scan and reconstruction.

    Args:
        system: Trained networks; :meth:`TrainedSystem.reconstructions` says which rows it gives.
        volumes: Folder of the volume store; the split ``test`` of its index is evaluated, at most
            ``cfg["max_scans"]`` scans evenly over participants.
        scans: Per-scan table to write: scan_id, participant_id, diagnosis, system, variant, T, the
            metrics against the original (``ssim``, ``ssim_brain``, ``mse``, ``lpips_<net>``) and
            against the autoencoder's reconstruction (``ssim_to_ae``, ``mse_to_ae``; n/a without
            one), with an autoencoder soft volumes of the image and of the original
            (``ventricle_ml``, ``original_ventricle_ml``, likewise ``hippocampus``), ssim_window.
        cfg: Section ``evaluation``.
        seed: Of the wrong partners.
        embeddings: y_sem of all scans by the LDAE's encoder, for the controls: another
            participant's y_sem and the mean one. None: codes are computed, without controls.
        max_scans: At most so many scans, if ``cfg["max_scans"]`` is not fewer.

    Returns:
        The table, unrounded.
    """
    store = system.volume_store(volumes)
    caps = [cap for cap in (max_scans, cfg["max_scans"]) if cap is not None]
    test = spread_over_subjects(store.index.loc[store.rows("test")], min(caps, default=None))
    codes = None
    if embeddings is not None:
        codes = _codes_and_controls(system, store, embeddings, test, seed)
    measures = _Measures(system, store, cfg)
    progress = Progress(f"reconstruction by {system.name}", len(test))
    frames = []
    for part in batches(len(test), cfg["batch_size"]):
        rows = test.iloc[part]
        x = system.compute.move(store.volumes(rows.index.to_numpy()))
        if codes is None:
            y = {"y_sem": system.y_sem(x)}
        else:
            of_part = {name: torch.from_numpy(code[part]) for name, code in codes.items()}
            y = {name: system.compute.move(code.float()) for name, code in of_part.items()}
        ids, steps = rows["scan_id"].tolist(), cfg["ddim_steps"]
        made = system.reconstructions(x, y, ids, steps, cfg["noise_seed"])
        frames += measures.rows(rows, x, made)
        progress.step(int(part[-1]) + 1)
    result = pd.concat(frames).sort_values(ORDER, na_position="first", ignore_index=True)
    write_table(result, scans)
    return result


def write_reconstruction_tables(
    scans: pd.DataFrame, table: str | Path, controls: str | Path, resamples: int, seed: int
) -> None:
    """Write what the scans say together.

    Args:
        scans: From :func:`evaluate_reconstruction`, of the LDAE.
        table: Means with intervals over subjects and the paper's Table 6 values.
        controls: Paired differences between variants, with intervals.
        resamples, seed: Of the intervals.
    """
    write_table(control_table(scans, resamples, seed), controls)
    write_table(summary_table(scans, resamples, seed), table)


def _codes_and_controls(
    system: LdaeSystem, store: VolumeStore, embeddings: str | Path, test: pd.DataFrame, seed: int
) -> dict[str, np.ndarray]:
    """Codes (N, d) of the test scans: their own, another participant's, the training scans'
    mean."""
    own = system.stored_codes(embeddings, test["scan_id"])
    wrong = system.stored_codes(embeddings, pd.Series(wrong_scans(test, seed)))
    training = store.index.loc[store.rows("train"), "scan_id"]
    mean = np.broadcast_to(system.stored_codes(embeddings, training).mean(0), own.shape)
    return {"y_sem": own, "wrong_y_sem": wrong, "mean_y_sem": mean}


class _Measures:
    """What a reconstruction is measured by."""

    def __init__(self, system: TrainedSystem, store: VolumeStore, cfg: dict[str, Any]):
        self.metrics = ImageMetrics(cfg["lpips"], system.compute.device)
        self.regions = None
        if system.has_autoencoder:
            self.regions = Regions.on(store.affine, store.shape, system.compute.device)

    def rows(
        self, scans: pd.DataFrame, x: Tensor, reconstructions: Iterable[Reconstruction]
    ) -> list[pd.DataFrame]:
        """Tables with a row a scan, one a reconstruction of the volumes x of a batch."""
        before = soft_volumes(x, x, self.regions) if self.regions else {}
        brain, frames = brain_mask(x), []
        for made in reconstructions:
            values: dict[str, Any] = dict(self.metrics(made.original, made.image))
            values |= {"ssim_to_ae": np.nan, "mse_to_ae": np.nan}
            if made.compressed is not None and self.regions:
                values["ssim_to_ae"] = ssim(made.compressed, made.image, brain)[0]
                values["mse_to_ae"] = mse(made.compressed, made.image)
                values |= soft_volumes(made.image, made.image, self.regions)
                values |= {f"original_{name}": volume for name, volume in before.items()}
            frame = scans[["scan_id", "participant_id", "diagnosis"]].assign(
                system=made.system,
                variant=made.variant,
                T=np.nan if made.steps is None else made.steps,
                **{name: _array(value) for name, value in values.items()},
                ssim_window=ssim_window(made.image.shape[2:]),
            )
            frames.append(frame)
        return frames


def _array(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, Tensor) else value
