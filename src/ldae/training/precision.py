"""Precision of a training: ``auto`` becomes bf16 or fp32, by the device, once for a training.

The choice is kept beside the checkpoints (:mod:`ldae.training.choices`).
"""

import logging
from typing import NamedTuple

import torch

from ldae.compute import require_device
from ldae.config import AUTO
from ldae.training.choices import keep_choice, kept_choice
from ldae.training.settings import PRECISION_CHOICE, Settings

log = logging.getLogger(__name__)


class Precision(NamedTuple):
    """Precision of a training, bf16, fp32 or fp16, and why it is this one."""

    name: str
    reason: str


def training_precision(settings: Settings, first: bool = True) -> Precision:
    """Precision of a training, as the configuration asks or as the device is faster.

    Logs which was chosen and why, or a warning if bf16 was asked for on a CPU that is slower in it.

    Args:
        settings: Settings of the training.
        first: Whether this process is the one that writes.

    Raises:
        UserError: the device is unknown, or cuda where this process has no GPU.
    """
    require_device(settings.device)
    asked = settings.cfg["precision"]
    if asked != AUTO:
        if asked == "bf16" and settings.device == "cpu" and not has_bf16_units():
            log.warning(
                "%s.precision is bf16, and this CPU has no matrix units for it (AMX): a step takes "
                "about 1.4 times as long as in fp32. Set it to auto or fp32.",
                settings.stage,
            )
        return Precision(asked, "the configuration asks for it")
    known = kept_choice(settings.run_dir, PRECISION_CHOICE)
    if known is not None:
        kept = Precision(**known)
        where = settings.run_dir
        log.info("precision %s, as the checkpoints in %s: %s", kept.name, where, kept.reason)
        return kept
    chosen = choose_precision(settings.device)
    log.info("precision %s: %s", *chosen)
    if first:
        keep_choice(chosen._asdict(), settings.run_dir, PRECISION_CHOICE)
    return chosen


def choose_precision(device: str) -> Precision:
    """The faster precision of a device among bf16 and fp32, and the reason.

    In bf16 a step of the trainings costs 1.3 to 1.5 times the processor time of fp32 on CPUs
    without matrix units for it, also on those that have AVX512-BF16, and less on those with AMX
    (docs/training.md).
    """
    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bf16", "the GPU supports it")
        return Precision("fp32", "the GPU does not support bf16")
    if has_bf16_units():
        return Precision("bf16", "the CPU has matrix units for it (AMX)")
    return Precision("fp32", "the CPU has no matrix units for bf16 (AMX), and is slower in it")


def has_bf16_units() -> bool:
    """Whether the CPU has matrix units for bf16."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
