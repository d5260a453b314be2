"""Reconstruction of test scans by every system (sections 5.1 to 5.3, Table 6)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.evaluation.metrics.image import ImageMetrics, mse, ssim, ssim_window
from ldae.evaluation.metrics.image import brain_mask as brain_of
from ldae.evaluation.metrics.volumes import Regions, soft_volumes
from ldae.evaluation.reconstruction_tables import control_table, summary_table
from ldae.evaluation.test_scans import spread_over_subjects, wrong_scans
from ldae.files import write_table
from ldae.inference.dae_system import OWN_GRID, SYSTEM, DaeSystem
from ldae.inference.ldae_system import LdaeSystem
from ldae.progress import Progress
from ldae.seeds import fixed_noise


def evaluate_reconstruction(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    scans: str | Path,
    table: str | Path,
    controls: str | Path,
    cfg: dict[str, Any],
    seed: int,
) -> None:
    """Reconstruct test scans by all systems and write the tables.

    Systems (``system``/``variant``): ``autoencoder/reconstruction``; per T of ``ddim_steps``
    ``lddim/encoded`` (unconditional, inverted z_T), ``ldae/encoded`` (Table 6 b) and ``ldae/y_sem``
    (Table 6 a: noise fixed per scan); and at the largest T the controls ``ldae/wrong_y_sem``
    (another participant's y_sem, same noise) and ``ldae/mean_y_sem`` (mean of the training scans).

    Args:
        system: The trained models.
        volumes: Folder of the volume store; the split ``test`` of its index is evaluated, at most
            ``cfg["max_scans"]`` scans evenly over participants.
        embeddings: y_sem of all scans by the LDAE's encoder.
        scans: Per-scan table to write: scan_id, participant_id, diagnosis, system, variant, T, the
            metrics against the original (``ssim``, ``ssim_brain``, ``mse``, ``lpips_<net>``) and
            against the autoencoder's reconstruction (``ssim_to_ae``, ``mse_to_ae``), soft volumes
            of the image and of the original (``ventricle_ml``, ``original_ventricle_ml``, likewise
            ``hippocampus``), ssim_window.
        table: Means with intervals over subjects and the paper's Table 6 values.
        controls: Paired differences between variants, with intervals.
        cfg: Section ``evaluation``.
        seed: Of the wrong partners and the resamples.
    """
    store = system.volume_store(volumes)
    test = spread_over_subjects(store.index.loc[store.rows("test")], cfg["max_scans"])
    own = system.stored_codes(embeddings, test["scan_id"])
    wrong = system.stored_codes(embeddings, pd.Series(wrong_scans(test, seed)))
    training = store.index.loc[store.rows("train"), "scan_id"]
    mean = np.broadcast_to(system.stored_codes(embeddings, training).mean(0), own.shape)
    codes = {"y_sem": own, "wrong_y_sem": wrong, "mean_y_sem": mean}
    metrics = ImageMetrics(cfg["lpips"], system.compute.device)
    regions = Regions.on(store.affine, store.shape, system.compute.device)

    progress = Progress("reconstruction", len(test))
    frames = []
    for part in batches(len(test), cfg["batch_size"]):
        rows = test.iloc[part]
        y = {
            name: system.compute.move(torch.from_numpy(code[part]).float())
            for name, code in codes.items()
        }
        x = system.compute.move(store.volumes(rows.index.to_numpy()))
        frames += _reconstruct(system, x, y, rows, metrics, regions, cfg)
        progress.step(int(part[-1]) + 1)
    order = ["system", "variant", "T", "scan_id"]
    result = pd.concat(frames).sort_values(order, na_position="first", ignore_index=True)
    result["ssim_window"] = ssim_window(store.shape)
    write_table(result, scans)
    write_table(control_table(result, cfg["bootstrap"], seed), controls)
    write_table(summary_table(result, cfg["bootstrap"], seed), table)


def _reconstruct(
    system: LdaeSystem,
    x: Tensor,
    y: dict[str, Tensor],
    rows: pd.DataFrame,
    metrics: ImageMetrics,
    regions: Regions,
    cfg: dict[str, Any],
) -> list[pd.DataFrame]:
    """Per-scan rows of one batch, all systems."""
    known = rows[["scan_id", "participant_id", "diagnosis"]]
    z_0 = system.encode_z(x)
    decoded = system.image(z_0)
    brain = brain_of(x)
    before = {f"original_{key}": value for key, value in soft_volumes(x, x, regions).items()}
    noise = system.compute.move(fixed_noise(rows["scan_id"], z_0.shape[1:], cfg["noise_seed"]))
    frames = []

    def record(name: str, variant: str, steps: int | None, image: Tensor) -> None:
        values = metrics(x, image)
        values["ssim_to_ae"] = ssim(decoded, image, brain)[0]
        values["mse_to_ae"] = mse(decoded, image)
        values |= soft_volumes(image, image, regions) | before
        frames.append(
            known.assign(
                system=name,
                variant=variant,
                T=np.nan if steps is None else steps,
                **{key: value.cpu().numpy() for key, value in values.items()},
            )
        )

    record("autoencoder", "reconstruction", None, decoded)
    for steps in cfg["ddim_steps"]:
        for name, code in (("lddim", None), ("ldae", y["y_sem"])):
            z_T = system.encode_zT(z_0, code, steps)
            record(name, "encoded", steps, system.image(system.decode(z_T, code, steps)))
        shown = y if steps == max(cfg["ddim_steps"]) else {"y_sem": y["y_sem"]}
        for variant, code in shown.items():
            record("ldae", variant, steps, system.image(system.decode(noise, code, steps)))
    return frames


def evaluate_dae(
    system: DaeSystem, scans: str | Path, cfg: dict[str, Any], most: int | None = None
) -> None:
    """Reconstruct test scans, by the rule that chooses those of the other systems; write the table.

    Systems (``system``/``variant``), the metrics of ``dae`` against the original at the store's
    resolution, where all systems of Table 6 can be compared, those of ``dae_own_grid`` at the
    DAE's, as the paper's rows most likely are:

    - ``resized``, without T: there and back between the two grids, without any network (``dae``
      alone): the best that a DAE at its resolution could reach;
    - per T of ``ddim_steps``: ``y_sem`` (Table 6 a: from y_sem and the fixed noise of the scan) and
      ``encoded`` (Table 6 b: from y_sem and inverted x_T).

    Args:
        system: The trained model.
        scans: Per-scan table to write, with the columns of
            :func:`ldae.evaluation.reconstruction.evaluate_reconstruction`; ``ssim_to_ae`` and
            ``mse_to_ae`` are n/a, since no autoencoder is involved.
        cfg: Section ``evaluation``.
        most: ``dae.test_scans``: at most so many scans, if ``cfg["max_scans"]`` is not fewer.
    """
    store, caps = system.store, [cap for cap in (most, cfg["max_scans"]) if cap is not None]
    test = spread_over_subjects(store.index.loc[store.rows("test")], min(caps, default=None))
    metrics = ImageMetrics(cfg["lpips"], system.compute.device)
    progress = Progress("reconstruction by the voxel-space DAE", len(test))
    frames = []
    for part in batches(len(test), cfg["batch_size"]):
        rows = test.iloc[part]
        x = system.compute.move(store.volumes(rows.index.to_numpy()))
        frames += _reconstruct_dae(system, x, rows, metrics, cfg)
        progress.step(int(part[-1]) + 1)
    order = ["system", "variant", "T", "scan_id"]
    result = pd.concat(frames).sort_values(order, na_position="first", ignore_index=True)
    write_table(result, scans)


def _reconstruct_dae(
    system: DaeSystem, x: Tensor, rows: pd.DataFrame, metrics: ImageMetrics, cfg: dict[str, Any]
) -> list[pd.DataFrame]:
    """Per-scan rows of one batch."""
    known = rows[["scan_id", "participant_id", "diagnosis"]]
    resizer, frames = system.resizer, []
    resized, y = resizer.there(x), system.y_sem(x)

    def compare(name: str, variant: str, steps: int | None, x: Tensor, image: Tensor) -> None:
        values = {key: value.cpu().numpy() for key, value in metrics(x, image).items()}
        frames.append(
            known.assign(
                system=name,
                variant=variant,
                T=np.nan if steps is None else steps,
                **values,
                ssim_to_ae=np.nan,
                mse_to_ae=np.nan,
                ssim_window=ssim_window(x.shape[2:]),
            )
        )

    compare(SYSTEM, "resized", None, x, resizer.back(resized))
    noise = system.noise(rows["scan_id"], cfg["noise_seed"])
    for steps in cfg["ddim_steps"]:
        encoded = system.decode(system.encode_xT(x, y, steps), y, steps)
        for variant, image in (
            ("y_sem", system.generate(noise, y, steps)),
            ("encoded", encoded),
        ):
            compare(SYSTEM, variant, steps, x, resizer.back(image))
            compare(OWN_GRID, variant, steps, resized, image)
    return frames
