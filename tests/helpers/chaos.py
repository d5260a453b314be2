"""Disturbances of Slurm jobs (kills, requeues, a full disk) in a run, in seeded order."""

import math
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from helpers.slurm import SlurmProject

# Disturbed stages in the order of the run, and files that show the progress of a job.
STAGES = {
    "scans": "results/preproc/sub-*/*/anat/.*.json",
    "autoencoder": "results/runs/autoencoder/*/checkpoint-*.pt",
    "ldm": "results/runs/ldm/*/checkpoint-*.pt",
    "ldae": "results/runs/ldae/*/checkpoint-*.pt",
}
PLANNED_STAGES = ("scans",) * 3 + ("autoencoder",) * 3 + ("ldm",) * 2 + ("ldae",) * 2
WORKERS = re.compile(r"-m ldae\.training |/\.snakemake/scripts/")  # in command lines
MAX_RESTARTS = 3  # of a failed run
SIZE = "2g"  # of the results disk
GRACE = 20.0  # seconds until a requeued job has left its node
POLL = 0.3


@dataclass(frozen=True)
class Job:
    """A running Slurm job; ``began`` in seconds since the epoch."""

    number: str
    stage: str
    began: float

    def runs(self) -> bool:
        """Whether the job still runs and was not requeued."""
        return [self.number, f"{self.began:.0f}"] in queued("RUNNING", "%i", "%S")

    def working(self) -> list[int]:
        """IDs of processes that compute: the rule's script, and those of a training."""
        listed = output_of("scontrol", "listpids", self.number, check=False).splitlines()[1:]
        pids = [int(row.split()[0]) for row in listed]
        return [pid for pid in pids if WORKERS.search(command_line(pid))]


@dataclass(frozen=True)
class Disturbance:
    """A planned disturbance: not before ``stage``, ``pause`` seconds after a job is chosen.

    ``after_progress``: only of a job that has finished a scan or saved a checkpoint.
    """

    kind: str
    stage: str
    after_progress: bool
    pause: float


@dataclass
class Run:
    """The workflow on Slurm, with its results on a disk of limited size."""

    project: SlurmProject
    targets: tuple[str, ...]
    random: random.Random
    restarts: int = 0
    diary: list[str] = field(default_factory=list)
    applied: list[Disturbance] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begun = time.monotonic()
        self.output = self.project.path / "snakemake.log"
        self.start()

    def start(self) -> None:
        """Start Snakemake with the same command each time."""
        with self.output.open("a") as output:
            self.snakemake = subprocess.Popen(
                self.project.command(*self.targets), cwd=self.project.path,
                env=self.project.environment(), stdout=output, stderr=output,
            )  # fmt: skip

    def continues(self) -> bool:
        """Whether the run has not ended; a failed run is restarted, up to MAX_RESTARTS times."""
        if code := self.snakemake.poll():
            self.restarts += 1
            self.note(f"the run ended with {code}: once more")
            assert self.restarts <= MAX_RESTARTS, self.output.read_text()[-6000:]
            self.start()
        return code != 0

    def note(self, what: str) -> None:
        """Append an event with its time to the diary."""
        self.diary.append(f"{time.monotonic() - self.begun:6.0f} s  {what}")
        with (self.project.path / "chaos.log").open("a") as diary:
            diary.write(self.diary[-1] + "\n")

    def jobs(self) -> list[Job]:
        """Running jobs of the disturbed stages."""
        here, found = str(self.project.path.resolve()), []
        for number, began, comment, where in queued("RUNNING", "%i", "%S", "%k", "%Z"):
            stages = [stage for stage in STAGES if re.match(f"rule_{stage}(_|$)", comment)]
            # The rule scans has the name of the group, whose comment also lists its rules.
            if where == here and stages and comment != "rule_scans":
                found.append(Job(number, stages[0], float(began)))
        return found

    def start_requeued(self) -> None:
        """Start requeued jobs earlier than after Slurm's two minutes, once they have ended."""
        here = str(self.project.path.resolve())
        for number, why, requeued, where in queued("PENDING", "%i", "%r", "%V", "%Z"):
            if where == here and why == "BeginTime" and time.time() - float(requeued) > GRACE:
                output_of("scontrol", "update", f"JobId={number}", "StartTime=now", check=False)

    def target(self, planned: Disturbance) -> Job | None:
        """A random job that the disturbance may be applied to, if there is one."""
        late = list(STAGES)[list(STAGES).index(planned.stage) :]
        jobs = [job for job in self.jobs() if job.stage in late and job.working()]
        if planned.after_progress:
            jobs = [job for job in jobs if self.has_progress(job)]
        return self.random.choice(jobs) if jobs else None

    def has_progress(self, job: Job) -> bool:
        """Whether a job has finished a scan or saved a checkpoint."""
        files = self.project.path.glob(STAGES[job.stage])
        return any(modified(file) > job.began for file in files)

    def apply(self, planned: Disturbance, job: Job) -> bool:
        """Apply the disturbance, unless the job has just ended."""
        time.sleep(planned.pause)
        if not job.runs():
            return False
        self.note(f"{planned} strikes {job}")
        self.note(f"  {KINDS[planned.kind](self, job)}")
        return True


def kill(run: Run, job: Job) -> str:
    """Kill -9 of a process that computes, as by the kernel when memory is exhausted."""
    if not (pids := job.working()):
        return "no process any more"
    what = command_line(pid := run.random.choice(pids)).split()
    os.kill(pid, signal.SIGKILL)
    return f"killed one of {len(pids)}: {' '.join(what[:4])}"


