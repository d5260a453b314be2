"""What an earlier Snakemake of this folder has left: Slurm jobs, checkpoints.

Its jobs run on when it is killed. A new Snakemake does not know them and would start the same work
beside them. Checkpoints of a finished training stay until Snakemake knows that it is finished: a
job may be killed after the training's last line, and its model is then deleted as half-made.
"""

import getpass
import logging
import os
import shutil
import subprocess
import time
from pathlib import Path

from ldae.errors import require

FINISHED = "finished"  # file in the folder of a training's checkpoints
PREFIX = "ldae_"  # profiles/slurm: slurm-jobname-prefix; the executor adds the underscore
PATIENCE = 180.0  # seconds; Slurm kills what does not end in KillWait, 30 s by default
POLL = 1.0

log = logging.getLogger(__name__)


def end_left_jobs(folder: str | Path, patience: float = PATIENCE) -> list[str]:
    """Cancel this project's Slurm jobs that were submitted from ``folder``, and await their end.

    To be called before jobs are submitted, by the one Snakemake that has locked the folder.
    Trainings save when they are cancelled; finished scans of a shard stay finished.

    Args:
        folder: Snakemake's working directory.
        patience: Seconds to wait for their end.

    Returns:
        Their numbers; none where there is no Slurm.

    Raises:
        UserError: Slurm does not answer, or a job does not end.
    """
    if not (shutil.which("squeue") and shutil.which("scancel")):
        return []
    left = jobs(folder)
    if left:
        log.warning(
            "An earlier run has left %d Slurm jobs, which are cancelled: %s",
            len(left),
            " ".join(left),
        )
        subprocess.run(["scancel", *left], check=False)
    deadline = time.monotonic() + patience
    while remaining := left and jobs(folder):
        require(
            time.monotonic() < deadline,
            f"The Slurm jobs {' '.join(remaining)} of an earlier run in {folder} do not end. See "
            "`squeue --me`, end them (scancel) and run again.",
        )
        time.sleep(min(POLL, patience))
    return left


def jobs(folder: str | Path) -> list[str]:
    """Numbers of the user's jobs of this project, from ``folder``, that have not ended."""
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%j|%Z"]
    command.append("--states=PENDING,RUNNING,SUSPENDED,COMPLETING,CONFIGURING,REQUEUED")
    done = subprocess.run(command, text=True, check=False, capture_output=True)
    require(
        done.returncode == 0,
        f"Slurm does not say which jobs run: squeue says {done.stderr.strip()!r}. Run again when "
        "it answers.",
    )
    here = os.path.realpath(folder)
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    return [
        number
        for number, name, where in rows
        if name.startswith(PREFIX) and os.path.realpath(where) == here
    ]


def forget_finished(runs: str | Path, markers: str | Path) -> None:
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
