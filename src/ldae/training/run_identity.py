"""What a training is: all that decides what it learns, and the folder named by its digest."""

import logging
from pathlib import Path
from typing import Any

from ldae.dependencies import with_flag
from ldae.errors import UserError
from ldae.files import digest, read_json, sha256, write_json
from ldae.training.ema import batch_norms
from ldae.training.objectives.base import Objective
from ldae.training.settings import Settings

IDENTITY = "identity.json"
log = logging.getLogger(__name__)


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        nested = isinstance(value, dict)
        flat |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def training_identity(objective: Objective, settings: Settings) -> dict[str, Any]:
    """All that decides what a training learns; two with the same may share checkpoints.

    These are the config without the keys that it may go on with (with ``micro_batch``, if a
    network has batch
    norm; with ``epochs``, if the learning rate decays), with the SHA-256 of pretrained weights in
    place of their paths, seed, sources, and the objective's data and upstream models.

    Returns:
        Flat dict of JSON values, keys as in ``ldm.learning_rate``.
    """
    # A batch norm's statistics are a micro-batch's: there micro_batch does change what is learnt.
    fixed = {"micro_batch"} if batch_norms(objective.modules().values()) else set()
    free = with_flag("continues") - fixed
    kept = {key: value for key, value in settings.cfg.items() if key not in free}
    if settings.cfg["decay"] != "none":  # the rate of every step depends on how many there will be
        kept["epochs"] = settings.cfg["epochs"]
    section = flatten({objective.stage: kept})
    for key, value in list(section.items()):
        named = key.split(".")[-1] in with_flag("names_file") and isinstance(value, str)
        if named and Path(value).is_file():  # where it lies changes nothing
            section[f"{key}.sha256"] = sha256(section.pop(key))
    others = {"seed": settings.seed, "source": settings.fingerprint}
    return section | others | flatten(objective.identity())


def run_folder(run_dir: Path, identity: dict[str, Any], first: bool = True) -> Path:
    """Return the folder of an identity's checkpoints in the stage's ``run_dir``.

    The ``first`` process makes it, and warns of folders of other identities, which are left alone,
    and of what they differ in.
    """
    folder = run_dir / digest(identity)
    if not first:
        return folder
    write_json(identity, folder / IDENTITY)
    for other in sorted(run_dir.glob(f"*/{IDENTITY}")):
        if other.parent != folder:
            log.warning(
                "%s holds another training, which is not continued: %s. "
                "Delete the folder unless you mean to go back to it.",
                other.parent,
                differences(read_json(other), identity, "there"),
            )
    return folder


def warn_of_conditions(then: dict[str, Any], now: dict[str, Any]) -> None:
    """Log what of machine and versions changed since a checkpoint, which is allowed."""
    changed = [f"{key}: {then.get(key)} -> {now[key]}" for key in now if then.get(key) != now[key]]
    if changed:
        log.warning("resumed under other conditions, rounding may differ: %s", changed)


def differences(saved: dict[str, Any], current: dict[str, Any], where: str) -> str:
    """Every key in which two identities differ, with both values; empty if there is none."""
    return "; ".join(
        f"{key} ({saved.get(key)!r} {where}, {current.get(key)!r} now)"
        for key in sorted(saved.keys() | current.keys())
        if saved.get(key) != current.get(key)
    )


def refuse_difference(saved: dict[str, Any], current: dict[str, Any], folder: Path) -> None:
    """Raise :class:`UserError` naming what a checkpoint put into ``folder`` by hand differs in."""
    differing = differences(saved, current, "in the checkpoint")
    if differing:
        raise UserError(
            f"The checkpoints in {folder} belong to another training: {differing}. "
            "Restore the setting, or delete the folder to train anew."
        )
