"""Fake cohort: a finished run of any size in seconds, with real rules and real Snakemake.

    python tests/helpers/cohorts.py FOLDER [--scans 10340] [--shards 64]

FOLDER becomes a copy of the project with a download of that many image folders, and with empty
weights and templates. An executor that computes nothing (:mod:`snakemake_executor_plugin_fake`)
then creates the declared outputs of all rules, and Snakemake writes its records of them. The number
of jobs and the cost of dry runs before and after are printed.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ldae.resources.table import load_resources, needed

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.project import ROOT, copy_files

EXECUTOR = ROOT / "tests/scale"  # the folder of the executor's package

SCANS, SUBJECTS_OF_SCANS = 10_340, 4.4  # ADNI: about 2,350 subjects
STATS = re.compile(r"^(\w+) +(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Cost:
    """Cost of a command: seconds, CPU seconds, peak memory of one process in bytes, and its output.

    Seconds are wall time minus the time that the process waited for a CPU. They therefore do not
    depend on what else this machine runs.
    """

    seconds: float
    cpu: float
    memory: int
    output: str

    def jobs(self) -> dict[str, int]:
        """Jobs that a dry run plans, by rule; ``total`` is their sum."""
        return {rule: int(number) for rule, number in STATS.findall(self.output)}


@dataclass(frozen=True)
class FakeCohort:
    """A copy of the project with a fake download.

    Attributes:
        path: The copy.
        scans: Image folders in the download.
        shards: Value of ``preprocess.shards`` and ``cohort.batches``; None: the configured ones.
    """

    path: Path
    scans: int = SCANS
    shards: int | None = None

    def create_inputs(self) -> None:
        """Create the download and the empty weights."""
        subjects = round(self.scans / SUBJECTS_OF_SCANS)
        for scan in range(self.scans):
            self.add_image(f"{scan % subjects % 100:03d}_S_{scan % subjects:05d}", scan)
        tables = self.path / "raw/tables"
        tables.mkdir(parents=True)
        (tables / "ADNIMERGE.csv").write_text("RID,PTID\n")
        config = yaml.safe_load((self.path / "config/config.yaml").read_text())
        resources = load_resources(self.path / "config/resources.tsv")
        for name in needed(config, resources):
            file = self.path / config["paths"]["resources"] / resources.loc[name, "path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    def add_image(self, subject: str, number: int) -> None:
        """Add one image to the download, in folders named like ADNI's."""
        image = f"I{100_000 + number}"
        folder = self.path / "raw/images" / subject / "MPRAGE" / f"date-{number:06d}" / image
        folder.mkdir(parents=True)
        (folder / f"ADNI_{subject}_MR_MPRAGE_S{number}_{image}.dcm").touch()

    def run(self, *arguments: str, packages: str = "") -> Cost:
        """Run Snakemake with the Slurm profile.

        Args:
            arguments: Arguments of Snakemake.
            packages: Folders of more Python packages (``PYTHONPATH``).

        Raises:
            AssertionError: the command failed.
        """
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *arguments]
        if self.shards:
            sizes = {"preprocess": {"shards": self.shards}, "cohort": {"batches": self.shards}}
            (self.path / "sizes.yaml").write_text(yaml.safe_dump(sizes))
            command += ["--configfile", "sizes.yaml"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": packages}
        return run_and_measure(command, self.path, environment)

    def finish(self, *arguments: str) -> list[int]:
        """Run all jobs without computing; return the number of jobs in each submission."""
        log = self.path / "submitted.tsv"
        log.unlink(missing_ok=True)
        packages = os.pathsep.join([str(EXECUTOR), str(self.path / "src")])
        fake = ("--executor", "fake", "--latency-wait", "0")
        self.run(*fake, *arguments, packages=packages)
        lines = log.read_text().splitlines() if log.exists() else []
        return [int(line.split("\t")[0]) for line in lines]


def run_and_measure(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Run a command and measure the cost of its process; raise ``AssertionError`` if it fails."""
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        output = child.stdout.read()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # schedstat can still be read
        seconds = time.monotonic() - began
        waited = int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[1]) / 1e9
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise AssertionError(f"{' '.join(command)} failed:\n{output[-6000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(seconds - waited, cpu, usage.ru_maxrss * 1024, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scans", type=int, default=SCANS)
    parser.add_argument("--shards", type=int)
    arguments = parser.parse_args()
    folder = copy_files(arguments.folder)
    cohort = FakeCohort(folder, arguments.scans, arguments.shards)
    cohort.create_inputs()
    plan = cohort.run("-n", "-q", "rules")
    report("dry run", plan)
    began = time.monotonic()
    submissions = cohort.finish()
    print(f"{len(submissions)} submissions of {sum(submissions)} jobs", end=", ")
    print(f"all made in {time.monotonic() - began:.1f} s")
    report("no-op", cohort.run("-n", "-q", "rules"))
    records = list((folder / ".snakemake/metadata").rglob("*"))
    outputs = sum(file.is_file() for file in (folder / "results").rglob("*"))
    print(f"{len(records)} records of Snakemake, {outputs} files in results")


def report(name: str, cost: Cost) -> None:
    jobs = cost.jobs().get("total", 0)
    took = f"{cost.seconds:.1f} s, CPU {cost.cpu:.1f} s, {cost.memory / 1e6:.0f} MB"
    print(f"{name}: {took}, {jobs} jobs", flush=True)


if __name__ == "__main__":
    main()
