"""Reconstruction of test scans by every system (sections 5.1 to 5.3, Table 6, Figures 3 and 4)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.evaluation.arrays import as_arrays, save_arrays
from ldae.evaluation.metrics import ImageMetrics, mse, ssim, ssim_window
from ldae.evaluation.metrics import brain_mask as brain_of
from ldae.evaluation.reconstruction_tables import control_table, summary_table
from ldae.evaluation.regions import Regions, soft_volumes
from ldae.evaluation.scans import example_scans, spread_over_subjects, wrong_scans
from ldae.evaluation.systems import LdaeSystem
from ldae.files import write_table
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


def reconstruction_examples(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    arrays: str | Path,
    cfg: dict[str, Any],
    subjects: dict[str, str | None],
    samples: int,
) -> None:
    """Volumes of Figures 3 and 4 for one test scan of each class, at the largest T.

    Args:
        system, volumes, embeddings: As in :func:`evaluate_reconstruction`.
        arrays: npz to write: scan_id, participant_id, diagnosis, original, reconstruction (the
            autoencoder's), encoded (N, X, Y, Z), samples (N, K, X, Y, Z), T, spacing. Sample 0 has
            the noise that the tables use.
        cfg: Section ``evaluation``.
        subjects: ``figures.subjects``: diagnosis to participant, None for the first of the class.
        samples: Stochastic codes K per scan (``figures.stochastic_samples``).
    """
    store, steps = system.volume_store(volumes), max(cfg["ddim_steps"])
    chosen = example_scans(store.index.loc[store.rows("test")], subjects)
    codes = torch.from_numpy(system.stored_codes(embeddings, chosen["scan_id"])).float()
    y = system.compute.move(codes)
    x = store.volumes(chosen["row"].to_numpy())
    z_0 = system.encode_z(x)
    starts = [system.encode_zT(z_0, y, steps)]
    for number in range(samples):
        noise = fixed_noise(chosen["scan_id"], z_0.shape[1:], cfg["noise_seed"], number)
        starts.append(system.compute.move(noise))
    many = y.repeat(len(starts), 1)  # all scans of the first start, then of the second, ...
    decoded = as_arrays(system.images(torch.cat(starts), many, steps, cfg["batch_size"]))
    decoded = decoded.reshape(len(starts), len(chosen), *store.shape)
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
