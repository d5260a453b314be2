"""What an earlier Snakemake of this folder has left: Slurm jobs, checkpoints.

Its jobs run on when it is killed. A new Snakemake does not know them and would start the same work
beside them. Checkpoints of a finished training stay until Snakemake knows that it is finished: a
job may be killed after the training's last line, and its model is then deleted as half-made.
"""

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from ldae.errors import require
from ldae.files import atomic, digest
from ldae.locks import hold
from ldae.training.settings import FINISHED

PATIENCE = 180.0  # seconds; Slurm kills what does not end in KillWait, 30 s by default
ENDING = 5.0  # seconds that a Snakemake may take to end after its last word
ANSWER = 120.0  # seconds that squeue may take
POLL = 1.0
log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A Slurm job that has not ended."""

    number: str
    user: str
    ours: bool


def end_previous_run(
    results: str | Path, notes: str | Path, run: str | None, patience: float = PATIENCE
) -> IO[str]:
    """Make this Snakemake the only one of its results, and end Slurm jobs of those before it.

    Snakemake's own lock does not do: any Snakemake removes it when it ends, ``check`` too.
    Trainings save when they are cancelled; finished scans of a shard stay finished.

    Args:
        results: The results folder.
        notes: Folder for the lock, and for the names of the jobs of earlier runs.
        run: Name that all Slurm jobs of this run will have; None: it has none, and Slurm is not
            asked.
        patience: Seconds to wait for the end of jobs.

    Returns:
        The lock, held until it is closed or this process ends.

    Raises:
        UserError: another Snakemake is at these results, Slurm does not answer, or a job of an
            earlier run does not end or is another user's.
    """
    name = digest(os.path.realpath(results))
    lock = hold(Path(notes) / f"{name}.lock", f"the folder {results}", ENDING)
    if run is not None:
        earlier = Path(notes) / f"{name}.run"
        if earlier.is_file():
            end_jobs(earlier.read_text().split(), patience)
        with atomic(earlier) as temporary:
            temporary.write_text(f"{run}\n")
    return lock


def end_jobs(runs: Sequence[str], patience: float = PATIENCE) -> None:
    """Cancel the Slurm jobs of these names and await their end; see :func:`end_previous_run`."""
    left = jobs(runs)
    if not left:
        return
    numbers = [job.number for job in left]
    others = sorted({job.user for job in left if not job.ours})
    require(
        not others,
        f"Slurm jobs of an earlier run here are {', '.join(others)}'s: {' '.join(numbers)}. Let "
        "them end, or have them cancelled, and run again.",
    )
    log.warning(
        "An earlier run has left %d Slurm jobs, which are cancelled: %s",
        len(numbers),
        " ".join(numbers),
    )
    subprocess.run(["scancel", *numbers], check=False)
    deadline = time.monotonic() + patience
    while remaining := jobs(runs):
        require(
            time.monotonic() < deadline,
            f"The Slurm jobs {' '.join(job.number for job in remaining)} of an earlier run do not "
            "end. See `squeue --me`, end them (scancel) and run again.",
        )
        time.sleep(min(POLL, patience))


def jobs(runs: Sequence[str]) -> list[Job]:
    """The jobs of these names, any user's, that have not ended."""
    command = ["squeue", "--noheader", f"--name={','.join(runs)}", "--format=%i|%U|%u"]
    command.append("--states=PENDING,RUNNING,SUSPENDED,COMPLETING,CONFIGURING,REQUEUED")
    try:
        done = subprocess.run(command, text=True, check=False, capture_output=True, timeout=ANSWER)
        said = None if done.returncode == 0 else repr(done.stderr.strip())
    except subprocess.TimeoutExpired:
        said = f"nothing for {ANSWER:.0f} s"
    require(
        said is None,
        f"Slurm does not say which jobs run: squeue says {said}. Run again when it answers.",
    )
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    return [Job(number, user, int(uid) == os.getuid()) for number, uid, user in rows]


def delete_finished_checkpoints(runs: str | Path, markers: str | Path) -> None:
    """Delete the checkpoints of finished trainings, so that a forced one starts anew.

    Args:
        runs: Folder of the stages' run folders.
        markers: Folder where Snakemake notes jobs that have begun and not ended. While there is
            any, nothing is deleted: it may be a training whose job was killed at its end.
    """
    if any(path.is_file() for path in Path(markers).rglob("*")):
        return
    for mark in sorted(Path(runs).glob(f"*/*/{FINISHED}")):
        shutil.rmtree(mark.parent)
