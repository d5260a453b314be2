"""File locks: one writer at a time, also on several machines that share a file system.

A cluster can start a job twice: the workflow was killed and started again, or a node that had lost
its network comes back. The lock is the kernel's: it ends with its process, however that ends.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ldae.errors import UserError, require

PATIENCE = 600.0  # seconds; a cancelled job saves its state and ends in less
POLL = 1.0
# Errors of a file system without locks.
LOCKS_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

log = logging.getLogger(__name__)


def acquire_lock(path: str | Path, what: str, patience: float = PATIENCE) -> FileLock:
    """Lock ``path`` until the returned lock is released or the process ends.

    Args:
        path: File to lock, created if absent. The holder writes its process, machine and job into
            it, for a human.
        what: What the lock guards, for messages.
        patience: Seconds to wait for another process that holds the lock.

    Raises:
        UserError: another process held the lock for ``patience`` seconds, or the file belongs to
            another user.
    """
    path = Path(path)
    deadline, announced = time.monotonic() + patience, False
    # Not a file whose presence alone is the lock: it would outlive a killed holder.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    while not _acquired(lock, path, what):
        holder = _holder(path)
        if not announced:
            log.warning("waiting for %s, which writes %s as well", holder, what)
            announced = True
        require(
            time.monotonic() <= deadline,
            f"{what} is being written by {holder}. End that process (scancel, if it is a Slurm "
            "job), or wait for it, and run again.",
        )
        time.sleep(min(POLL, patience))
    job = os.environ.get("SLURM_JOB_ID")
    within = f" in Slurm job {job}" if job else ""
    path.write_text(f"process {os.getpid()} on {socket.gethostname()}{within}\n")
    return lock


@contextmanager
def locked(path: str | Path, what: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock ``path`` within the context; see :func:`acquire_lock`."""
    lock = acquire_lock(path, what, patience)
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: FileLock, path: Path, what: str) -> bool:
    """Try to lock a file; True, with a warning, also where the file system has no locks."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # its holder may have deleted the folder
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except PermissionError as error:
        raise UserError(
            f"You may not write {path}, the lock of {what}: it or its folder belongs to somebody "
            "else. Wait until they have finished, or set a folder of your own (paths.results)."
        ) from error
    except OSError as error:
        if error.errno not in LOCKS_UNSUPPORTED:
            raise
        log.warning("%s: this file system has no locks; see that no job runs twice", path.parent)
    return True


def _holder(path: Path) -> str:
    """What the holder of a lock wrote into it."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return "a process that has just deleted it"
