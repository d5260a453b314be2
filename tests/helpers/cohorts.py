"""A finished run of any size in seconds: fake images, real rules, real Snakemake.

    python tests/helpers/cohorts.py FOLDER [--scans 10340] [--shards 64]

FOLDER becomes a copy of the project. In it are made: a download of so many image folders, empty
weights and templates, and all that a finished run leaves for Snakemake: every declared output of
every rule and Snakemake's own records, by an executor that computes nothing
(:mod:`snakemake_executor_plugin_fake`). Printed are the jobs, and what dry runs before and after it
take.
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
    """What a command took: seconds, CPU seconds, bytes at most (of one process), its output.

    Seconds are wall time less what the process waited for a processor that others had: those of a
    machine with nothing else to do, however busy this one is.
    """

    seconds: float
    cpu: float
    memory: int
    output: str

    def jobs(self) -> dict[str, int]:
        """Jobs a dry run plans, by rule; ``total`` for all."""
        return {rule: int(number) for rule, number in STATS.findall(self.output)}


@dataclass(frozen=True)
class FakeCohort:
    """A copy of the project with a fake download.

    Attributes:
        path: The copy.
        scans: Image folders in the download.
        shards: ``preprocess.shards`` and ``cohort.batches``; None: those of the configuration.
    """

    path: Path
    scans: int = SCANS
    shards: int | None = None

    def lay_down(self) -> None:
        """Make the download and the weights."""
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
        """One image of the download, as ADNI names its folders."""
        image = f"I{100_000 + number}"
        folder = self.path / "raw/images" / subject / "MPRAGE" / f"date-{number:06d}" / image
        folder.mkdir(parents=True)
        (folder / f"ADNI_{subject}_MR_MPRAGE_S{number}_{image}.dcm").touch()

    def run(self, *arguments: str, packages: str = "") -> Cost:
        """Run Snakemake with the profile for Slurm, and with more Python packages; raises."""
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *arguments]
        if self.shards:
            sizes = {"preprocess": {"shards": self.shards}, "cohort": {"batches": self.shards}}
            (self.path / "sizes.yaml").write_text(yaml.safe_dump(sizes))
            command += ["--configfile", "sizes.yaml"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": packages}
        return measured(command, self.path, environment)

    def finish(self, *arguments: str) -> list[int]:
        """Run what is to be run, without computing; the number of jobs in each submission."""
        log = self.path / "submitted.tsv"
        log.unlink(missing_ok=True)
        packages = os.pathsep.join([str(EXECUTOR), str(self.path / "src")])
        fake = ("--executor", "fake", "--latency-wait", "0")
        self.run(*fake, *arguments, packages=packages)
        lines = log.read_text().splitlines() if log.exists() else []
        return [int(line.split("\t")[0]) for line in lines]


def measured(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Run a command and measure its process; raises on failure."""
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        output = child.stdout.read()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # its account can still be read
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
    cohort.lay_down()
    plan = cohort.run("-n", "-q", "rules")
    report("dry run", plan)
    began = time.monotonic()
    submissions = cohort.finish()
    print(f"{len(submissions)} submissions of {sum(submissions)} jobs", end=", ")
    print(f"all made in {time.monotonic() - began:.1f} s")
    report("no-op", cohort.run("-n", "-q", "rules"))
    records = list((folder / ".snakemake/metadata").rglob("*"))
    made = sum(file.is_file() for file in (folder / "results").rglob("*"))
    print(f"{len(records)} records of Snakemake, {made} files in results")


def report(name: str, cost: Cost) -> None:
    jobs = cost.jobs().get("total", 0)
    took = f"{cost.seconds:.1f} s, CPU {cost.cpu:.1f} s, {cost.memory / 1e6:.0f} MB"
    print(f"{name}: {took}, {jobs} jobs", flush=True)


if __name__ == "__main__":
    main()
