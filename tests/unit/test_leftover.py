"""One Snakemake at a time, and the Slurm jobs of one that was killed."""

import os

import pytest

from ldae.errors import UserError
from ldae.locks import acquire_lock
from ldae.orchestration import previous_run
from ldae.orchestration.previous_run import end_previous_run

QUEUE = """#!/bin/sh
for word; do case $word in --name=*) names=",${word#--name=},";; esac; done
while IFS="|" read -r name rest; do
    case $names in *",$name,"*) echo "$rest";; esac
done < %s
"""


class Slurm:
    """Commands that answer from a file of jobs: name, number, user's number, user."""

    def __init__(self, folder):
        self.folder, self.file = folder, folder / "jobs"
        self.command("squeue", QUEUE % self.file)
        self.command("scancel", f'#!/bin/sh\necho "$@" >> {folder}/cancelled\n: > {self.file}\n')

    def command(self, name, text):
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def queue(self, *jobs):
        self.file.write_text("".join(f"{'|'.join(map(str, job))}\n" for job in jobs))

    @property
    def cancelled(self):
        file = self.folder / "cancelled"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm with a job each of two runs, of which the first was of these results."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    slurm = Slurm(tmp_path / "bin")
    end_previous_run("results", tmp_path / "notes", "ldae_a").close()
    slurm.queue(("ldae_a", 7, os.getuid(), "me"), ("ldae_b", 8, os.getuid(), "me"))
    return slurm


def test_a_second_snakemake_is_refused_and_cancels_nothing_of_the_first(
    slurm, tmp_path, monkeypatch
):
    monkeypatch.setattr(previous_run, "ENDING", 0.0)
    with (
        acquire_lock(next((tmp_path / "notes").glob("*.lock")), "the first"),
        pytest.raises(UserError, match=rf"folder results is being .* process {os.getpid()} on"),
    ):
        end_previous_run("results", tmp_path / "notes", "ldae_c")
    assert slurm.cancelled == []


def test_only_jobs_of_dead_runs_of_these_results_are_cancelled(slurm, tmp_path):
    notes = tmp_path / "notes"
    end_previous_run("other", notes, "ldae_c").close()
    assert slurm.cancelled == []
    end_previous_run("results", notes, "ldae_d").close()
    assert slurm.cancelled == ["7"]
    slurm.queue(("ldae_d", 9, os.getuid(), "me"))
    end_previous_run("results", notes, "ldae_e").close()
    assert slurm.cancelled == ["7", "9"]


def test_jobs_of_somebody_else_are_left_to_them(slurm, tmp_path):
    slurm.queue(("ldae_a", 7, os.getuid() + 1, "anna"))
    with pytest.raises(UserError, match="jobs of an earlier run here are anna's: 7"):
        end_previous_run("results", tmp_path / "notes", "ldae_c")
    assert slurm.cancelled == []


@pytest.mark.parametrize("fault", ["echo no controller >&2; exit 1", "exec sleep 60"])
def test_a_slurm_that_does_not_answer_stops_its_runs_and_no_other(
    slurm, tmp_path, monkeypatch, fault
):
    monkeypatch.setattr(previous_run, "ANSWER", 0.3)
    slurm.command("squeue", f"#!/bin/sh\n{fault}\n")
    with pytest.raises(UserError, match=r"squeue says ('no controller'|nothing for)"):
        end_previous_run("results", tmp_path / "notes", "ldae_c")
    end_previous_run("results", tmp_path / "notes", None).close()
