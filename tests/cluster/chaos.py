"""What a cluster does to jobs, done on purpose to a run of the workflow, in an order by a seed."""

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

from conftest import SlurmProject

# What is disturbed, in the order of the run, and the files that show that a job is in its middle.
STAGES = {
    "scans": "results/preproc/sub-*/*/anat/.*.json",
    "autoencoder": "results/runs/autoencoder/*/checkpoint-*.pt",
    "ldm": "results/runs/ldm/*/checkpoint-*.pt",
    "ldae": "results/runs/ldae/*/checkpoint-*.pt",
}
SHARES = ("scans",) * 3 + ("autoencoder",) * 3 + ("ldm",) * 2 + ("ldae",) * 2
WORK = re.compile(r"-m ldae\.training |/\.snakemake/scripts/")  # command lines of what computes
RUNS_AGAIN = 3  # times that a failed run may need its command once more
SIZE = "2g"  # of the disk of results
CLEARED = 20.0  # seconds after which nothing of a requeued job is left on its node
POLL = 0.3


@dataclass(frozen=True)
class Job:
    """A running Slurm job; ``began`` in seconds since the epoch."""

    number: str
    stage: str
    began: float

    def runs(self) -> bool:
        """Whether it still does, and was not requeued."""
        return [self.number, f"{self.began:.0f}"] in queued("RUNNING", "%i", "%S")

    def working(self) -> list[int]:
        """Processes that compute: the rule's script, and those of a training."""
        listed = said("scontrol", "listpids", self.number, check=False).splitlines()[1:]
        pids = [int(row.split()[0]) for row in listed]
        return [pid for pid in pids if WORK.search(command_line(pid))]


@dataclass(frozen=True)
class Disturbance:
    """What is to happen, not before ``stage``, ``pause`` seconds into it.

    ``amid``: when its job has something to lose; else when it has just begun.
    """

    kind: str
    stage: str
    amid: bool
    pause: float


@dataclass
class Run:
    """The workflow on Slurm, its results on a disk of their own that can be full."""

    project: SlurmProject
    targets: tuple[str, ...]
    random: random.Random
    again: int = 0
    diary: list[str] = field(default_factory=list)
    struck: list[Disturbance] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begun = time.monotonic()
        self.output = self.project.path / "snakemake.log"
        self.start()

    def start(self) -> None:
        """Start Snakemake, by the very command each time."""
        with self.output.open("a") as output:
            self.snakemake = subprocess.Popen(
                self.project.command(*self.targets), cwd=self.project.path,
                env=self.project.environment(), stdout=output, stderr=output,
            )  # fmt: skip

    def goes_on(self) -> bool:
        """Whether there is more to come; a run that gave up is started again, some times."""
        if code := self.snakemake.poll():
            self.again += 1
            self.note(f"the run ended with {code}: once more")
            assert self.again <= RUNS_AGAIN, self.output.read_text()[-6000:]
            self.start()
        return code != 0

    def note(self, what: str) -> None:
        """Write down what happened when."""
        self.diary.append(f"{time.monotonic() - self.begun:6.0f} s  {what}")
        with (self.project.path / "chaos.log").open("a") as diary:
            diary.write(self.diary[-1] + "\n")

    def jobs(self) -> list[Job]:
        """The running jobs of the stages that are disturbed."""
        here, found = str(self.project.path.resolve()), []
        for number, began, comment, where in queued("RUNNING", "%i", "%S", "%k", "%Z"):
            stages = [stage for stage in STAGES if re.match(f"rule_{stage}(_|$)", comment)]
            # One rule is called as the group, whose comment goes on with its rules.
            if where == here and stages and comment != "rule_scans":
                found.append(Job(number, stages[0], float(began)))
        return found

    def hurry(self) -> None:
        """Let requeued jobs begin sooner than after Slurm's two minutes, but when all has ended."""
        here = str(self.project.path.resolve())
        for number, why, requeued, where in queued("PENDING", "%i", "%r", "%V", "%Z"):
            if where == here and why == "BeginTime" and time.time() - float(requeued) > CLEARED:
                said("scontrol", "update", f"JobId={number}", "StartTime=now", check=False)

    def target(self, planned: Disturbance) -> Job | None:
        """A job that is where the disturbance is to strike, if there is one."""
        late = list(STAGES)[list(STAGES).index(planned.stage) :]
        jobs = [job for job in self.jobs() if job.stage in late and job.working()]
        if planned.amid:
            jobs = [job for job in jobs if self.has_to_lose(job)]
        return self.random.choice(jobs) if jobs else None

    def has_to_lose(self, job: Job) -> bool:
        """Whether a job has finished a scan or saved a checkpoint."""
        files = self.project.path.glob(STAGES[job.stage])
        return any(modified(file) > job.began for file in files)

    def strike(self, planned: Disturbance, job: Job) -> bool:
        """Do it, unless the job has just ended."""
        time.sleep(planned.pause)
        if not job.runs():
            return False
        self.note(f"{planned} strikes {job}")
        self.note(f"  {KINDS[planned.kind](self, job)}")
        return True


