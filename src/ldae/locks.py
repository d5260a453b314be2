"""One writer at a time, also on several machines that share a file system.

A cluster can start a job twice: Snakemake was killed and started again, a node that had lost its
network comes back. The lock is the kernel's: it ends with its process, however that ends.
"""

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ldae.errors import UserError, require

PATIENCE = 600.0  # seconds; a job that has been told to end saves and leaves in less
POLL = 1.0
WITHOUT = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

log = logging.getLogger(__name__)


def hold(path: str | Path, what: str, patience: float = PATIENCE) -> IO[str]:
    """Lock ``path`` until the file that is returned is closed or the process ends.

    Args:
        path: File to lock; made, and filled with who holds it, for a human.
        what: What it guards, for messages.
        patience: Seconds to wait for another process that holds it.

    Raises:
        UserError: another process held it all the time, or the file is somebody else's.
    """
    path = Path(path)
    deadline, announced = time.monotonic() + patience, False
    # Opened anew each time: its holder may have deleted it, with the folder it is in.
    while not (_taken(file := _opened(path, what), path) and _still(file, path)):
        file.seek(0)
        holder = file.read().strip()
        file.close()
        if not announced:
            log.warning("waiting for %s, which writes %s as well", holder, what)
            announced = True
        require(
            time.monotonic() <= deadline,
            f"{what} is being written by {holder}. End that process (scancel, if it is a Slurm "
            "job), or wait for it, and run again.",
        )
        time.sleep(min(POLL, patience))
    file.truncate(0)
    job = os.environ.get("SLURM_JOB_ID")
    within = f" in Slurm job {job}" if job else ""
    file.write(f"process {os.getpid()} on {socket.gethostname()}{within}\n")
    file.flush()
    return file


@contextmanager
def locked(path: str | Path, what: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock ``path`` within the context; see :func:`hold`."""
    with hold(path, what, patience):
        yield


def _opened(path: Path, what: str) -> IO[str]:
    """The file, not truncated before it is ours: the holder's name is in it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+")
    except PermissionError as error:
        raise UserError(
            f"You may not write {path}, by which one process alone writes {what}: somebody else "
            "has begun this. Let them go on, or set a folder of your own (paths.results)."
        ) from error


def _still(file: IO[str], path: Path) -> bool:
    """Whether the file is the one of this name."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


def _taken(file: IO[str], path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in WITHOUT:
            raise
        log.warning("%s: this file system has no locks; see that nothing runs twice", path.parent)
    return True
