"""Whether a model is the one that its training would be told to make now, where the note is lost.

``models/training/{stage}.json`` holds what a training was told; trainings depend on it by time. The
model's card holds the same (``told``), so that a lost note costs no training.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ldae.errors import require
from ldae.files import read_json, write_json

ABSENT = "nothing"


def recall(
    told: dict[str, Any], note: str | Path, model: str | Path, stores: Iterable[str] = ()
) -> None:
    """Write what is lost of what a training depends on by time again, older than its model.

    That is its note, if the model was told just this, and the empty files that say its stores are
    there. Nothing happens where nothing is lost, or there is no finished model.

    Args:
        told: What the training would be told now.
        note: ``models/training/{stage}.json``.
        model: The model's folder.
        stores: Whose files ``{store}.ready`` it waits for, beside the note.

    Raises:
        UserError: the model was told something else, naming it.
    """
    note, model = Path(note), Path(model)
    if not (model / "model.json").is_file():
        return
    needed = [note, *(note.with_name(f"{store}.ready") for store in stores)]
    lost = [path for path in needed if not path.is_file()]
    if note in lost:
        then, now = read_json(model / "model.json").get("told"), json.loads(json.dumps(told))
        keys = _differing(then or {}, now)
        require(
            not keys,
            f"{note}, what the training of {model} was told, is missing, and by its card the model "
            f"was told otherwise than it would be now: {', '.join(keys[:8])}. Restore the "
            f"settings, or copy the file there; to make the model again, delete {model}.",
        )
        write_json(now, note)
    # Else Snakemake would take the model for out of date.
    oldest = min(path.stat().st_mtime_ns for path in model.iterdir() if path.is_file())
    for path in lost:
        path.touch()
        os.utime(path, ns=(oldest, oldest))


def _differing(then: dict[str, Any], now: dict[str, Any], above: str = "") -> list[str]:
    """Names of the values in which two nested dicts differ, as ``data.volumes.spacing``."""
    found = []
    for key in sorted(then.keys() | now.keys()):
        pair = then.get(key, ABSENT), now.get(key, ABSENT)
        if all(isinstance(value, dict) for value in pair):
            found += _differing(*pair, f"{above}{key}.")
        elif pair[0] != pair[1]:
            found.append(f"{above}{key}")
    return found