def kill(run: Run, job: Job) -> str:
    """Kill -9 of a process that computes: the kernel is out of memory, somebody is careless."""
    if not (pids := job.working()):
        return "no process any more"
    what = command_line(pid := run.random.choice(pids)).split()
    os.kill(pid, signal.SIGKILL)
    return f"killed one of {len(pids)}: {' '.join(what[:4])}"


def cancel(run: Run, job: Job) -> str:
    """Somebody cancels the job."""
    return said("scancel", job.number) or "cancelled"


def requeue(run: Run, job: Job) -> str:
    """As preemption does it."""
    return said("scontrol", "requeue", job.number) or "requeued"


def time_limit(run: Run, job: Job) -> str:
    """The job hangs, as on a slow disk, and its time is up without that it knew of it."""
    for pid in job.working():
        os.kill(pid, signal.SIGSTOP)
    minutes = math.ceil((time.time() - job.began) / 60)
    said("scontrol", "update", f"JobId={job.number}", f"TimeLimit={minutes}", check=False)
    waited = wait_until(lambda: not job.runs(), 180)
    return f"limited to {minutes} min, ended after {waited:.0f} s"


def kill_snakemake(run: Run, job: Job) -> str:
    """The login node reboots; the user goes on as docs/cluster.md says."""
    run.snakemake.kill()
    run.snakemake.wait()
    time.sleep(run.random.uniform(0, 10))
    run.project.snakemake("--unlock")
    run.start()
    waited = wait_until(lambda: not job.runs(), 120)
    return f"unlocked and started anew; the job had ended after {waited:.0f} s"


def fill_disk(run: Run, job: Job) -> str:
    """Nothing can be written until the job has failed; then there is room again."""
    folder = run.project.path / "results"
    resize(folder, str(shutil.disk_usage(folder).used))
    waited = wait_until(lambda: not job.runs(), 60)
    resize(folder, SIZE)
    return f"full for {waited:.0f} s, the job {'still runs' if job.runs() else 'has ended'}"


def node_down(run: Run, job: Job) -> str:
    """Slurm gives the node up, with all its jobs, and has it back a little later."""
    update = ("scontrol", "update", f"NodeName={node_name()}")
    said(*update, "State=down", "Reason=chaos")
    time.sleep(run.random.uniform(1, 8))
    said(*update, "State=resume", check=False)  # it may have come back by itself
    return "and up again"


def restart_slurmd(run: Run, job: Job) -> str:
    """Slurm's daemon on the node dies and is started again; jobs should not notice."""
    pid = Path(re.search(r"SlurmdPidFile\s*= (\S+)", said("scontrol", "show", "config"))[1])
    os.kill(int(pid.read_text()), signal.SIGKILL)
    time.sleep(run.random.uniform(1, 8))
    subprocess.run(["slurmd", "-N", node_name()], check=True)
    return "killed and started"


DONE = (kill, cancel, requeue, time_limit, kill_snakemake, fill_disk, node_down, restart_slurmd)
KINDS: dict[str, Callable[[Run, Job], str]] = {each.__name__: each for each in DONE}


def plan(rng: random.Random) -> list[Disturbance]:
    """Every kind once, two of them twice, in any order."""
    kinds = [*KINDS, "kill", "kill_snakemake"]
    rng.shuffle(kinds)
    return [
        Disturbance(kind, stage, rng.random() < 0.7, rng.uniform(0, 2))
        for kind, stage in zip(kinds, SHARES, strict=True)
    ]


def disturb(project: SlurmProject, targets: tuple[str, ...], seed: int) -> Run:
    """Run the workflow to its end and disturb it meanwhile; returns what happened."""
    rng = random.Random(seed)
    planned = plan(rng)
    run = Run(project, targets, rng)
    try:
        while run.goes_on():
            run.hurry()
            job = run.target(planned[0]) if planned else None
            if job and run.strike(planned[0], job):
                run.struck.append(planned.pop(0))
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
    """Let a disk have another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


def said(*command: str, check: bool = True) -> str:
    """What a command prints."""
    return subprocess.run(command, text=True, check=check, capture_output=True).stdout


def queued(state: str, *fields: str) -> list[list[str]]:
    """Fields of squeue of all jobs in a state; times in seconds since the epoch."""
    command = ["squeue", "--noheader", f"--states={state}", f"--format={'|'.join(fields)}"]
    seconds = os.environ | {"SLURM_TIME_FORMAT": "%s"}
    done = subprocess.run(command, text=True, check=True, capture_output=True, env=seconds)
    return [row.split("|", len(fields) - 1) for row in done.stdout.splitlines()]


def node_name() -> str:
    """The one node there is."""
    return said("sinfo", "--noheader", "--format=%n").split()[0]


def command_line(pid: int) -> str:
    """Of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def modified(path: Path) -> float:
    """When a file was written, seconds since the epoch; long ago if it is gone meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def wait_until(met: Callable[[], bool], patience: float) -> float:
    """Wait, at most ``patience`` seconds; returns how long it was."""
    began = time.monotonic()
    while not met() and time.monotonic() - began < patience:
        time.sleep(POLL)
    return time.monotonic() - began
