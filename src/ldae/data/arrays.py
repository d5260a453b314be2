"""Arrays on disk that are filled by memory map."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# What file systems answer that cannot reserve space; some raise no error but fill the file.
UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL)


def create_array(path: Path, dtype: str | type, shape: Sequence[int]) -> np.memmap:
    """Make an ``.npy`` file to be filled in, with all of its space on the disk reserved.

    A file of a map is full of holes at first; a disk without room for what is written into them
    would kill the process by a signal (SIGBUS), without a message and without an exception.

    Raises:
        OSError: the disk is full (ENOSPC) or the quota is used up (EDQUOT).
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))
    with path.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
    return array