def cancel(run: Run, job: Job) -> str:
    """Cancel the job."""
    return output_of("scancel", job.number) or "cancelled"


def requeue(run: Run, job: Job) -> str:
    """Requeue the job, as preemption does."""
    return output_of("scontrol", "requeue", job.number) or "requeued"


def time_limit(run: Run, job: Job) -> str:
    """The job hangs, as on a slow disk, until its time limit."""
    for pid in job.working():
        os.kill(pid, signal.SIGSTOP)
    minutes = math.ceil((time.time() - job.began) / 60)
    output_of("scontrol", "update", f"JobId={job.number}", f"TimeLimit={minutes}", check=False)
    waited = wait_until(lambda: not job.runs(), 180)
    return f"limited to {minutes} min, ended after {waited:.0f} s"


def kill_snakemake(run: Run, job: Job) -> str:
    """The login node reboots; Snakemake is restarted as docs/cluster.md says."""
    run.snakemake.kill()
    run.snakemake.wait()
    time.sleep(run.random.uniform(0, 10))
    run.project.snakemake("--unlock")
    run.start()
    waited = wait_until(lambda: not job.runs(), 120)
    return f"unlocked and started anew; the job had ended after {waited:.0f} s"


def fill_disk(run: Run, job: Job) -> str:
    """The disk is full until the job has failed; then it has space again."""
    folder = run.project.path / "results"
    resize(folder, str(shutil.disk_usage(folder).used))
    waited = wait_until(lambda: not job.runs(), 60)
    resize(folder, SIZE)
    return f"full for {waited:.0f} s, the job {'still runs' if job.runs() else 'has ended'}"


def node_down(run: Run, job: Job) -> str:
    """Slurm takes the node down, with all its jobs, and resumes it a little later."""
    update = ("scontrol", "update", f"NodeName={node_name()}")
    output_of(*update, "State=down", "Reason=chaos")
    time.sleep(run.random.uniform(1, 8))
    output_of(*update, "State=resume", check=False)  # it may have come back by itself
    return "and up again"


def restart_slurmd(run: Run, job: Job) -> str:
    """Slurm's daemon on the node is killed and restarted; jobs should not notice."""
    pid = Path(re.search(r"SlurmdPidFile\s*= (\S+)", output_of("scontrol", "show", "config"))[1])
    os.kill(int(pid.read_text()), signal.SIGKILL)
    time.sleep(run.random.uniform(1, 8))
    subprocess.run(["slurmd", "-N", node_name()], check=True)
    return "killed and started"


ACTIONS = (kill, cancel, requeue, time_limit, kill_snakemake, fill_disk, node_down, restart_slurmd)
KINDS: dict[str, Callable[[Run, Job], str]] = {each.__name__: each for each in ACTIONS}


def plan(rng: random.Random) -> list[Disturbance]:
    """Every kind once, two of them twice, in random order."""
    kinds = [*KINDS, "kill", "kill_snakemake"]
    rng.shuffle(kinds)
    return [
        Disturbance(kind, stage, rng.random() < 0.7, rng.uniform(0, 2))
        for kind, stage in zip(kinds, PLANNED_STAGES, strict=True)
    ]


def disturb(project: SlurmProject, targets: tuple[str, ...], seed: int) -> Run:
    """Run the workflow to its end with disturbances; returns the record of the run."""
    rng = random.Random(seed)
    planned = plan(rng)
    run = Run(project, targets, rng)
    try:
        while run.continues():
            run.start_requeued()
            job = run.target(planned[0]) if planned else None
            if job and run.apply(planned[0], job):
                run.applied.append(planned.pop(0))
            time.sleep(POLL)
    finally:
        run.snakemake.kill()
        subprocess.run(["scancel", *project.jobs("RUNNING", "PENDING")], check=False)
        run.note("the end" if not planned else f"the end, before {planned[0]}")
    return run


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A disk at ``folder`` whose size can be changed."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "results", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def resize(folder: Path, size: str) -> None:
    """Change the size of a disk."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


def output_of(*command: str, check: bool = True) -> str:
    """Standard output of a command."""
    return subprocess.run(command, text=True, check=check, capture_output=True).stdout


def queued(state: str, *fields: str) -> list[list[str]]:
    """Fields of squeue of all jobs in a state; times in seconds since the epoch."""
    command = ["squeue", "--noheader", f"--states={state}", f"--format={'|'.join(fields)}"]
    seconds = os.environ | {"SLURM_TIME_FORMAT": "%s"}
    done = subprocess.run(command, text=True, check=True, capture_output=True, env=seconds)
    return [row.split("|", len(fields) - 1) for row in done.stdout.splitlines()]


def node_name() -> str:
    """Name of the only node."""
    return output_of("sinfo", "--noheader", "--format=%n").split()[0]


def command_line(pid: int) -> str:
    """Command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def modified(path: Path) -> float:
    """Time of a file's last change, seconds since the epoch; 0 if it does not exist."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def wait_until(met: Callable[[], bool], patience: float) -> float:
    """Wait, at most ``patience`` seconds; returns the seconds waited."""
    began = time.monotonic()
    while not met() and time.monotonic() - began < patience:
        time.sleep(POLL)
    return time.monotonic() - began
