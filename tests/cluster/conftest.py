"""Fixtures: a real one-node Slurm, and copies of the project that `--profile slurm` runs on it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.project import GOLDEN, Project, copy_project

HERE = Path(__file__).parent
NO_SLURM = 77  # exit code of one_node_slurm.sh if Slurm is not available
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


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[None]:
    """A running Slurm: started here, or the existing one if LDAE_SLURM is set."""
    if os.environ.get("LDAE_SLURM"):
        squeue()
        yield
        return
    folder = tmp_path_factory.mktemp("slurm")
    script = str(HERE / "one_node_slurm.sh")
    done = subprocess.run([script, "start", folder], text=True, check=False, capture_output=True)
    if done.returncode == NO_SLURM:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    yield
    subprocess.run([script, "stop", folder], check=True)


@pytest.fixture
def project(slurm, tmp_path: Path) -> SlurmProject:
    """A fresh copy in which nothing has run."""
    return SlurmProject(copy_project(tmp_path).path)


@pytest.fixture(scope="session")
def local(tmp_path_factory) -> Project:
    """A copy with a finished small run without Slurm; LDAE_LOCAL names an existing one."""
    if os.environ.get("LDAE_LOCAL"):
        return Project(Path(os.environ["LDAE_LOCAL"]))
    project = copy_project(tmp_path_factory.mktemp("local"))
    project.snakemake()
    return project
