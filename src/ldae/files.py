"""Files: atomic writing, TSV tables, JSON, arrays and hashes.

Writes are atomic, so a half-written file is never taken for a finished one.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.errors import UserError, require

MISSING = "n/a"


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success rename it to ``path``.

    The temporary name keeps the suffixes of ``path`` (``.nii.gz``), since writers choose their
    format by them. A random part keeps it apart from those of other processes, on any node. On an
    error the temporary file is removed and ``path`` is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, mark: str) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; on success rename it to ``path``.

    Args:
        path: Folder to write. An existing one is replaced if it is empty or holds the file
            ``mark``.
        mark: Name of a file that marks folders made by the same command.

    Raises:
        UserError: ``path`` exists and holds something else.
    """
    path = Path(path)
    require(
        _is_replaceable(path, mark),
        f"{path} is not empty and was not made by this command; name a new folder.",
    )
    work = path.with_name(f".tmp{os.getpid()}-{path.name}")
    try:
        work.mkdir(parents=True)
        yield work
        _replace(work, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def folder_beside(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, and remove it afterwards if it still exists.

    One that a killed job left is removed first.
    """
    path = Path(path)
    folder = path.with_name(f".tmp-{path.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_folder(source: str | Path, target: str | Path, mark: str) -> None:
    """Rename ``source`` to ``target``, which may be empty or hold the file ``mark``, nothing else.

    Raises:
        UserError: ``target`` holds something else.
    """
    source, target = Path(source), Path(target)
    require(
        _is_replaceable(target, mark),
        f"{target} is in the way: it is no part of an earlier run. Move it elsewhere.",
    )
    _replace(source, target)


def _is_replaceable(folder: Path, mark: str) -> bool:
    """Whether nothing is lost by a new folder: there is none, it is empty, or holds ``mark``."""
    if not folder.exists() or (folder / mark).is_file():
        return True
    return folder.is_dir() and not any(folder.iterdir())


def _replace(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    source.rename(target)


def flush(path: str | Path) -> None:
    """Wait until a file or a folder is on the disk, safe from a crash of the node."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_table(path: str | Path, columns: Iterable[str] = ()) -> pd.DataFrame:
    """Read a BIDS-style TSV (``n/a`` for missing) and check that it has ``columns``.

    Identifier columns (``*_id``) stay strings.

    Raises:
        UserError: the file does not exist or lacks columns; the message names both.
    """
    path = Path(path)
    require(path.is_file(), f"The table {path} does not exist. Run the stage that makes it first.")
    head = pd.read_csv(path, sep="\t", nrows=0)
    missing = [name for name in columns if name not in head.columns]
    if missing:
        raise UserError(
            f"The table {path} lacks the column(s) {', '.join(missing)}; "
            f"it has {', '.join(head.columns)}."
        )
    strings = {name: str for name in head.columns if name.endswith("_id")}
    return pd.read_csv(
        path,
        sep="\t",
        dtype=strings,
        na_values=[MISSING],
        keep_default_na=False,
        # The faster reader crashes on a checksum like 12e3456789..., which it takes for a number.
        float_precision="round_trip",
    )


def write_table(table: pd.DataFrame, path: str | Path, digits: int = 6) -> None:
    """Write a TSV atomically; missing values become ``n/a``, floats keep ``digits`` significant."""
    with atomic(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep=MISSING, float_format=f"%.{digits}g")


def read_json(path: str | Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text())


def write_json(content: Any, path: str | Path) -> None:
    """Write a JSON file atomically, keys in the order given."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Short, stable hash of JSON-like content: 16 hexadecimal characters."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_arrays(path: str | Path, **arrays: Any) -> None:
    """Write arrays, numbers and columns of text to an npz, atomically.

    Text is stored as fixed-width unicode.
    """
    plain = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        plain[name] = array.astype(str) if array.dtype == object else array
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **plain)
