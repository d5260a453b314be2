"""What a training knows of its Slurm job, and how one process keeps others away."""

import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from ldae.errors import UserError
from ldae.locks import acquire_lock, locked
from ldae.orchestration.previous_run import delete_finished_checkpoints
from ldae.training.distributed.launch import for_srun
from ldae.training.distributed.signals import deadline
from ldae.training.distributed.slurm import Allocation, allocation, seconds
from ldae.training.settings import FINISHED


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Make a squeue that answers so to job 7; without an answer, it knows no such job."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(answer: str = "") -> None:
        for name in ("squeue", "srun"):
            (tmp_path / name).write_text(
                f'#!/bin/sh\ncase "$*" in *--jobs=7*) printf "{answer}"; exit 0;; esac\nexit 1\n'
            )
            (tmp_path / name).chmod(0o755)

    return make


def test_slurm_says_how_many_nodes_and_how_much_time_a_job_has(squeue, monkeypatch, caplog):
    assert allocation({}) is None
    assert allocation({"SLURM_JOB_ID": "7"}) is None  # a container without Slurm's commands
    assert "no squeue" in caplog.text
    squeue("2 1-00:10:00\n")
    assert allocation({"SLURM_JOB_ID": "7"}) == Allocation(2, 87000)
    monkeypatch.setattr("ldae.training.distributed.slurm.PAUSE", 0)
    assert allocation({"SLURM_JOB_ID": "8"}) is None
    assert "squeue says" in caplog.text


def test_slurms_times_in_seconds():
    assert [seconds(text) for text in ("0:09", "4:59", "1:00:00", "2-03:00:05")] == [
        9,
        299,
        3600,
        183605,
    ]
    assert seconds("UNLIMITED") == float("inf")


def test_a_training_leaves_before_its_time_ends_and_uses_most_of_a_short_one(squeue):
    now = time.time()
    assert deadline({}) == float("inf")
    squeue("1 1:00:00\n")
    assert deadline({"SLURM_JOB_ID": "7"}) == pytest.approx(now + 3600 - 180, abs=5)
    squeue("1 1:00\n")
    assert deadline({"SLURM_JOB_ID": "7"}) == pytest.approx(now + 45, abs=5)
    squeue("1 UNLIMITED\n")
    assert deadline({"SLURM_JOB_ID": "7"}) == float("inf")
    end = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(int(now) + 3600)}
    assert deadline(end) == pytest.approx(now + 3600 - 180, abs=5)


def test_a_step_does_not_inherit_the_options_of_the_step_around_it():
    around = {"SLURM_JOB_ID": "7", "SLURM_CONF": "x", "SLURM_NTASKS": "1", "SRUN_CPUS": "2"}
    kept = {"SLURM_JOB_ID": "7", "SLURM_CONF": "x", "SLURM_TMPDIR": "/tmp/7", "HOME": "/"}
    assert for_srun(around | kept) == kept


def keep(path: Path, held, done) -> None:
    with locked(path, "it"):
        held.set()
        done.wait(60)


def test_a_second_writer_waits_and_is_then_told_who_writes(tmp_path):
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()
    other = context.Process(target=keep, args=(tmp_path / ".lock", held, done))
    other.start()
    assert held.wait(60)
    with pytest.raises(UserError, match=rf"is being written by process {other.pid} on "):
        acquire_lock(tmp_path / ".lock", "it", patience=0.1)
    os.kill(other.pid, 9)  # a lock ends with its holder, however that ends
    other.join()
    with locked(tmp_path / ".lock", "it", patience=0.1):
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()


def test_a_lock_that_its_holder_deletes_with_the_folder_is_made_anew(tmp_path):
    path = tmp_path / "run/.lock"
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()
    other = context.Process(target=keep, args=(path, held, done))
    other.start()
    assert held.wait(60)
    timer = threading.Timer(0.2, lambda: (shutil.rmtree(path.parent), done.set()))
    timer.start()
    with locked(path, "it", patience=30), pytest.raises(UserError, match="is being written by"):
        acquire_lock(path, "it", patience=0)  # a third one does not get in
    other.join()


def test_a_lock_of_somebody_else_is_explained(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)  # root may write whatever there is
    with pytest.raises(UserError, match=r"may not write .*\.lock.*somebody else"):
        acquire_lock(tmp_path / ".lock", "it")


def test_checkpoints_go_when_snakemake_knows_that_their_training_is_finished(tmp_path):
    runs, markers = tmp_path / "runs", tmp_path / "incomplete"
    for name in ("ldm/done", "ldae/going"):
        (runs / name).mkdir(parents=True)
    (runs / "ldm/done" / FINISHED).touch()
    markers.mkdir()
    (markers / "b3V0").touch()
    delete_finished_checkpoints(runs, markers)
    assert (runs / "ldm/done").is_dir()
    (markers / "b3V0").unlink()
    delete_finished_checkpoints(runs, markers)
    assert [path.name for path in runs.glob("*/*")] == ["going"]
