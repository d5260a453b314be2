"""Entry points of the three stages, called by the workflow's scripts.

Each prepares the device, checks that its inputs belong together, trains (continuing from the
checkpoints in ``run_dir``) and writes model.safetensors, model.json and history.tsv to ``out_dir``.
All raise :class:`ldae.training.interrupt.Interrupted` on SIGTERM and SIGUSR1, after saving, and
:class:`ldae.errors.UserError` for inputs or settings that do not fit.
"""

from pathlib import Path
from typing import Any

from ldae.data.latent_store import LatentStore
from ldae.data.store import require_same_data
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.schedule import Schedule
from ldae.errors import require
from ldae.modelfile import load_autoencoder, load_ldm
from ldae.training.compute import Compute
from ldae.training.loop import Run, fit
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
) -> None:
    """Stage 1: the weights with the best validation SSIM.

    Args:
        volumes_dir: The volume store.
        out_dir: The model's folder.
        run_dir: Folder of checkpoints.
        cfg: ``config["autoencoder"]``.
        device: cuda or cpu.
        threads: CPU threads.
        seed: Of the whole stage.
        fingerprint: Of the sources and settings, kept in the card.
    """
    from ldae.training.autoencoder import AutoencoderObjective

    compute = Compute.prepare(device, threads, cfg["precision"])
    volumes = VolumeStore(volumes_dir)
    objective = AutoencoderObjective(volumes, cfg, compute, seed)
    run = Run(Path(run_dir), cfg, seed)
    more = {"architecture": cfg, "fingerprint": fingerprint}
    save_trained(out_dir, objective, run, fit(objective, run), volumes, **more)


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
) -> None:
    """Stage 2: the EMA weights of the last epoch.

    Args:
        latents_dir: The latent store.
        out_dir: The model's folder.
        run_dir: Folder of checkpoints.
        cfg: ``config["ldm"]``.
        diffusion: ``config["diffusion"]``.
        device: cuda or cpu.
        threads: CPU threads.
        seed: Of the whole stage.
        fingerprint: Of the sources and settings, kept in the card.
    """
    from ldae.training.ldm import LdmObjective

    compute = Compute.prepare(device, threads, cfg["precision"])
    latents = LatentStore(latents_dir)
    objective = LdmObjective(latents, cfg, Schedule(**diffusion), compute, seed)
    run = Run(Path(run_dir), cfg, seed)
    more = {
        "architecture": cfg,
        "latent_channels": latents.shape[0],
        "latent_scale": latents.scale,
        "autoencoder_sha256": latents.card["autoencoder"],
        "diffusion": diffusion,
        "fingerprint": fingerprint,
    }
    save_trained(out_dir, objective, run, fit(objective, run), latents, **more)


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
) -> None:
    """Stage 3: the EMA weights with the best validation SSIM of decoding from y_sem and noise.

    Args:
        volumes_dir: The volume store.
        latents_dir: The latent store.
        autoencoder_dir: Model of stage 1, which made the latents.
        ldm_dir: Model of stage 2, trained on the latents.
        out_dir: The model's folder.
        run_dir: Folder of checkpoints.
        cfg: ``config["ldae"]``.
        diffusion: ``config["diffusion"]``.
        device: cuda or cpu.
        threads: CPU threads.
        seed: Of the whole stage.
        fingerprint: Of the sources and settings, kept in the card.
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
    run = Run(Path(run_dir), cfg, seed)
    more = {
        "architecture": cfg["encoder"],
        "y_dim": objective.encoder.dim,
        "latent_scale": latents.scale,
        "autoencoder_sha256": autoencoder_card["sha256"],
        "ldm_sha256": ldm_card["sha256"],
        "diffusion": diffusion,
        "fingerprint": fingerprint,
    }
    save_trained(out_dir, objective, run, fit(objective, run), volumes, **more)
