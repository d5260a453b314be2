"""Entry points of the three stages, called by the workflow's scripts.

Each prepares the device, checks that its inputs belong together, trains (continuing from the
checkpoints of the same training in ``run_dir``, which go at the end) and writes model.safetensors,
model.json and history.tsv to ``out_dir``. All raise :class:`ldae.training.interrupt.Interrupted` on
SIGTERM, SIGUSR1 and SIGINT, after saving, and :class:`ldae.errors.UserError` for inputs or settings
that do not fit.
"""

import shutil
from pathlib import Path
from typing import Any

from ldae.data.latent_store import LatentStore
from ldae.data.store import Store, require_same_data
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.schedule import Schedule
from ldae.errors import require
from ldae.modelfile import load_autoencoder, load_ldm
from ldae.training.checkpoint import Run
from ldae.training.compute import Compute
from ldae.training.loop import fit
from ldae.training.objective import Objective
from ldae.training.product import save_trained


def train_autoencoder(
    volumes_dir: Path,
    out_dir: Path,
    run_dir: Path,
    cfg: dict[str, Any],
    device: str,
    threads: int,
    seed: int,
    fingerprint: str = "",
    checkpoint_seconds: float = 600,
) -> None:
    """Stage 1: the weights with the best validation SSIM.

    Args:
        volumes_dir: The volume store.
        out_dir: The model's folder.
        run_dir: The stage's folder of checkpoints, one subfolder a training; emptied of this one
            at its end.
        cfg: ``config["autoencoder"]``.
        device: cuda or cpu.
        threads: CPU threads.
        seed: Of the whole stage.
        fingerprint: Of the sources, kept in the card; another one trains from the start.
        checkpoint_seconds: Wall time between checkpoints.
    """
    from ldae.training.autoencoder import AutoencoderObjective

    compute = Compute.prepare(device, threads, cfg["precision"])
    volumes = VolumeStore(volumes_dir)
    objective = AutoencoderObjective(volumes, cfg, compute, seed)
    run = Run(Path(run_dir), cfg, seed, fingerprint, checkpoint_seconds)
    more = {"architecture": cfg}
    _train(out_dir, objective, run, volumes, more)


def train_ldm(
    latents_dir: Path,
    out_dir: Path,
    run_dir: Path,
    cfg: dict[str, Any],
    diffusion: dict[str, Any],
    device: str,
    threads: int,
    seed: int,
    fingerprint: str = "",
    checkpoint_seconds: float = 600,
) -> None:
    """Stage 2: the EMA weights of the last epoch.

    Args:
        latents_dir: The latent store.
        out_dir: The model's folder.
        run_dir: The stage's folder of checkpoints, one subfolder a training; emptied of this one
            at its end.
        cfg: ``config["ldm"]``.
        diffusion: ``config["diffusion"]``.
        device: cuda or cpu.
        threads: CPU threads.
        seed: Of the whole stage.
        fingerprint: Of the sources, kept in the card; another one trains from the start.
        checkpoint_seconds: Wall time between checkpoints.
    """
    from ldae.training.ldm import LdmObjective

    compute = Compute.prepare(device, threads, cfg["precision"])
    latents = LatentStore(latents_dir)
    objective = LdmObjective(latents, cfg, Schedule(**diffusion), compute, seed)
    run = Run(Path(run_dir), cfg, seed, fingerprint, checkpoint_seconds)
    more = {
        "architecture": cfg,
        "latent_channels": latents.shape[0],
        "latent_scale": latents.scale,
        "autoencoder_sha256": latents.card["autoencoder"],
        "diffusion": diffusion,
    }
    _train(out_dir, objective, run, latents, more)


def train_ldae(
    volumes_dir: Path,
    latents_dir: Path,
    autoencoder_dir: Path,
    ldm_dir: Path,
    out_dir: Path,
    run_dir: Path,
    cfg: dict[str, Any],
    diffusion: dict[str, Any],
    device: str,
    threads: int,
    seed: int,
    fingerprint: str = "",
    checkpoint_seconds: float = 600,
) -> None:
    """Stage 3: the EMA weights with the best validation SSIM of decoding from y_sem and noise.

    Args:
        volumes_dir: The volume store.
        latents_dir: The latent store.
        autoencoder_dir: Model of stage 1, which made the latents.
        ldm_dir: Model of stage 2, trained on the latents.
        out_dir: The model's folder.
        run_dir: The stage's folder of checkpoints, one subfolder a training; emptied of this one
            at its end.
        cfg: ``config["ldae"]``.
        diffusion: ``config["diffusion"]``.
        device: cuda or cpu.
        threads: CPU threads.
        seed: Of the whole stage.
        fingerprint: Of the sources, kept in the card; another one trains from the start.
        checkpoint_seconds: Wall time between checkpoints.
    """
    from ldae.training.ldae import LdaeObjective

    compute = Compute.prepare(device, threads, cfg["precision"])
    volumes = VolumeStore(volumes_dir)
    autoencoder, autoencoder_card = load_autoencoder(autoencoder_dir)
    require_same_data(volumes, autoencoder_card, autoencoder_dir)
    latents = LatentStore(latents_dir, autoencoder_card["sha256"], volumes)
    unet, ldm_card = load_ldm(ldm_dir)
    require(
        ldm_card["data"] == latents.sum,
        f"The diffusion model in {ldm_dir} was trained on other latents than those in "
        f"{latents_dir}. Train it again: `snakemake ldm`.",
    )
    require(
        ldm_card["diffusion"] == diffusion,
        f"The diffusion model in {ldm_dir} was trained with diffusion: {ldm_card['diffusion']}, "
        f"but config says {diffusion}. Restore it, or train stage 2 again.",
    )
    objective = LdaeObjective(
        volumes, latents, autoencoder, unet, ldm_card, cfg, Schedule(**diffusion), compute, seed
    )
    run = Run(Path(run_dir), cfg, seed, fingerprint, checkpoint_seconds)
    more = {
        "architecture": cfg["encoder"],
        "y_dim": objective.encoder.dim,
        "latent_scale": latents.scale,
        "autoencoder_sha256": autoencoder_card["sha256"],
        "ldm_sha256": ldm_card["sha256"],
        "diffusion": diffusion,
    }
    _train(out_dir, objective, run, volumes, more)


def _train(
    out_dir: Path, objective: Objective, run: Run, store: Store, more: dict[str, Any]
) -> None:
    """Train, save the model, and only then delete the checkpoints, which no one needs any more."""
    trained = fit(objective, run)
    save_trained(out_dir, objective, run, trained, store, **more)
    shutil.rmtree(trained.folder)
