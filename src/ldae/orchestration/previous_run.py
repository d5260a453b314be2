"""Previous run: cancel the Slurm jobs it left, delete the checkpoints of finished trainings.

Slurm jobs run on when their Snakemake is killed. A new Snakemake does not know them and would start
the same work beside them. Checkpoints of a finished training stay until Snakemake has seen the end
of its job. The job may be killed after the training's last line, and Snakemake then deletes its
model as incomplete.
"""

import logging
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from ldae.errors import require
from ldae.files import atomic, digest
from ldae.locks import acquire_lock
from ldae.training.settings import FINISHED, delete_checkpoints

PATIENCE = 180.0  # seconds; Slurm kills a job that does not end within KillWait, 30 s by default
ENDING = 5.0  # seconds that a Snakemake may take to exit after its last message
ANSWER = 120.0  # seconds that squeue may take
POLL = 1.0
log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A Slurm job that has not ended; ``ours``: it is of the user who runs this process."""

    number: str
    user: str
    ours: bool


def end_previous_run(
    results: str | Path, notes: str | Path, run: str | None, patience: float = PATIENCE
) -> FileLock:
    """Lock a results folder for this Snakemake, and cancel the Slurm jobs of its previous run.

    Snakemake's own lock does not suffice: any Snakemake removes it when it ends, ``check`` too.
    Cancelled trainings save first; finished scans of a shard stay finished.

    Args:
        results: The results folder.
        notes: Folder for the lock, and for the name of the previous run's Slurm jobs.
        run: Name that all Slurm jobs of this run will have; None: it has no Slurm jobs, and Slurm
            is not asked.
        patience: Seconds to wait for the end of cancelled jobs.

    Returns:
        The lock, held until it is released or this process ends.

    Raises:
        UserError: another Snakemake uses these results, Slurm does not answer, or a job of the
            previous run does not end or is another user's.
    """
    name = digest(os.path.realpath(results))
    lock = acquire_lock(Path(notes) / f"{name}.lock", f"the folder {results}", ENDING)
    if run is not None:
        earlier = Path(notes) / f"{name}.run"
        if earlier.is_file():
            cancel_jobs(earlier.read_text().split(), patience)
        with atomic(earlier) as temporary:
            temporary.write_text(f"{run}\n")
    return lock


def cancel_jobs(runs: Sequence[str], patience: float = PATIENCE) -> None:
    """Cancel the Slurm jobs with these names and wait for their end; raises as
    :func:`end_previous_run`."""
    left = unfinished_jobs(runs)
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
    while remaining := unfinished_jobs(runs):
        require(
            time.monotonic() < deadline,
            f"The Slurm jobs {' '.join(job.number for job in remaining)} of an earlier run do not "
            "end. See `squeue --me`, end them (scancel) and run again.",
        )
        time.sleep(min(POLL, patience))


def unfinished_jobs(runs: Sequence[str]) -> list[Job]:
    """Slurm jobs with these names, of any user, that have not ended.

    Raises:
        UserError: squeue fails, or gives no answer within ``ANSWER`` seconds.
    """
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
    """Delete the checkpoints of finished trainings, so that a forced training starts from scratch.

    Args:
        runs: Folder of checkpoints, ``<training>/<run>/``.
        markers: Folder in which Snakemake records jobs that have begun and not ended. While it
            has any, nothing is deleted: it may be a training whose job was killed at its end.
    """
    if any(path.is_file() for path in Path(markers).rglob("*")):
        return
    for mark in sorted(Path(runs).glob(f"*/*/{FINISHED}")):
        delete_checkpoints(mark.parent)
