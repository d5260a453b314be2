"""Scratch copies of stores on a disk of the node, for trainings that read them hundreds of times.

On the scratch disk, readable by its owner alone::

    ldae-{uid}/{kind}-{hash}/       a complete copy of a store; hash: its content hash
    ldae-{uid}/{kind}-{hash}.part   a copy being made, or left by a job that was killed
    ldae-{uid}/{kind}-{hash}.lock   held by the process that makes the copy; others wait for it

A copy has the bytes of the original, so a training does not depend on where its data are read.
The copy is compared with the store's checksums when it is made. Other processes of the training and
later jobs compare only the sizes of its files. Nothing is deleted but unfinished copies.

``KINDS`` is the registry of stores by the name of their kind (``volumes``, ``latents``).
"""

import errno
import logging
import os
import shutil
import socket
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from ldae.data.latent_store import LatentStore
from ldae.data.store import INDEX_HASH, Store
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError, require
from ldae.files import digest
from ldae.locks import locked
from ldae.progress import Progress

KINDS: dict[str, type[Store]] = {kind.made_by: kind for kind in (VolumeStore, LatentStore)}
CHUNK = 2**24  # bytes
PATIENCE = 6 * 3600.0  # seconds; copying 100 GB from a slow disk may take that long
FULL = (errno.ENOSPC, errno.EDQUOT)
READ_IN_PLACE = "paths.scratch: null reads the store where it is"
log = logging.getLogger(__name__)


def on_scratch(inputs: Mapping[str, str], scratch: str | None) -> dict[str, str]:
    """Copy the stores among a training's inputs to the scratch disk.

    Args:
        inputs: Folders by name, of stores (a key of ``KINDS``) and of models.
        scratch: ``paths.scratch``, with environment variables of this node; None: copy nothing.

    Returns:
        The inputs, with the folders of the copies in place of those of the stores.

    Raises:
        UserError: the scratch disk is absent, too full or not writable, or a store is damaged.
    """
    if scratch is None:
        return dict(inputs)
    base = private_folder(scratch)
    return {
        name: str(scratch_copy(KINDS[name](folder), base)) if name in KINDS else folder
        for name, folder in inputs.items()
    }


def scratch_folder(scratch: str) -> Path:
    """The folder that ``paths.scratch`` names on this machine.

    Raises:
        UserError: a variable is not set on this machine, or the folder does not exist.
    """
    where = Path(os.path.expandvars(scratch)).expanduser()
    node = socket.gethostname()
    require(
        "$" not in str(where),
        f"paths.scratch is {scratch}, but on {node} not all of its variables are set ({where}). "
        f"Name a folder that every node has, or a variable that the scheduler sets; "
        f"{READ_IN_PLACE}.",
    )
    require(
        where.is_dir() and where.is_absolute(),
        f"paths.scratch is {scratch}, but on {node} there is no such folder: {where}. Give the "
        f"absolute path of one that every node has; {READ_IN_PLACE}.",
    )
    return where


def private_folder(scratch: str) -> Path:
    """The user's own folder on the scratch disk, made if absent.

    Others may not read it, since it holds brain scans.

    Raises:
        UserError: see :func:`scratch_folder`; or another user owns the folder, or it cannot be
            made.
    """
    folder = scratch_folder(scratch) / f"ldae-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made on {socket.gethostname()}: {error.strerror}. Name another "
            f"folder in paths.scratch; {READ_IN_PLACE}."
        ) from error
    require(
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and os.access(folder, os.W_OK),
        f"{folder} on {socket.gethostname()} is not a folder of yours that you may write. Name "
        f"another in paths.scratch; {READ_IN_PLACE}.",
    )
    folder.chmod(0o700)
    return folder


def scratch_copy(store: Store, base: Path) -> Path:
    """The folder of a store's copy below ``base``; if absent, one process alone makes it.

    Raises:
        UserError: there is too little space, or the copy does not match the store's checksums.
    """
    index_hash = (store.folder / INDEX_HASH).read_text().split()[0]
    copy = base / f"{store.made_by}-{digest([store.content_hash, index_hash])}"
    sizes = {file: (store.folder / file).stat().st_size for file in store.files()}
    with locked(copy.with_suffix(".lock"), str(copy), PATIENCE):
        if has_files(copy, sizes):
            log.info("reading %s from its copy %s", store.folder, copy)
            return copy
        part = copy.with_suffix(".part")
        for left in (part, copy):
            if left.exists():
                shutil.rmtree(left)
        require_space(store, sizes, base)
        began = time.monotonic()
        try:
            copy_files(store.folder, part, sizes)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            if error.errno in FULL:
                raise UserError(too_full(store, sum(sizes.values()), base)) from error
            raise
        verify(store, part)
        part.rename(copy)
        seconds = time.monotonic() - began
        log.info("copied %s to %s, %s in %.0f s", store.folder, copy, gigabytes(sizes), seconds)
    return copy


def has_files(folder: Path, sizes: Mapping[str, int]) -> bool:
    """Whether all files exist and have the given sizes (bytes, by path relative to ``folder``)."""
    found = {file: folder / file for file in sizes}
    return all(p.is_file() and p.stat().st_size == sizes[file] for file, p in found.items())


def copy_files(source: Path, target: Path, sizes: Mapping[str, int]) -> None:
    """Copy the files of a store and wait until they are on the disk; log the progress in MB."""
    progress, done = Progress(f"MB of {source} to scratch", sum(sizes.values()) >> 20), 0
    for file in sizes:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        with (source / file).open("rb") as original, (target / file).open("wb") as copy:
            while chunk := original.read(CHUNK):
                copy.write(chunk)
                done += len(chunk)
                progress.step(done >> 20)
            copy.flush()
            os.fsync(copy.fileno())


def verify(store: Store, part: Path) -> None:
    """Delete the copy and raise :class:`UserError` if it differs from the store's checksums."""
    try:
        type(store)(part).verify()
    except UserError as error:
        shutil.rmtree(part)
        raise UserError(
            f"The copy of {store.folder} on {socket.gethostname()} differs from the store's "
            "checksums. Check the original: `ldae verify "
            f"{store.folder}`; if it is intact, the disk of that node is faulty; {READ_IN_PLACE}."
        ) from error


def require_space(store: Store, sizes: Mapping[str, int], base: Path) -> None:
    """Raise :class:`UserError` unless the store fits on the scratch disk."""
    needed = sum(sizes.values())
    require(needed <= shutil.disk_usage(base).free, too_full(store, needed, base))


def too_full(store: Store, needed: int, base: Path) -> str:
    """Message for the user if a store does not fit (``needed`` bytes) on the scratch disk."""
    free = shutil.disk_usage(base).free
    others = sorted(path.name for path in base.iterdir() if path.is_dir())
    return (
        f"The copy of {store.folder} needs {needed} bytes ({needed / 1e9:.1f} GB), but {base} on "
        f"{socket.gethostname()} has {free} free ({free / 1e9:.1f} GB). Ask the scheduler for a "
        "node or a share of its disk that is large enough (sbatch --tmp), delete copies that no "
        f"job reads (there: {', '.join(others) or 'none'}), or name another disk; {READ_IN_PLACE}."
    )


def gigabytes(sizes: Mapping[str, int]) -> str:
    """Total of file sizes in GB, for the log."""
    return f"{sum(sizes.values()) / 1e9:.2f} GB"
