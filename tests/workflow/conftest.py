"""A clean copy of the project, and one small run of everything in it, shared by the tests here."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class Project:
    """A copy of the project's tracked files in which Snakemake can run."""

    path: Path

    def snakemake(self, *arguments: str, config: str = "tests/workflow/small.yaml", check=True):
        """Run Snakemake on two cores; returns the finished process (stdout and stderr merged)."""
        command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
        command += ["--rerun-triggers", "input", "mtime", "params", "software-env"]
        command += ["--max-checksum-file-size", "100000000"]  # as in the profiles
        command += ["--configfile", "config/demo.yaml", config]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        done = subprocess.run(
            command, cwd=self.path, env=environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout[-6000:]}")
        return done

    def planned(self, *arguments: str, config: str = "tests/workflow/small.yaml") -> set[str]:
        """Rules that a dry run would run, less the targets that have no job of their own."""
        output = self.snakemake(*arguments, "-n", "-q", "rules", config=config).stdout
        rows = [line.split() for line in output.splitlines()]
        rules = {row[0] for row in rows if len(row) == 2 and row[1].isdigit()}
        return rules - {"total", "all", "cohort", "preprocess", "evaluate", "figures", "resources"}

    def read(self, path: str) -> bytes:
        return (self.path / path).read_bytes()


def copy_project(target: Path) -> Project:
    """Copy what git tracks (and would track); environments are linked, not copied."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, text=True, check=True, stdout=subprocess.PIPE,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        source = ROOT / name
        if source.exists() or source.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name, follow_symlinks=False)
    (target / ".venv").symlink_to(ROOT / ".venv")
    return Project(target)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy in which nothing has run."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A copy in which the whole workflow has run once on a small synthetic download."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    project.snakemake()
    return project
