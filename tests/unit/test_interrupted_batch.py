"""Fifty scans of which five are bad, killed in the middle and continued: as without the kill."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ldae.application.commands import Encoding
from ldae.application.sample import HEAD, sample_visits
from ldae.cli.main import main
from ldae.data.embeddings import load_embeddings

VISITS = [Path(path) for path in sample_visits()["file"]]
# The table is written after every scan, so that it can be killed when some are in it, and half of
# the scans are never reached, so that it cannot end before.
ENCODE = """
import sys
import time
from ldae.application import batch
from ldae.application.commands import Encoding
from ldae.cli.main import main

batch.SAVE_EVERY = 0
encode, worked = Encoding.__call__, []


def half(self, scan):
    worked.append(scan)
    if len(worked) > 25:
        time.sleep(600)
    return encode(self, scan)


Encoding.__call__ = half
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """A folder of 45 preprocessed heads and five that are none."""
    folder = tmp_path_factory.mktemp("fifty")
    for number in range(45):
        visit = nib.load(VISITS[number % len(VISITS)])
        voxels = np.roll(visit.get_fdata(), number // len(VISITS) % 3 - 1, axis=1)
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), visit.affine), folder / f"{number}.nii")
    shutil.copy(HEAD, folder / "11-skull.nii.gz")
    (folder / "22-empty.nii.gz").touch()
    (folder / "33-cut.nii.gz").write_bytes(VISITS[0].read_bytes()[:3000])
    visit = nib.load(VISITS[0])
    constant = np.ones(visit.shape, np.float32)
    nib.save(nib.Nifti1Image(constant, visit.affine), folder / "4-constant.nii")
    moved = np.roll(visit.get_fdata(), 20, axis=0).astype(np.float32)
    nib.save(nib.Nifti1Image(moved, visit.affine), folder / "5-moved.nii")
    return folder


@pytest.fixture(scope="module")
def whole(scans, tmp_path_factory) -> Path:
    """Codes of a run that nobody interrupts."""
    out = tmp_path_factory.mktemp("whole") / "codes.npz"
    assert main(["encode", str(scans), "--sample", "--out", str(out)]) == 3
    return out


def test_five_bad_scans_of_fifty_leave_45_results_and_5_reasons(whole):
    names, y_sem = load_embeddings(whole)
    assert len(names) == 45 and np.isfinite(y_sem).all()
    table = pd.read_csv(whole.with_suffix(".tsv"), sep="\t", dtype=str).set_index("scan_id")
    assert table["status"].value_counts().to_dict() == {"ok": 45, "failed": 5}
    reasons = table.loc[table["status"] == "failed", "reason"]
    expected = {
        "11-skull": "as with a skull",
        "22-empty": "cannot be read",
        "33-cut": "cannot be read",
        "4-constant": "no contrast|lies outside the template's brain",
        "5-moved": "template's",
    }
    assert reasons.index.sort_values().tolist() == sorted(expected)
    for name, words in expected.items():
        assert reasons[[name]].str.contains(words).all(), reasons[name]
    assert reasons.is_unique


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_continued_gives_the_same(scans, whole, tmp_path, monkeypatch, how):
    out = tmp_path / "codes.npz"
    table = out.with_suffix(".tsv")
    command = ["encode", str(scans), "--sample", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", ENCODE, *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )  # fmt: skip
    while process.poll() is None and not (table.is_file() and table.read_text().count("\n") > 8):
        time.sleep(0.01)
    process.send_signal(how)
    printed, said = process.communicate()
    assert process.returncode == (143 if how == signal.SIGTERM else -how) and printed == ""
    if how == signal.SIGTERM:
        assert said.splitlines()[-1] == (
            "Stopped by SIGTERM. What is finished is kept. To continue, give the same command "
            "again."
        )
        assert "Traceback" not in said
    kept = table.read_text().count("\n") - 1
    assert 8 <= kept <= 25

    worked, encode = [], Encoding.__call__
    monkeypatch.setattr(
        Encoding, "__call__", lambda self, scan: worked.append(scan) or encode(self, scan)
    )
    assert main(command) == 3
    assert len(worked) <= 50 - kept + 5  # and those that failed are tried again
    for one, other in zip(load_embeddings(out), load_embeddings(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    assert table.read_text() == whole.with_suffix(".tsv").read_text()
