"""Micro-batch and recomputation of a training: ``auto`` takes what fits the GPU, once a training.

The effective batch stays what the configuration says: the choice is a power of two that divides it.
It is kept beside the checkpoints (:mod:`ldae.training.choices`).
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from ldae.config import AUTO, section_name
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.files import digest
from ldae.models.storage import load_card
from ldae.nets.memory import GIB, Gpu, largest_fit, powers_of_two, visible_gpu, without_content
from ldae.training.choices import keep_choice, kept_choice
from ldae.training.distributed.processes import Processes
from ldae.training.ema import batch_norms
from ldae.training.memory import STEPS, Upstream, autocast
from ldae.training.memory_table import needed_bytes, table_key
from ldae.training.settings import MEMORY_CHOICE, Settings

# On a CPU, whose memory is not asked for: the largest that divide the effective batch, up to these.
ON_CPU = {"autoencoder": 1, "ldm": 64, "ldae": 2, "dae": 1, "supervised": 2}
# With recomputation larger ones gain little speed, and computing their memory takes minutes.
RECOMPUTED_AT_MOST = 4
log = logging.getLogger(__name__)


class MemoryChoice(NamedTuple):
    """Scans in a forward pass, whether activations are recomputed, and why."""

    micro_batch: int
    checkpointing: bool
    reason: str

    @property
    def described(self) -> str:
        """Sentence for the log."""
        recomputed = "with" if self.checkpointing else "without"
        return f"micro_batch {self.micro_batch} {recomputed} checkpointing: {self.reason}"


def fit_to_memory(
    settings: Settings, device: torch.device, precision: str, processes: Processes
) -> tuple[Settings, str | None]:
    """Settings with numbers in place of ``auto`` for micro_batch and checkpointing; and the reason.

    The first process chooses, by its GPU, for all. Without ``auto`` the settings are as they were,
    and the reason is None.

    Args:
        settings: Settings of the training.
        device: Device of this process.
        precision: bf16, fp16 or fp32.
        processes: This process among those that train together, which can communicate.

    Raises:
        UserError: nothing fits the GPU.
    """
    cfg = settings.cfg
    if AUTO not in (cfg["micro_batch"], cfg.get("checkpointing")):
        return settings, None
    if device.type == "cpu" and cfg["micro_batch"] != AUTO:  # nothing to choose
        return replace(settings, cfg=cfg | {"checkpointing": False}), None
    chosen = MemoryChoice(0, False, "")
    if processes.first:
        chosen = first_choice(settings, device, precision)
        log.info("%s: %s", settings.stage, chosen.described)
    size = processes.broadcast_from_first(chosen.micro_batch, device)
    recomputes = processes.broadcast_from_first(int(chosen.checkpointing), device)
    changed = {"micro_batch": size, "checkpointing": bool(recomputes)}
    return replace(settings, cfg=cfg | changed), chosen.reason


def first_choice(settings: Settings, device: torch.device, precision: str) -> MemoryChoice:
    """The choice that belongs to the checkpoints, or else a new one, which is written there.

    Raises:
        UserError: nothing fits the GPU.
    """
    stage, cfg = settings.stage, settings.cfg
    upstream = upstream_of(settings)
    share = cfg["batch_size"] // settings.processes
    asked = [share, cfg["micro_batch"], cfg["checkpointing"]]
    made_for = digest([*asked, table_key(stage, cfg, upstream, precision)])
    known = kept_choice(settings.run_dir, MEMORY_CHOICE)
    if known is not None and known.pop("made_for") == made_for:
        return MemoryChoice(**known)
    gpu = visible_gpu(device.index or 0) if device.type == "cuda" else None
    chosen = choose(stage, cfg, upstream, share, precision, gpu)
    keep_choice(chosen._asdict() | {"made_for": made_for}, settings.run_dir, MEMORY_CHOICE)
    return chosen


def choose(
    stage: str,
    cfg: Mapping[str, Any],
    upstream: Upstream,
    share: int,
    precision: str,
    gpu: Gpu | None,
) -> MemoryChoice:
    """The largest micro-batch that fits; recomputed only where the smallest does not fit without.

    Args:
        stage: Name of the training.
        cfg: Its section, with ``micro_batch``, ``checkpointing`` or both ``auto``.
        upstream: What it takes from other stages.
        share: Scans of an effective batch that a process gets.
        precision: bf16, fp16 or fp32.
        gpu: The GPU; None: it trains on a CPU.

    Raises:
        UserError: nothing fits the GPU.
    """
    name, asked = section_name(stage), cfg["micro_batch"]
    sizes, dependent = [asked], False
    if asked == AUTO:
        sizes, dependent = choosable_sizes(stage, cfg, upstream, share)
    options = [False, True] if cfg["checkpointing"] == AUTO else [cfg["checkpointing"]]
    if gpu is None:
        size = max([size for size in sizes if size <= ON_CPU[name]], default=sizes[0])
        return MemoryChoice(size, options[0], "a CPU, whose memory is not asked for")

    def needed(size: int) -> int:
        return needed_bytes(stage, cfg, upstream, precision, size, recompute)

    for recompute in options:
        some = [size for size in sizes if size <= RECOMPUTED_AT_MOST] or sizes[:1]
        chosen = largest_fit(some if recompute else sizes, needed, gpu.bytes)
        if chosen is not None:
            reason = f"needs {needed(chosen) / GIB:.1f} GiB by the model; {gpu.described}"
            if dependent:
                reason += "; the smallest, whatever the GPU, because of its batch normalisation"
            return MemoryChoice(chosen, recompute, reason)
    raise UserError(
        f"{name}.micro_batch: {sizes[0]} needs {needed(sizes[0]) / GIB:.1f} GiB by the model of "
        f"memory, more than fits ({gpu.described}). Use a larger GPU, or smaller networks or "
        f"volumes; to try nevertheless, set {name}.micro_batch and {name}.checkpointing yourself."
    )


def choosable_sizes(
    stage: str, cfg: Mapping[str, Any], upstream: Upstream, share: int
) -> tuple[list[int], bool]:
    """Micro-batches among which ``auto`` chooses, ascending; and whether the result depends on it.

    A batch norm normalises by its micro-batch, so the model would depend on the GPU. Then there is
    only the smallest: 1, or 2 where y_sem is standardised.
    """
    sizes = powers_of_two(share)
    first = {**cfg, "micro_batch": 1, "checkpointing": False}
    with without_content():
        step = STEPS[section_name(stage)](first, upstream, autocast("fp32"))
    if not batch_norms(step.trained):
        return sizes, False
    standardizes = cfg.get("encoder", {}).get("standardize", False)
    return [2 if standardizes else 1], True


def upstream_of(settings: Settings) -> Upstream:
    """What a training takes from other stages, from its inputs."""
    cards = {
        name: load_card(settings.inputs[name])
        for name in ("autoencoder", "ldm")
        if name in settings.inputs
    }
    if "volumes" in settings.inputs:
        shape = VolumeStore(settings.inputs["volumes"]).shape
    else:
        shape = cards["autoencoder"]["form"]["shape"][-3:]
    own = {settings.stage: settings.cfg}
    architectures = [
        own.get(name) or cards.get(name, {}).get("architecture", {})
        for name in ("autoencoder", "ldm")
    ]
    return Upstream(tuple(shape), *architectures)
