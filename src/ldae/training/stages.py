"""Training stages: how each is built from its settings, run, and saved with its model card.

:func:`run` is the entry point of rules and command lines. It continues from the checkpoints of the
same training in ``run_dir``, if there are any. It writes model.safetensors, model.json, history.tsv
and scans.tsv to ``out_dir``, then deletes the checkpoints unless ``keep_checkpoints`` is set.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ldae import __version__
from ldae.compute import Compute, versions
from ldae.data.store import Store
from ldae.errors import require
from ldae.models.storage import save_model
from ldae.models.training_scans import write_training_scans
from ldae.training.distributed.launch import launch
from ldae.training.distributed.slurm import allocation
from ldae.training.settings import FINISHED, Settings, delete_checkpoints
from ldae.training.state import Trained, write_history

if TYPE_CHECKING:
    from ldae.training.distributed.processes import Processes
    from ldae.training.objectives.base import Objective


class Stage(NamedTuple):
    """A training ready to run: objective, store, card."""

    objective: "Objective"
    store: Store  # whose scans it is trained on; its hashes go into the card
    card: dict[str, Any]  # entries of the card that only this stage has


def run(
    settings: Settings,
    log_file: str | Path | None = None,
    slurm_task: bool = False,
    launcher: int | None = None,
) -> None:
    """Train, in this process alone, as one of several, or by starting several.

    Args:
        settings: Settings of the training.
        log_file: File to which processes started here append their log.
        slurm_task: Whether srun has started this process, as one of many.
        launcher: Number of the process that has started this one; None: there is none.

    Raises:
        Interrupted: on SIGTERM, SIGUSR1 and SIGINT, after saving.
        UserError: inputs or settings that do not fit.
        SystemExit: with code 1; a process started here failed and has logged why.
    """
    from ldae.training.distributed.processes import Processes, processes_from_environment
    from ldae.training.trackers.choice import require_tracker

    require_tracker(settings.tracker)
    here = processes_from_environment(os.environ, slurm_task, launcher)
    job = allocation(os.environ) if here is None else None
    if here is None and (job or settings.processes > 1):
        launch(settings, log_file, job)
    else:
        train(settings, here or Processes())


def train(settings: Settings, processes: "Processes") -> None:
    """Train in this process; the first process saves the model and deletes the checkpoints."""
    from ldae.data.scratch import on_scratch
    from ldae.training.compile_choice import choose_compile
    from ldae.training.distributed.processes import process_group
    from ldae.training.loop import fit
    from ldae.training.memory_choice import fit_to_memory
    from ldae.training.precision import training_precision
    from ldae.training.trackers.choice import make_tracker

    require(settings.stage in STAGES, f"There is no training {settings.stage!r}.")
    threads = max(1, settings.threads // processes.size)
    precision = training_precision(settings, processes.first)
    compute = Compute.prepare(
        settings.device, threads, precision.name, processes.local_rank, processes.slurm_task
    )
    with process_group(processes, settings.device, settings.processes):
        settings, memory_reason = fit_to_memory(settings, compute.device, precision.name, processes)
        here = replace(settings, inputs=on_scratch(settings.inputs, settings.scratch))
        objective, store, card = STAGES[settings.stage](here, compute)
        compile_reason = choose_compile(objective, here, processes)
        tracker = make_tracker(settings, objective) if processes.first else None

        def keep(trained: Trained) -> None:
            machine = compute.describe() | {"precision_reason": precision.reason}
            if memory_reason is not None:
                machine |= {"memory_reason": memory_reason}
            if compile_reason is not None:
                machine |= {"compile_reason": compile_reason}
            save_trained(settings, trained, machine, store, **card)
            if tracker is not None:
                tracker.saved()
            if settings.keep_checkpoints:
                (trained.folder / FINISHED).touch()
            else:
                delete_checkpoints(trained.folder)

        with tracker or nullcontext():
            fit(objective, settings, processes, tracker, keep)


def autoencoder(settings: Settings, compute: Compute) -> Stage:
    """Stage 1: the weights with the best validation SSIM. Inputs: volumes."""
    from ldae.data.volume_store import VolumeStore
    from ldae.training.objectives.autoencoder import AutoencoderObjective

    volumes = VolumeStore(settings.inputs["volumes"])
    objective = AutoencoderObjective(volumes, settings.cfg, compute, settings.seed)
    return Stage(objective, volumes, {"architecture": settings.cfg})


def ldm(settings: Settings, compute: Compute) -> Stage:
    """Stage 2: the EMA weights of the last epoch. Inputs: latents, autoencoder (for pictures)."""
    from ldae.data.latent_store import LatentStore
    from ldae.diffusion.schedule import Schedule
    from ldae.models.loading import load_autoencoder
    from ldae.training.objectives.ldm import LdmObjective

    decoder, card = load_autoencoder(settings.inputs["autoencoder"])
    latents = LatentStore(settings.inputs["latents"], card["sha256"])
    schedule = Schedule(**settings.diffusion)
    objective = LdmObjective(latents, settings.cfg, schedule, compute, settings.seed, decoder)
    more = {
        "architecture": settings.cfg,
        "latent_channels": latents.shape[0],
        "latent_scale": latents.scale,
        "latents_source": latents.source,
        "latents_variance": latents.variance,
        "autoencoder_sha256": card["sha256"],
        "diffusion": settings.diffusion,
    }
    if objective.model.preconditioning is not None:
        more["preconditioning"] = objective.model.preconditioning.card()
    return Stage(objective, latents, more)


def ldae(settings: Settings, compute: Compute) -> Stage:
    """Stage 3: the EMA weights with the best validation SSIM of decoding from y_sem and noise.

    Inputs: volumes, latents, autoencoder, which made the latents, and ldm, trained on the latents.

    Raises:
        UserError: these do not belong together, or a model was trained on scans of the test split.
    """
    from ldae.data.latent_store import LatentStore
    from ldae.data.volume_store import VolumeStore
    from ldae.diffusion.schedule import Schedule
    from ldae.models.loading import load_autoencoder, load_ldm
    from ldae.models.training_scans import refuse_leakage, require_fit
    from ldae.training.objectives.ldae import LdaeObjective

    inputs, diffusion = settings.inputs, settings.diffusion
    volumes = VolumeStore(inputs["volumes"])
    decoder, decoder_card = load_autoencoder(inputs["autoencoder"])
    require_fit(volumes, decoder_card, inputs["autoencoder"])
    unet, ldm_card = load_ldm(inputs["ldm"])
    refuse_leakage(volumes, ldm_card, inputs["ldm"])
    # The denoiser's scale: the store's own one depends on the scans that it holds.
    decoder_hash, scale = decoder_card["sha256"], ldm_card["latent_scale"]
    latents = LatentStore(inputs["latents"], decoder_hash, volumes, scale)
    require(
        ldm_card["autoencoder_sha256"] == decoder_hash
        and ldm_card["latents_source"] == latents.source,
        f"The diffusion model in {inputs['ldm']} was trained on latents of another kind than those "
        f"in {inputs['latents']}. Train it again: `snakemake --forcerun ldm`.",
    )
    require(
        ldm_card["diffusion"] == diffusion,
        f"The diffusion model in {inputs['ldm']} was trained with diffusion: "
        f"{ldm_card['diffusion']}, but config says {diffusion}. Restore it, or train stage 2 "
        "again.",
    )
    objective = LdaeObjective(
        volumes,
        latents,
        decoder,
        unet,
        ldm_card,
        settings.cfg,
        Schedule(**diffusion),
        compute,
        settings.seed,
    )
    more = {
        "architecture": settings.cfg["encoder"],
        "y_dim": objective.encoder.dim,
        "latent_scale": latents.scale,
        "autoencoder_sha256": decoder_card["sha256"],
        "ldm_sha256": ldm_card["sha256"],
        "diffusion": diffusion,
    }
    return Stage(objective, volumes, more)


def dae(settings: Settings, compute: Compute) -> Stage:
    """Voxel-space DAE: the EMA weights, selected as in stage 3. Inputs: volumes."""
    from ldae.data.volume_store import VolumeStore
    from ldae.diffusion.schedule import Schedule
    from ldae.training.objectives.dae import DaeObjective

    volumes = VolumeStore(settings.inputs["volumes"])
    schedule = Schedule(**settings.diffusion)
    objective = DaeObjective(volumes, settings.cfg, schedule, compute, settings.seed)
    more = {
        "architecture": settings.cfg,
        "y_dim": objective.encoder.dim,
        "diffusion": settings.diffusion,
    }
    return Stage(objective, volumes, more)


def supervised(settings: Settings, compute: Compute) -> Stage:
    """Supervised encoder: the weights with the best validation loss. Inputs: volumes."""
    from ldae.data.volume_store import VolumeStore
    from ldae.training.objectives.supervised import AgeObjective, DiagnosisObjective

    volumes = VolumeStore(settings.inputs["volumes"])
    kinds = {kind.stage: kind for kind in (DiagnosisObjective, AgeObjective)}
    objective = kinds[settings.stage](volumes, settings.cfg, compute, settings.seed)
    more = {"kind": "supervised", "architecture": settings.cfg, **objective.card()}
    return Stage(objective, volumes, more)


def fine_tuning(settings: Settings, compute: Compute) -> Stage:
    """Supervised encoder from few people: the last weights. Inputs: volumes; ldae, if it starts so.

    Raises:
        UserError: the LDAE has no branch of slices, was trained on other volumes, or on scans of
            the test split.
    """
    from ldae.config import slice_branch
    from ldae.data.volume_store import VolumeStore
    from ldae.models.loading import load_slices
    from ldae.models.training_scans import require_fit
    from ldae.training.objectives.fine_tuning import FineTuningObjective

    volumes, cfg, start = VolumeStore(settings.inputs["volumes"]), dict(settings.cfg), {}
    if "ldae" in settings.inputs:
        encoder, card = load_slices(settings.inputs["ldae"])
        require_fit(volumes, card, settings.inputs["ldae"])
        cfg["encoder"] = slice_branch(card["architecture"]) | {"pretrained": None}
        start = {"start": encoder.state_dict(), "start_hash": card["sha256"]}
    objective = FineTuningObjective(volumes, cfg, compute, settings.seed, **start)
    more = {"kind": "supervised", "architecture": cfg, **objective.card()}
    return Stage(objective, volumes, more)


STAGES: dict[str, Callable[[Settings, Compute], Stage]] = {
    "autoencoder": autoencoder,
    "ldm": ldm,
    "ldae": ldae,
    "dae": dae,
    "supervised_diagnosis": supervised,
    "supervised_age": supervised,
    "fine_tuning": fine_tuning,
}


def save_trained(
    settings: Settings, trained: Trained, machine: dict[str, Any], store: Store, **more: Any
) -> None:
    """Write history.tsv, scans.tsv and the model with its card into ``settings.out_dir``.

    Args:
        settings: Settings of the training.
        trained: Its outcome.
        machine: Description of the machine, for the card.
        store: The store it was trained on. Its content hash, split hash and scans go into the card.
        more: Further entries of the card: architecture, hashes of upstream models, latent scale.
    """
    out_dir = Path(settings.out_dir)
    write_history(trained.history, out_dir / "history.tsv")
    card = {
        "kind": settings.stage,
        "config": settings.cfg,
        "data": store.content_hash,
        "split": store.split_hash,
        **write_training_scans(store, out_dir),
        "epoch": trained.epoch,
        "epochs": len(trained.history),
        "steps": trained.steps,
        "metrics": trained.metrics,
        "flags": trained.flags,
        "seed": settings.seed,
        "fingerprint": settings.fingerprint,
        "told": settings.record,
        "machine": machine | {"processes": settings.processes},
        "versions": {"ldae": __version__, **versions()},
        **more,
    }
    save_model(out_dir, trained.state, card)
