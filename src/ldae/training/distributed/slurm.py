"""Slurm job of a training: its number of nodes and the time it has left.

They are queried by squeue: the workflow's Slurm executor removes most SLURM_* variables from jobs.
"""

import logging
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

TRIES = 3
PAUSE = 5.0  # seconds; squeue fails now and then while the controller is busy
TIME = re.compile(r"(?:(?P<days>\d+)-)?(?:(?:(?P<hours>\d+):)?(?P<minutes>\d+):)?(?P<seconds>\d+)")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Allocation:
    """Resources of a Slurm job.

    Args:
        nodes: Number of nodes.
        left: Seconds until its time limit; inf: it has none.
    """

    nodes: int
    left: float


def allocation(environment: Mapping[str, str]) -> Allocation | None:
    """The Slurm job of this process; None outside of Slurm, or if Slurm cannot be queried.

    Args:
        environment: ``os.environ``.
    """
    number = environment.get("SLURM_JOB_ID")
    if number is None:
        return None
    if not (shutil.which("squeue") and shutil.which("srun")):
        return _unknown(number, "there is no squeue and srun, as in most containers")
    for attempt in range(TRIES):
        command = ["squeue", "--noheader", f"--jobs={number}", "--format=%D %L"]
        done = subprocess.run(command, text=True, check=False, capture_output=True)
        fields = done.stdout.split()
        if done.returncode == 0 and len(fields) == 2:
            return Allocation(int(fields[0]), seconds(fields[1]))
        if attempt < TRIES - 1:
            time.sleep(PAUSE)
    return _unknown(number, f"squeue says {(done.stderr or done.stdout).strip()!r}")


def _unknown(number: str, why: str) -> None:
    log.warning(
        "The nodes and time limit of Slurm job %s are unknown: %s. If a signal or the time limit "
        "ends the training, it may fall back to its last checkpoint (checkpoint_seconds).",
        number,
        why,
    )


def seconds(text: str) -> float:
    """Seconds of a Slurm time, ``[[days-]hours:]minutes:seconds``; inf for UNLIMITED."""
    match = TIME.fullmatch(text)
    if match is None:
        return float("inf")
    days, hours, minutes, rest = (float(match[name] or 0) for name in TIME.groupindex)
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest
