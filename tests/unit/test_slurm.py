"""Slurm allocation and deadline of a training, locks, deletion of finished checkpoints."""

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
from ldae.training.settings import FINISHED, PRECISION_CHOICE


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Put a squeue on the PATH that prints an answer for job 7 and fails for every other job."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(answer: str = "") -> None:
        for name in ("squeue", "srun"):
            (tmp_path / name).write_text(
                f'#!/bin/sh\ncase "$*" in *--jobs=7*) printf "{answer}"; exit 0;; esac\nexit 1\n'
            )
            (tmp_path / name).chmod(0o755)

    return make


def test_slurm_allocation_reads_nodes_and_time_from_squeue(squeue, monkeypatch, caplog):
    assert allocation({}) is None
    assert allocation({"SLURM_JOB_ID": "7"}) is None  # a container without Slurm's commands
    assert "no squeue" in caplog.text
    squeue("2 1-00:10:00\n")
    assert allocation({"SLURM_JOB_ID": "7"}) == Allocation(2, 87000)
    monkeypatch.setattr("ldae.training.distributed.slurm.PAUSE", 0)
    assert allocation({"SLURM_JOB_ID": "8"}) is None
    assert "squeue says" in caplog.text


def test_slurm_times_in_seconds():
    assert [seconds(text) for text in ("0:09", "4:59", "1:00:00", "2-03:00:05")] == [
        9,
        299,
        3600,
        183605,
    ]
    assert seconds("UNLIMITED") == float("inf")


def test_deadline_is_before_end_of_slurm_job_and_near_it_if_short(squeue, monkeypatch):
    now = float(int(time.time()))
    monkeypatch.setattr("ldae.training.distributed.signals.time.time", lambda: now)
    assert deadline({}) == float("inf")
    squeue("1 1:00:00\n")
    assert deadline({"SLURM_JOB_ID": "7"}) == now + 3600 - 180
    squeue("1 1:00\n")
    assert deadline({"SLURM_JOB_ID": "7"}) == now + 45
    squeue("1 UNLIMITED\n")
    assert deadline({"SLURM_JOB_ID": "7"}) == float("inf")
    end = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(int(now) + 3600)}
    assert deadline(end) == now + 3600 - 180


def test_srun_step_does_not_inherit_options_of_outer_step():
    outer = {"SLURM_JOB_ID": "7", "SLURM_CONF": "x", "SLURM_NTASKS": "1", "SRUN_CPUS": "2"}
    kept = {"SLURM_JOB_ID": "7", "SLURM_CONF": "x", "SLURM_TMPDIR": "/tmp/7", "HOME": "/"}
    assert for_srun(outer | kept) == kept


def hold_lock(path: Path, held, done) -> None:
    with locked(path, "it"):
        held.set()
        done.wait(60)


def test_lock_names_its_holder_to_second_writer(tmp_path):
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(tmp_path / ".lock", held, done))
    other.start()
    assert held.wait(60)
    with pytest.raises(UserError, match=rf"is being written by process {other.pid} on "):
        acquire_lock(tmp_path / ".lock", "it", patience=0.1)
    os.kill(other.pid, 9)  # the lock ends with its holder, even a killed one
    other.join()
    with locked(tmp_path / ".lock", "it", patience=0.1):
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()


def test_lock_deleted_by_its_holder_is_recreated(tmp_path):
    path = tmp_path / "run/.lock"
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(path, held, done))
    other.start()
    assert held.wait(60)
    timer = threading.Timer(0.2, lambda: (shutil.rmtree(path.parent), done.set()))
    timer.start()
    with locked(path, "it", patience=30), pytest.raises(UserError, match="is being written by"):
        acquire_lock(path, "it", patience=0)  # a third one does not get in
    other.join()


def test_lock_without_write_permission_is_explained(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ldae.locks.FileLock.acquire", refused)  # root may write any file
    with pytest.raises(UserError, match=r"may not write .*\.lock.*somebody else"):
        acquire_lock(tmp_path / ".lock", "it")


def test_delete_finished_checkpoints_waits_for_incomplete_markers(tmp_path):
    runs, markers = tmp_path / "runs", tmp_path / "incomplete"
    for name in ("ldm/done", "ldae/going"):
        (runs / name).mkdir(parents=True)
    (runs / "ldm/done" / FINISHED).touch()
    (runs / "ldm" / PRECISION_CHOICE).touch()
    markers.mkdir()
    (markers / "b3V0").touch()
    delete_finished_checkpoints(runs, markers)
    assert (runs / "ldm/done").is_dir()
    (markers / "b3V0").unlink()
    delete_finished_checkpoints(runs, markers)
    assert [path.name for path in runs.glob("*/*")] == ["going"]  # PRECISION_CHOICE is gone as well
