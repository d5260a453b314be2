"""What the caller knows of a run that is about to start; the checks ask nobody else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Facts:
    """A run that is about to start.

    Attributes:
        config: The whole configuration, checked.
        root: The project's folder, in which relative paths are.
        slurm: Jobs go to Slurm; else they run on this machine.
        slots: CPU cores of this machine to use, or jobs to submit at a time.
        conda: Each rule's environment is made by conda when it first runs.
        container: The image that jobs run in; None: they run in the environment of the caller.
        asks: By rule, what its jobs ask for at their first attempt, as they are submitted: threads,
            mem_mb, runtime (minutes), gpu, gres, cpus_per_task, nodes, slurm_partition,
            slurm_account; None: unset. At their last attempt: last_mem_mb, last_runtime.
            Beside these jobs: their number, of rules that have one a shard or batch.
        local: Rules that run where the workflow runs, whatever the executor.
        groups: Rule -> its group; the jobs of a group are submitted as one.
        watched_by: Command by which Snakemake sees the end of Slurm jobs: squeue or sacct.
        command: Plans the run without running anything; prints the number of jobs of each rule.
    """

    config: Mapping[str, Any]
    root: Path
    slurm: bool
    slots: int
    conda: bool
    container: str | None
    asks: Mapping[str, Mapping[str, Any]]
    local: frozenset[str]
    groups: Mapping[str, str]
    watched_by: str | None
    command: tuple[str, ...]

    @property
    def results(self) -> Path:
        """The folder of all outputs."""
        return self.root / self.config["paths"]["results"]

    @property
    def from_download(self) -> bool:
        """Whether the main cohort comes from ADNI's download, and Clinica is needed."""
        return self.dataset is None

    @property
    def dataset(self) -> tuple[str, Path] | None:
        """Key and folder of the data set that stands in place of a download, if there is one."""
        for key in ("preprocessed_dir", "bids_dir"):
            if self.config["cohort"][key]:
                return f"cohort.{key}", self.root / self.config["cohort"][key]
        return None

    @property
    def preprocessed(self) -> bool:
        """Whether the scans come skull-stripped and in the template's space."""
        return bool(self.config["cohort"]["preprocessed_dir"])

    @property
    def synthetic(self) -> bool:
        """Whether a rule makes the download, or the preprocessed scans in its place."""
        return "synthetic" in self.config

    @property
    def to_make(self) -> bool:
        """Whether the main cohort is not there, and a rule makes it."""
        of = [self.path("images"), self.path("tables")]
        if self.preprocessed:
            of = [self.dataset[1]]
        known = self.from_download or self.preprocessed
        return self.synthetic and known and not all(place.is_dir() for place in of)

    def path(self, name: str) -> Path:
        """A path of the configuration's section ``paths``."""
        return self.root / self.config["paths"][name]
