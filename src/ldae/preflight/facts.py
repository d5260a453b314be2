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
            mem_mb, runtime (minutes), gpu, nodes, slurm_partition, slurm_account; None: unset.
        local: Rules that run where the workflow runs, whatever the executor.
        groups: Rule -> its group; the jobs of a group are submitted as one.
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
    command: tuple[str, ...]

    @property
    def results(self) -> Path:
        """The folder of all outputs."""
        return self.root / self.config["paths"]["results"]

    @property
    def from_download(self) -> bool:
        """Whether the main cohort comes from ADNI's download, and Clinica is needed."""
        return self.config["cohort"]["bids_dir"] is None

    @property
    def synthetic(self) -> bool:
        """Whether a rule makes the download."""
        return "synthetic" in self.config

    def path(self, name: str) -> Path:
        """A path of the configuration's section ``paths``."""
        return self.root / self.config["paths"][name]
