"""Run identity: all that decides what a training learns; its digest names the checkpoint folder."""

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
    """All that decides what a training learns: trainings of equal identity may share checkpoints.

    It holds the stage's config, the seed, the fingerprint of the sources, and the objective's data
    and upstream models. Keys of the config with the flag ``continues`` (:mod:`ldae.dependencies`)
    are left out: an interrupted training may continue with another value. Two of them stay in:
    ``micro_batch`` if a network has batch norm, and ``epochs`` if the learning rate decays. The
    path of pretrained weights is replaced by the SHA-256 of the file.

    Returns:
        Flat dict of JSON values, keys as in ``ldm.learning_rate``.
    """
    # Batch norm normalises by the statistics of a micro-batch, so micro_batch changes the result.
    fixed = {"micro_batch"} if batch_norms(objective.modules().values()) else set()
    free = with_flag("continues") - fixed
    kept = {key: value for key, value in settings.cfg.items() if key not in free}
    if settings.cfg["decay"] != "none":  # the schedule depends on the number of steps
        kept["epochs"] = settings.cfg["epochs"]
    section = flatten({objective.stage: kept})
    for key, value in list(section.items()):
        named = key.split(".")[-1] in with_flag("names_file") and isinstance(value, str)
        if named and Path(value).is_file():  # the content counts, not the path
            section[f"{key}.sha256"] = sha256(section.pop(key))
    others = {"seed": settings.seed, "source": settings.fingerprint}
    return section | others | flatten(objective.identity())


def run_folder(run_dir: Path, identity: dict[str, Any], first: bool = True) -> Path:
    """Return the checkpoint folder of an identity, below the stage's ``run_dir``.

    The ``first`` process makes it and writes the identity there. It also logs a warning for every
    folder of another identity, with the differences. Those folders are left alone.
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
    """Log a warning if machine, versions or number of processes changed since a checkpoint.

    Such a change is allowed.
    """
    changed = [f"{key}: {then.get(key)} -> {now[key]}" for key in now if then.get(key) != now[key]]
    if changed:
        log.warning("resumed under other conditions, rounding may differ: %s", changed)


def differences(saved: dict[str, Any], current: dict[str, Any], where: str) -> str:
    """List the keys in which two identities differ, with both values; empty if none does.

    Args:
        saved, current: The two identities.
        where: Adverbial of the saved values in the text, as in "in the checkpoint".
    """
    return "; ".join(
        f"{key} ({saved.get(key)!r} {where}, {current.get(key)!r} now)"
        for key in sorted(saved.keys() | current.keys())
        if saved.get(key) != current.get(key)
    )


def refuse_difference(saved: dict[str, Any], current: dict[str, Any], folder: Path) -> None:
    """Refuse a checkpoint of another identity, as one copied into ``folder`` by hand.

    Raises:
        UserError: naming the keys in which the identities differ.
    """
    differing = differences(saved, current, "in the checkpoint")
    if differing:
        raise UserError(
            f"The checkpoints in {folder} belong to another training: {differing}. "
            "Restore the setting, or delete the folder to train anew."
        )
