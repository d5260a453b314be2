"""A clean copy of the project, and one small run of everything in it, shared by the tests here."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from copying import copy_files  # noqa: E402

SMALL = "config/golden.yaml"
TARGETS = {"total", "all", "cohort", "preprocess", "evaluate", "figures", "resources"}


def merged(content: dict, changes: dict) -> dict:
    """A configuration with the keys of another one on top."""
    both = dict(content)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(content.get(key), dict)
        both[key] = merged(content[key], value) if nested else value
    return both


@dataclass
class Project:
    """A copy of the project's tracked files in which Snakemake can run."""

    path: Path

    def snakemake(
        self, *arguments: str, config: str = SMALL, check=True,
        within: tuple[str, ...] = (), **environment: str,
    ):  # fmt: skip
        """Run Snakemake on two cores, ``within`` another command if given.

        Returns the finished process (stdout and stderr merged).
        """
        command = [*within, sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
        command += ["--rerun-triggers", "input", "mtime", "params", "software-env"]
        command += ["--max-checksum-file-size", "100000000"]  # as in the profiles
        command += ["--configfile", "config/demo.yaml", config]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""} | environment
        done = subprocess.run(
            command, cwd=self.path, env=environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout[-6000:]}")
        return done

    def planned(self, *arguments: str, config: str = SMALL) -> set[str]:
        """Rules that a dry run would run, less the targets that have no job of their own."""
        return set(self.jobs(*arguments, config=config))

    def jobs(self, *arguments: str, config: str = SMALL) -> dict[str, int]:
        """Number of jobs by rule of a dry run, less the targets."""
        output = self.snakemake(*arguments, "-n", "-q", "rules", config=config).stdout
        rows = [line.split() for line in output.splitlines()]
        counts = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
        return {rule: count for rule, count in counts.items() if rule not in TARGETS}

    def overlay(self, name: str, changes: dict) -> str:
        """Write the small configuration with changes on top; returns the file to give as config."""
        content = yaml.safe_load((self.path / SMALL).read_text())
        (self.path / name).write_text(yaml.safe_dump(merged(content, changes)))
        return name

    def read(self, path: str) -> bytes:
        return (self.path / path).read_bytes()


def copy_project(target: Path) -> Project:
    """Copy what git tracks (and would track); environments are linked, not copied."""
    return Project(copy_files(target))


class OneFinishedRun(LoadScopeScheduling):
    """Each file of tests goes to one worker, and all that use the finished run to the same."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        uses = re.search(r"def \w+\([^)]*\bfinished\b", (ROOT / file).read_text())
        return "finished" if uses else file


def pytest_xdist_make_scheduler(config: pytest.Config, log) -> OneFinishedRun:
    """Of ``--numprocesses``."""
    return OneFinishedRun(config, log)


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
