"""Shard runner: skipping, failure, resuming; reset of failed and of named scans."""

import errno
import logging
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from helpers.heads import scan_table
from ldae.cli.main import main
from ldae.derivatives import read_manifest, scan_files
from ldae.errors import UserError
from ldae.files import write_table
from ldae.orchestration.rerun import reset_failed_scans, reset_scans
from ldae.preprocess import shard_runner
from ldae.preprocess.shard_runner import ScanRejected, Step, run_step


class Copier:
    """A step that copies its input and counts runs; the text of the input decides how it fails."""

    def __init__(self, folder: Path, names=("A", "B", "C")):
        self.folder, self.runs = folder, []
        self.manifest = folder / "manifests" / "n4" / "shard-0.tsv"
        folder.mkdir(exist_ok=True)
        self.files = scan_files(scan_table(*names), folder, "Test")
        for name, files in zip(names, self.files, strict=True):
            self.source(files).write_text(name)

    def source(self, files):
        return self.folder / f"{files.scan_id}.txt"

    def run(self, files):
        self.runs.append(files.scan_id[4])
        text = self.source(files).read_text()
        if text == "defect":
            raise ValueError("first line\nsecond line")
        if text == "reject":
            raise ScanRejected("not a head")
        if text == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "full":
            raise OSError(errno.ENOSPC, "disk full")
        files.n4.write_text(text)

    def __call__(self, fingerprint="1", judge=lambda files: None, earlier=None):
        self.runs = []
        step = Step(
            "n4",
            fingerprint,
            lambda files: [self.source(files)],
            lambda files: [files.n4],
            self.run,
            judge,
        )
        run_step(step, self.files, self.manifest, earlier)
        table = read_manifest(self.manifest)
        return list(table["status"]), list(table["reason"])


def test_shard_runner_reruns_only_changed_scans(tmp_path):
    copier = Copier(tmp_path)
    assert copier() == (["ok"] * 3, [""] * 3)
    assert copier.runs == ["A", "B", "C"]
    assert copier()[0] == ["ok"] * 3
    assert copier.runs == []
    copier.source(copier.files[1]).touch()
    copier()
    assert copier.runs == []
    copier.source(copier.files[1]).write_text("changed")
    copier()
    assert copier.runs == ["B"]
    copier.source(copier.files[1]).write_text("CHANGED")  # of the same size
    os.utime(copier.source(copier.files[1]), ns=(1, 1))
    copier()
    assert copier.runs == ["B"]
    copier.files[2].n4.unlink()
    copier()
    assert copier.runs == ["C"]
    copier(fingerprint="2")
    assert copier.runs == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("defect", "ValueError: first line second line"), ("reject", "not a head")],
)
def test_shard_runner_fails_scan_alone_and_does_not_retry_it(tmp_path, text, reason, caplog):
    copier = Copier(tmp_path)
    copier()
    copier.source(copier.files[1]).write_text(text)
    with caplog.at_level(logging.WARNING):
        assert copier() == (["ok", "failed", "ok"], ["", reason, ""])
    assert ("Traceback" in caplog.text) == (text == "defect")
    assert not copier.files[1].n4.exists()  # no stale output of the earlier run remains
    assert copier() == (["ok", "failed", "ok"], ["", reason, ""])
    assert copier.runs == []
    copier(fingerprint="2")
    assert copier.runs == ["A", "B", "C"]
    copier.source(copier.files[1]).write_text("good")
    assert copier(fingerprint="2")[0] == ["ok"] * 3
    assert copier.runs == ["B"]


@pytest.mark.parametrize("emptied", ["output", "stamp"])
def test_shard_runner_reruns_scan_with_empty_output_or_stamp(tmp_path, emptied):
    """A crash of the node can leave an output or a stamp empty."""
    copier = Copier(tmp_path)
    copier()
    files = copier.files[1]
    (files.n4 if emptied == "output" else files.stamp("n4")).write_text("")
    assert copier()[0] == ["ok"] * 3
    assert copier.runs == ["B"]
    assert files.n4.read_text() == "B"


