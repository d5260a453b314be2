"""Previous run: refusal of a second Snakemake, cancelling of the Slurm jobs of a killed one."""

import os

import pytest

from ldae.errors import UserError
from ldae.locks import locked
from ldae.orchestration import previous_run
from ldae.orchestration.previous_run import end_previous_run

QUEUE = """#!/bin/sh
for word; do case $word in --name=*) names=",${word#--name=},";; esac; done
while IFS="|" read -r name rest; do
    case $names in *",$name,"*) echo "$rest";; esac
done < %s
"""


class Slurm:
    """Fake Slurm commands that answer from a file of jobs: name, number, user's number, user."""

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
    """A Slurm with one job of each of two runs; only the first run was of these results."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    slurm = Slurm(tmp_path / "bin")
    end_previous_run("results", tmp_path / "notes", "ldae_a").release()
    slurm.queue(("ldae_a", 7, os.getuid(), "me"), ("ldae_b", 8, os.getuid(), "me"))
    return slurm


def test_second_snakemake_is_refused_and_cancels_no_jobs(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(previous_run, "ENDING", 0.0)
    with (
        locked(next((tmp_path / "notes").glob("*.lock")), "the first"),
        pytest.raises(UserError, match=rf"folder results is being .* process {os.getpid()} on"),
    ):
        end_previous_run("results", tmp_path / "notes", "ldae_c")
    assert slurm.cancelled == []


def test_previous_run_cancels_only_jobs_of_the_same_results(slurm, tmp_path):
    notes = tmp_path / "notes"
    end_previous_run("other", notes, "ldae_c").release()
    assert slurm.cancelled == []
    end_previous_run("results", notes, "ldae_d").release()
    assert slurm.cancelled == ["7"]
    slurm.queue(("ldae_d", 9, os.getuid(), "me"))
    end_previous_run("results", notes, "ldae_e").release()
    assert slurm.cancelled == ["7", "9"]


def test_previous_run_does_not_cancel_jobs_of_another_user(slurm, tmp_path):
    slurm.queue(("ldae_a", 7, os.getuid() + 1, "anna"))
    with pytest.raises(UserError, match="jobs of an earlier run here are anna's: 7"):
        end_previous_run("results", tmp_path / "notes", "ldae_c")
    assert slurm.cancelled == []


@pytest.mark.parametrize("fault", ["echo no controller >&2; exit 1", "exec sleep 60"])
def test_silent_slurm_stops_slurm_runs_but_not_local_runs(slurm, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(previous_run, "ANSWER", 0.3)
    slurm.command("squeue", f"#!/bin/sh\n{fault}\n")
    with pytest.raises(UserError, match=r"squeue says ('no controller'|nothing for)"):
        end_previous_run("results", tmp_path / "notes", "ldae_c")
    end_previous_run("results", tmp_path / "notes", None).release()
