"""Choices that a training makes by the machine it starts on, kept while there are checkpoints.

A training that continues on another machine keeps them, whatever that machine would choose, so that
its result does not depend on where it continues.
"""

from pathlib import Path
from typing import Any

from ldae.files import read_json, write_json
from ldae.training.run_identity import IDENTITY


def kept_choice(run_dir: str | Path, name: str) -> dict[str, Any] | None:
    """The choice that :func:`keep_choice` wrote; None if there is none, or no checkpoint any more.

    Args:
        run_dir: The stage's folder of checkpoints.
        name: One of ``training.settings.CHOICES``.
    """
    path = Path(run_dir) / name
    if any(Path(run_dir).glob(f"*/{IDENTITY}")) and path.is_file():
        return read_json(path)
    return None


def keep_choice(choice: dict[str, Any], run_dir: str | Path, name: str) -> None:
    """Write a choice beside the checkpoints."""
    write_json(choice, Path(run_dir) / name)