def test_shard_runner_flushes_outputs_before_writing_stamp(tmp_path, monkeypatch):
    copier = Copier(tmp_path)
    flushed = []

    def flush(path):
        flushed.append((path, copier.files[0].stamp("n4").exists()))

    monkeypatch.setattr(shard_runner, "flush", flush)
    copier()
    assert flushed[0] == (copier.files[0].n4, False)


def test_shard_runner_fails_scan_after_three_process_deaths(tmp_path, monkeypatch):
    copier = Copier(tmp_path)
    copier.source(copier.files[1]).write_text("deadly")

    def survived():
        pid = os.fork()
        if pid == 0:
            copier()
            os._exit(0)
        return os.waitpid(pid, 0)[1] == 0

    assert [survived() for _ in range(5)] == [False] * 3 + [True] * 2
    assert copier() == (["ok", "failed", "ok"], ["", "the process died at it 3 times", ""])
    assert copier.runs == []
    reset_failed_scans(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    assert [survived() for _ in range(4)] == [False] * 4  # one job, which Slurm has requeued
    copier.source(copier.files[1]).write_text("good")
    assert copier()[0] == ["ok"] * 3
    assert not list(tmp_path.rglob("*.begun"))


def test_retry_reruns_only_failed_scans(tmp_path):
    copier = Copier(tmp_path / "preproc")
    copier.source(copier.files[0]).write_text("defect")
    copier.source(copier.files[2]).write_text("reject")
    copier()
    later = tmp_path / "preproc/manifests/registration/shard-0.tsv"
    other = tmp_path / "preproc/manifests/n4/shard-1.tsv"
    for path in (later, other):
        path.parent.mkdir(exist_ok=True)
        path.write_text("scan_id\tstatus\treason\tseconds\nsub-D_ses-M000\tok\tn/a\t1\n")
    listed = tmp_path / "preproc/quarantine.tsv"
    listed.write_text("scan_id\tstep\treason\n")

    assert main(["retry", "--results", str(tmp_path), "--scan", "sub-C_ses-M000"]) == 0
    assert not copier.manifest.exists() and not later.exists() and not listed.exists()
    assert other.exists()
    copier()
    assert copier.runs == ["C"]
    assert reset_failed_scans(tmp_path / "preproc") == ["sub-A_ses-M000", "sub-C_ses-M000"]
    copier()
    assert copier.runs == ["A", "C"]


def test_reset_scans_reruns_only_named_scans(tmp_path):
    copier = Copier(tmp_path / "preproc")
    copier()
    write_table(scan_table("A", "B", "C"), tmp_path / "cohort/shards/shard-0.tsv")
    listed = tmp_path / "preproc/quarantine.tsv"  # what the workflow asks for
    listed.write_text("scan_id\tstep\treason\n")
    with pytest.raises(UserError, match=r"^sub-Z_ses-M000: in no table"):
        reset_scans(tmp_path, ["sub-B_ses-M000", "sub-Z_ses-M000"])
    assert listed.exists()
    reset_scans(tmp_path, ["sub-B_ses-M000"])
    assert not copier.manifest.exists() and not listed.exists()
    reset_scans(tmp_path, ["sub-C_ses-M000"])  # another of the shard, whose manifest is gone
    copier()
    assert copier.runs == ["B", "C"]
    reset_scans(tmp_path, ["sub-A_ses-M000", "sub-C_ses-M000"])
    copier()
    assert copier.runs == ["A", "C"]


def test_retry_refuses_scans_that_have_not_failed(tmp_path, capsys):
    copier = Copier(tmp_path / "preproc")
    with pytest.raises(UserError, match="no manifests"):
        reset_failed_scans(tmp_path / "preproc")
    copier(judge=lambda files: "too small" if "sub-B" in files.scan_id else None)
    assert reset_failed_scans(tmp_path / "preproc") == []
    assert copier.manifest.exists()
    assert main(["retry", "--results", str(tmp_path), "--scan", "sub-B_ses-M000"]) == 1
    assert "sub-B_ses-M000: not among the failed scans" in capsys.readouterr().err


def test_shard_runner_missing_input_fails_only_its_scan(tmp_path):
    copier = Copier(tmp_path)
    copier.source(copier.files[2]).unlink()
    status, reason = copier()
    assert status == ["ok", "ok", "failed"]
    assert "FileNotFoundError" in reason[2]
    copier()
    assert copier.runs == []
    copier.source(copier.files[2]).write_text("here")
    assert copier()[0] == ["ok"] * 3


def test_shard_runner_stops_on_full_disk(tmp_path):
    copier = Copier(tmp_path)
    copier.source(copier.files[1]).write_text("full")
    with pytest.raises(OSError, match="disk full"):
        copier()
    assert not copier.manifest.exists()


@pytest.mark.parametrize("place", ["output", "temporary"])
def test_shard_runner_stops_on_full_disk_hidden_by_library(tmp_path, monkeypatch, place):
    """ANTs' writers raise a RuntimeError; it must not count as a failure of the scan."""
    copier = Copier(tmp_path)
    copier.source(copier.files[1]).write_text("defect")
    here = copier.files[1].folder if place == "output" else Path(tempfile.gettempdir())
    state = shutil.disk_usage(tmp_path)

    def usage(path):
        return state._replace(free=99e6 if Path(path) == here else 101e6)

    monkeypatch.setattr(shard_runner.shutil, "disk_usage", usage)
    with pytest.raises(OSError, match="99 MB free") as caught:
        copier()
    assert caught.value.errno == errno.ENOSPC and isinstance(caught.value.__cause__, ValueError)
    assert not copier.manifest.exists() and not copier.files[1].stamp("n4").exists()
    monkeypatch.setattr(shard_runner.shutil, "disk_usage", lambda path: state._replace(free=101e6))
    assert copier()[0] == ["ok", "failed", "ok"]


def test_retry_reruns_registration_of_scan_that_failed_packing(tmp_path):
    stamps = []
    for files in scan_files(scan_table("A", "B"), tmp_path, "T"):
        stamps.append(files.stamp("registration"))
        stamps[-1].parent.mkdir(parents=True)
        stamps[-1].touch()
    for step in ("registration", "pack"):
        path = tmp_path / "manifests" / step / "shard-0.tsv"
        path.parent.mkdir(parents=True)
        status = "failed\tno contrast" if step == "pack" else "ok\tn/a"
        path.write_text(f"scan_id\tstatus\treason\nsub-A_ses-M000\t{status}\n")
    assert reset_failed_scans(tmp_path) == ["sub-A_ses-M000"]
    assert [stamp.exists() for stamp in stamps] == [False, True]
    assert not list(tmp_path.glob("manifests/*/*"))


def test_shard_runner_skips_scans_that_failed_an_earlier_step(tmp_path):
    copier = Copier(tmp_path)
    earlier = tmp_path / "bids" / "shard-0.tsv"
    earlier.parent.mkdir()
    earlier.write_text(
        "scan_id\tstatus\treason\tseconds\n"
        "sub-A_ses-M000\tok\tn/a\t1\n"
        "sub-B_ses-M000\tfailed\tbroken\t1\n"
        "sub-C_ses-M000\tskipped\tfailed in x: y\t1\n"
    )
    status, reason = copier(earlier=earlier)
    assert copier.runs == ["A"]
    assert status == ["ok", "skipped", "skipped"]
    assert reason == ["", "failed in bids: broken", "failed in x: y"]
    earlier.write_text("scan_id\tstatus\treason\tseconds\nsub-A_ses-M000\tok\tn/a\t1\n")
    with pytest.raises(UserError, match="lacks 2 scan"):
        copier(earlier=earlier)


def test_shard_runner_judges_quality_without_rerunning_scans(tmp_path):
    copier = Copier(tmp_path)
    copier()
    status, reason = copier(judge=lambda files: "too small" if "sub-B" in files.scan_id else None)
    assert copier.runs == []
    assert status == ["ok", "qc", "ok"]
    assert reason[1] == "too small"
