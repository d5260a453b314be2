"""Fixtures: a real one-node Slurm, and copies of the project that `--profile slurm` runs on it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.project import Project, copy_project
from helpers.slurm import SlurmProject, squeue

HERE = Path(__file__).parent
NO_SLURM = 77  # exit code of one_node_slurm.sh if Slurm is not available


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


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> Path:
    """The small stores and models that a training of stage 2 needs."""
    from helpers import training_process

    root = tmp_path_factory.mktemp("chain")
    training_process.make(root)
    return root
