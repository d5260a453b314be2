"""Clean copies of the project to run Snakemake in, and the rules as Snakemake reads them."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from helpers.dry_runs import dry_run

ROOT = Path(__file__).parents[2]
GOLDEN = "config/golden.yaml"
# These tables contain seconds, which differ between runs.
TIMED = ("inference.tsv", "inference_dae.tsv", "table5.tsv", "resources.tsv")
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
        self, *arguments: str, config: str = GOLDEN, check=True,
        within: tuple[str, ...] = (), **environment: str,
    ):  # fmt: skip
        """Run Snakemake on two cores, ``within`` another command if given.

        Returns the finished process (stdout and stderr merged).
        """
        options = ["--cores", "2", "--rerun-triggers", "input", "mtime", "params", "software-env"]
        options += ["--max-checksum-file-size", "100000000"]  # as in the profiles
        options += ["--configfile", *dict.fromkeys((GOLDEN, config))]
        variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""} | environment
        if "-n" in arguments and not within and not environment:
            done = dry_run([*arguments, *options], self.path, variables)
        else:
            done = subprocess.run(
                [*within, sys.executable, "-m", "snakemake", *arguments, *options],
                cwd=self.path, env=variables, text=True, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(done.args)} failed:\n{done.stdout[-6000:]}")
        return done

    def planned(self, *arguments: str, config: str = GOLDEN) -> set[str]:
        """Rules that a dry run would run, less the targets that have no job of their own."""
        return set(self.jobs(*arguments, config=config))

    def jobs(self, *arguments: str, config: str = GOLDEN) -> dict[str, int]:
        """Number of jobs by rule of a dry run, less the targets."""
        output = self.snakemake(*arguments, "-n", "-q", "rules", config=config).stdout
        rows = [line.split() for line in output.splitlines()]
        counts = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
        return {rule: count for rule, count in counts.items() if rule not in TARGETS}

    def overlay(self, name: str, changes: dict) -> str:
        """Write the small configuration with changes on top; returns the file to give as config."""
        content = yaml.safe_load((self.path / GOLDEN).read_text())
        (self.path / name).write_text(yaml.safe_dump(merged(content, changes)))
        return name

    def read(self, path: str) -> bytes:
        return (self.path / path).read_bytes()


def copy_files(target: Path, root: Path = ROOT) -> Path:
    """Copy tracked and unignored files to ``target``; environments are linked, not copied."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, text=True, check=True, stdout=subprocess.PIPE,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        source = root / name
        if source.exists() or source.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name, follow_symlinks=False)
    (target / ".venv").symlink_to(root / ".venv")
    return target


def copy_project(target: Path) -> Project:
    """A copy of the project in which nothing has run."""
    return Project(copy_files(target))


def load_workflow(*configfiles: str) -> Any:
    """Snakemake's object ``workflow`` of the project with configurations on top; nothing runs."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

    with SnakemakeApi(OutputSettings(verbose=False)) as api:
        loaded = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(configfiles=[ROOT / file for file in configfiles]),
            snakefile=ROOT / "Snakefile",
            workdir=ROOT,
        )
        return loaded._workflow
