"""Reconstruction of test scans by trained systems (sections 5.1 to 5.3, Table 6)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.cohort.splits import EXTERNAL
from ldae.data.sampling import batches
from ldae.data.volume_store import VolumeStore
from ldae.evaluation.metrics.image import ImageMetrics, brain_mask, mse
from ldae.evaluation.metrics.volumes import Regions, soft_volumes
from ldae.evaluation.reconstruction_tables import control_table, summary_table
from ldae.evaluation.test_scans import spread_over_subjects, wrong_scans
from ldae.files import write_table
from ldae.inference.ldae_system import LdaeSystem
from ldae.inference.start_noise import StartNoise
from ldae.inference.trained_system import Reconstruction, TrainedSystem
from ldae.progress import Progress
from ldae.ssim import ssim, ssim_window

ORDER = ["system", "variant", "T", "scan_id"]
DESCRIBED = ["participant_id", "diagnosis"]  # columns of the scan table in the result
COHORT = "cohort"  # a further one, of external test sets


def evaluate_reconstruction(
    system: TrainedSystem,
    volumes: str | Path,
    scans: str | Path,
    cfg: dict[str, Any],
    seed: int,
    embeddings: str | Path | None = None,
    max_scans: int | None = None,
    external: Sequence[str] = (),
) -> pd.DataFrame:
    """Reconstruct test scans and write one row per scan and reconstruction.

    Args:
        system: Trained networks; :meth:`TrainedSystem.reconstructions` defines the rows.
        volumes: Folder of the volume store. The split ``test`` of its index is evaluated, at most
            ``cfg["max_scans"]`` scans, spread evenly over participants.
        scans: Per-scan TSV to write: scan_id, participant_id, diagnosis, system, variant, T,
            metrics against the original (``ssim``, ``ssim_brain``, ``mse``, ``lpips_<net>``),
            metrics against the autoencoder's reconstruction (``ssim_to_ae``, ``mse_to_ae``; n/a
            without an autoencoder), ssim_window. Systems with an autoencoder also get the soft
            volumes of the image and of the original (``ventricle_ml``, ``original_ventricle_ml``,
            likewise ``hippocampus``).
        cfg: Section ``evaluation`` (``max_scans``, ``batch_size``, ``ddim_steps``, ``noise_seed``,
            ``start_noise``, ``lpips``).
        seed: Seed of the wrong partners.
        embeddings: y_sem of all scans by the LDAE's encoder, which the controls need: another
            participant's y_sem and the mean one. None: codes are computed, without controls.
        max_scans: A further limit on the number of scans; the lower of the two counts.
        external: Names of external test sets, which are evaluated in place of the split ``test``:
            each has its own ``max_scans`` scans, and the table names it in a column ``cohort``.
            There are no controls, and no rows if no scan of them is in the store.

    Returns:
        The table, unrounded.
    """
    system = system.with_solver(cfg["solver"])
    store = system.volume_store(volumes)
    caps = [cap for cap in (max_scans, cfg["max_scans"]) if cap is not None]
    test = _test_scans(store, min(caps, default=None), external)
    codes = None
    if embeddings is not None and external:
        codes = {"y_sem": system.stored_codes(embeddings, test["scan_id"])}
    elif embeddings is not None:
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
        reconstructions = system.reconstructions(x, y, ids, steps, StartNoise.configured(cfg))
        frames += measures.rows(rows, x, reconstructions)
        progress.step(int(part[-1]) + 1)
    if not frames:
        frames = [pd.DataFrame(columns=[*ORDER, *DESCRIBED, COHORT])]
    result = pd.concat(frames).sort_values(ORDER, na_position="first", ignore_index=True)
    write_table(result, scans)
    return result


def write_reconstruction_tables(
    scans: pd.DataFrame, table: str | Path, controls: str | Path, resamples: int, seed: int
) -> None:
    """Write the summary and control tables of the LDAE.

    Args:
        scans: From :func:`evaluate_reconstruction`, of the LDAE.
        table: TSV to write: means with intervals over subjects and the paper's Table 6 values.
        controls: TSV to write: paired differences between variants, with intervals.
        resamples, seed: Number of bootstrap resamples of subjects, and their seed.
    """
    write_table(control_table(scans, resamples, seed), controls)
    write_table(summary_table(scans, resamples, seed), table)


def _test_scans(store: VolumeStore, most: int | None, external: Sequence[str]) -> pd.DataFrame:
    """At most ``most`` scans of the test split, or of each external test set."""
    if not external:
        return spread_over_subjects(store.index.loc[store.rows("test")], most)
    outside = store.index[store.index["split"] == EXTERNAL]
    parts = [spread_over_subjects(outside[outside[COHORT] == name], most) for name in external]
    return pd.concat(parts)


def _codes_and_controls(
    system: LdaeSystem, store: VolumeStore, embeddings: str | Path, test: pd.DataFrame, seed: int
) -> dict[str, np.ndarray]:
    """Codes (N, d) of the test scans: own, another participant's, mean of the training scans."""
    own = system.stored_codes(embeddings, test["scan_id"])
    wrong = system.stored_codes(embeddings, pd.Series(wrong_scans(test, seed)))
    training = store.index.loc[store.rows("train"), "scan_id"]
    mean = np.broadcast_to(system.stored_codes(embeddings, training).mean(0), own.shape)
    return {"y_sem": own, "wrong_y_sem": wrong, "mean_y_sem": mean}


class _Measures:
    """Image metrics and soft volumes of reconstructions."""

    def __init__(self, system: TrainedSystem, store: VolumeStore, cfg: dict[str, Any]):
        self.metrics = ImageMetrics(cfg["lpips"], system.compute.device)
        self.regions = None
        if system.has_autoencoder:
            self.regions = Regions.on(store.affine, store.shape, system.compute.device)

    def rows(
        self, scans: pd.DataFrame, x: Tensor, reconstructions: Iterable[Reconstruction]
    ) -> list[pd.DataFrame]:
        """One table per reconstruction of the volumes ``x`` of a batch, one row per scan."""
        original_volumes = soft_volumes(x, x, self.regions) if self.regions else {}
        brain, frames = brain_mask(x), []
        outside = (scans["split"] == EXTERNAL).any()
        described = ["scan_id", *DESCRIBED, *([COHORT] if outside else [])]
        for result in reconstructions:
            values: dict[str, Any] = dict(self.metrics(result.original, result.image))
            values |= {"ssim_to_ae": np.nan, "mse_to_ae": np.nan}
            if result.compressed is not None and self.regions:
                values["ssim_to_ae"] = ssim(result.compressed, result.image, brain)[0]
                values["mse_to_ae"] = mse(result.compressed, result.image)
                values |= soft_volumes(result.image, result.image, self.regions)
                values |= {f"original_{name}": volume for name, volume in original_volumes.items()}
            frame = scans[described].assign(
                system=result.system,
                variant=result.variant,
                T=np.nan if result.steps is None else result.steps,
                **{name: _array(value) for name, value in values.items()},
                ssim_window=ssim_window(result.image.shape[2:]),
            )
            frames.append(frame)
        return frames


def _array(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, Tensor) else value
