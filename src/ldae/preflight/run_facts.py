"""Facts about a run that is about to start, from its caller; the checks have no other source."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldae.config import study_downloads


@dataclass(frozen=True)
class Facts:
    """A run that is about to start.

    Attributes:
        config: The whole configuration, validated.
        root: The project's folder; relative paths start there.
        slurm: Jobs go to Slurm; else they run on this machine.
        slots: CPU cores of this machine to use, or jobs to submit at a time.
        conda: Each rule's environment is made by conda when it first runs.
        container: The image that jobs run in; None: they run in the environment of the caller.
        requests: By rule, the requests of its jobs. At the first attempt: threads, mem_mb, runtime
            (minutes), gpu, gres, cpus_per_task, nodes, slurm_partition, slurm_account; None:
            unset. Where Snakemake would compute a name: slurm_partition_becomes and
            slurm_account_becomes. At the last attempt: last_mem_mb, last_runtime. And jobs, their
            number, for rules that have one job a shard or batch.
        local: Rules whose jobs run on the machine of the workflow, with Slurm too.
        groups: Rule -> its group; the jobs of a group are submitted as one.
        status_command: Command that tells the end of Slurm jobs, squeue or sacct; None: without
            Slurm.
        command: Dry run with the arguments of the run; prints the number of jobs of each rule.
    """

    config: Mapping[str, Any]
    root: Path
    slurm: bool
    slots: int
    conda: bool
    container: str | None
    requests: Mapping[str, Mapping[str, Any]]
    local: frozenset[str]
    groups: Mapping[str, str]
    status_command: str | None
    command: tuple[str, ...]

    @property
    def results(self) -> Path:
        """The folder of all outputs."""
        return self.root / self.config["paths"]["results"]

    @property
    def from_download(self) -> bool:
        """Whether the main cohort is an ADNI download, which needs Clinica."""
        return self.dataset is None

    @property
    def dataset(self) -> tuple[str, Path] | None:
        """Key and folder of the data set that replaces the download; None: there is a download."""
        cohort = self.config["cohort"]
        if cohort["study"]:
            return "cohort.study", self.root / self.studies[cohort["name"]]["bids"]
        for key in ("preprocessed_dir", "bids_dir"):
            if cohort[key]:
                return f"cohort.{key}", self.root / cohort[key]
        return None

    @property
    def studies(self) -> Mapping[str, Mapping[str, str]]:
        """Downloads of other studies, by cohort (:func:`ldae.config.study_downloads`)."""
        return study_downloads(self.config)

    @property
    def preprocessed(self) -> bool:
        """Whether the scans of the main cohort come skull-stripped and in the template's space."""
        return bool(self.config["cohort"]["preprocessed_dir"])

    @property
    def synthetic_beside(self) -> Mapping[str, Mapping[str, Any]]:
        """Settings of the synthetic data sets beside the main cohort, by name."""
        return self.config["synthetic"]["beside"] if self.synthetic else {}

    @property
    def synthetic(self) -> bool:
        """Whether a rule makes the download, or the preprocessed scans in its place."""
        return "synthetic" in self.config

    @property
    def to_make(self) -> bool:
        """Whether a rule has yet to make the main cohort."""
        of = [self.path("images"), self.path("tables")]
        if self.preprocessed:
            of = [self.dataset[1]]
        known = self.from_download or self.preprocessed
        return self.synthetic and known and not all(place.is_dir() for place in of)

    def path(self, name: str) -> Path:
        """A path of the configuration's section ``paths``."""
        return self.root / self.config["paths"][name]
