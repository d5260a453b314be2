"""A project whose jobs a real Slurm runs, and trainings as its jobs."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import yaml

from helpers.project import GOLDEN, Project
from helpers.training import LDM, settings

PROFILE = Path(__file__).parents[2] / "profiles/slurm/config.yaml"
# Faster than the profile's, for a machine without other users.
QUICK = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10")


class SlurmProject(Project):
    """A copy of the project whose jobs Slurm runs."""

    config = "config/golden.yaml"

    def command(self, *arguments: str) -> list[str]:
        """Snakemake's command line, with the project's own profile."""
        configs = ("--configfile", *dict.fromkeys((GOLDEN, self.config)))
        profile = ("--profile", "slurm", *QUICK)
        return [sys.executable, "-m", "snakemake", *arguments, *profile, *configs]

    def environment(self) -> dict[str, str]:
        """Environment of a user's call: one thread a process, outside any Slurm job."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run Snakemake to its end (stdout and stderr merged)."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.path, env=self.environment(), text=True,
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(done.args)} failed:\n{done.stdout[-6000:]}")
        return done

    def jobs(self, *states: str) -> dict[str, str]:
        """State by number of every Slurm job submitted from here, or of those in ``states``."""
        chosen = ",".join(states) or "all"
        rows = squeue(f"--states={chosen}", "--format=%i|%T|%Z")
        fields = [row.split("|", 2) for row in rows]
        here = str(self.path.resolve())
        return {number: state for number, state, where in fields if where == here}


def squeue(*arguments: str) -> list[str]:
    """Lines of squeue, with jobs that ended within the last hour."""
    command = ["squeue", "--noheader", *arguments]
    return subprocess.run(command, text=True, check=True, capture_output=True).stdout.splitlines()


class Toy(SlurmProject):
    """Small project: rules of a test with names of the project's, run by the project's profile."""

    def __init__(self, path: Path, snakefile: str):
        super().__init__(path)
        (path / "Snakefile").write_text(snakefile)
        (path / "slurm").mkdir()
        profile = yaml.safe_load(PROFILE.read_text())
        del profile["set-resources"]  # minutes and partitions of real trainings
        (path / "slurm/config.yaml").write_text(yaml.safe_dump(profile))

    def command(self, *arguments: str) -> list[str]:
        command = super().command(*arguments)
        return command[: command.index("--configfile")]


def submitted(output: str) -> list[str]:
    """Numbers of the Slurm jobs that a run has submitted."""
    return re.findall(r"submitted with SLURM jobid (\d+)", output)


def until(met, seconds: float = 180):
    """Wait until ``met()`` is true; returns its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := met():
            return found
        time.sleep(0.2)
    raise AssertionError("waited in vain")


def training(path: Path, chain: Path, epochs: int, processes: int, late=0, **resources) -> Toy:
    """A project whose rule trains in processes, with settings of the same outside Slurm (whole).

    The first attempt begins ``late`` seconds late.
    """
    cfg = LDM | {"epochs": epochs, "processes": processes}
    for name in ("cut", "whole"):
        run_dir, out_dir = path / f"run_{name}", str(path / name)
        job_settings = settings("ldm", cfg, run_dir, chain, out_dir=out_dir, keep_checkpoints=True)
        job_settings.write(path / f"{name}.json")
    asked = "".join(f", {key}={value!r}" for key, value in resources.items())
    (path / "train.py").write_text(
        "import time\nfrom ldae.training.settings import Settings\n"
        "from ldae.training.stages import run\n"
        "time.sleep(snakemake.params.get('late', 0) if snakemake.resources.attempt == 1 else 0)\n"
        "run(Settings.read('cut.json'), log_file=snakemake.log[0])\n"
    )
    return Toy(
        path,
        "rule ldm:\n    output: 'cut/model.json'\n    log: 'ldm.log'\n"
        f"    threads: {processes}\n    params: late={late}\n"
        "    resources: attempt=lambda wildcards, attempt: attempt, mem_mb=3000"
        f"{asked}\n    script: 'train.py'\n",
    )


def train_outside(toy: Toy) -> bytes:
    """Weights of the same training without interruption."""
    command = [sys.executable, "-m", "ldae.training", "whole.json"]
    done = subprocess.run(command, cwd=toy.path, env=toy.environment(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return toy.read("whole/model.safetensors")


def resumed(toy: Toy) -> list[int]:
    """Steps from which the attempts of the training have resumed."""
    log = (toy.path / "ldm.log").read_text()
    return [int(step) for step in re.findall(r"continues from step (\d+) of", log)]
