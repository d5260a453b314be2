"""Fake executor: computes nothing; a job is done when its declared outputs exist.

Everything else is real: Snakemake, its scheduler, groups, metadata and profiles. The content of an
output depends on the inputs of its job, so that a change propagates as in a real run: tables of
subjects hold the subjects of their shard, any other file a hash of its inputs. Each submission is
one line of ``submitted.tsv`` in the working directory: jobs of a group together.
"""

import hashlib
import json
from pathlib import Path

import pandas as pd
from snakemake_interface_executor_plugins.executors.base import AbstractExecutor, SubmittedJobInfo
from snakemake_interface_executor_plugins.settings import CommonSettings

from ldae.conversion.download import find_folders
from ldae.conversion.downloaded_scans import PASSED_OVER
from ldae.derivatives import shard_of
from ldae.files import read_table, write_table

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)
SUBMITTED = Path("submitted.tsv")
BENCHMARK = "s\tmax_rss\tcpu_time\n60.0\t1000.0\t50.0\n"


class Executor(AbstractExecutor):
    """Makes outputs at once, in the process of the scheduler."""

    def run_job(self, job) -> None:
        members = [one for level in job.toposorted for one in level] if job.is_group() else [job]
        for one in members:
            make_outputs(one)
        with SUBMITTED.open("a") as stream:
            stream.write(f"{len(members)}\t{','.join(sorted(one.rule.name for one in members))}\n")
        info = SubmittedJobInfo(job)
        self.report_job_submission(info)
        self.report_job_success(info)

    def cancel(self) -> None:
        """Nothing runs."""

    def shutdown(self) -> None:
        """Nothing runs."""

    def handle_job_success(self, job) -> None:
        """Nothing is left to do."""

    def handle_job_error(self, job) -> None:
        """Nothing is left to do."""


def make_outputs(job) -> None:
    """Write all declared outputs of a job, and its benchmark."""
    known = KNOWN.get(job.rule.name, lambda job: {})(job)
    text = contents(job)
    for path in map(str, job.output):
        file = Path(path)
        if job.rule.name and path in directories(job):
            file.mkdir(parents=True, exist_ok=True)
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        if path in known:
            write_table(known[path], path)
        else:
            file.write_text(f"{path} {text}\n")
    if job.rule.name == "bids":  # read by workflow/rules/data_sources.smk
        Path(job.output.download).write_text(json.dumps(job.params.sources))
    if job.benchmark:
        Path(job.benchmark).parent.mkdir(parents=True, exist_ok=True)
        Path(job.benchmark).write_text(BENCHMARK)


def directories(job) -> set[str]:
    """Outputs that are folders."""
    return {str(path) for path in job.output if path.is_directory}


def contents(job) -> str:
    """Hash of all input files; of folders, the names only."""
    total = hashlib.sha256()
    for path in sorted(map(Path, map(str, job.input))):
        total.update(str(path).encode() if path.is_dir() else path.read_bytes())
    return total.hexdigest()


def download_tables(job) -> dict[str, pd.DataFrame]:
    """Tables of check_download: all images, and those of each batch."""
    rows = [
        (f"I{hashlib.sha256(str(path).encode()).hexdigest()[:8]}", subject, str(path), None, "-")
        for subject, folders in find_folders(job.input.images).subjects.items()
        for folder in folders
        for path in sorted(folder.glob("*/*/*"))
    ]
    columns = ["image_id", "subject_id", "path", "status", "content"]
    images = pd.DataFrame(rows, columns=columns)
    return {str(job.output.images): images} | shard_tables(images, job.output.batches)


def choice_tables(job) -> dict[str, pd.DataFrame]:
    """Table of downloaded_scans that the batches read: no image is passed over."""
    return {str(job.output.passed_over): pd.DataFrame(columns=PASSED_OVER)}


def scan_tables(job) -> dict[str, pd.DataFrame]:
    """Tables of scans: all scans, and those of each shard."""
    images = read_table(Path(job.output.scans).with_name("images.tsv"))
    return {str(job.output.scans): images} | shard_tables(images, job.output.shards)


def shard_tables(images: pd.DataFrame, paths: list[str]) -> dict[str, pd.DataFrame]:
    """Rows of each shard of subjects, by path."""
    shards = [shard_of(subject, len(paths)) for subject in images["subject_id"]]
    return {str(path): images[[one == k for one in shards]] for k, path in enumerate(paths)}


KNOWN = {
    "check_download": download_tables,
    "downloaded_scans": choice_tables,
    "scans": scan_tables,
}
