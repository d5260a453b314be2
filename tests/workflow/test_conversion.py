"""Conversion by Clinica: independent of batches; resumes after a kill; isolates a bad subject."""

import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from bids_validator import BIDSValidator

from ldae.cli.main import main
from ldae.conversion.batch import convert_batch
from ldae.conversion.merge import merge_parts
from ldae.conversion.plan import plan_conversion, write_plan
from ldae.files import write_table
from ldae.synthetic.download import make_download

pytestmark = pytest.mark.workflow

CLINICA = Path(__file__).parents[2] / ".venv/clinica/bin"
UNEVEN = "I9000300"  # the only image of a subject


def displace_a_slice(images: Path, image: str) -> None:
    """Displace a slice so that dcm2niix writes a second image, on which Clinica crashes.

    The displacement is too small for the check of missing slices.
    """
    slices = sorted(images.rglob(f"*_{image}.dcm"))
    one, other = (pydicom.dcmread(path) for path in slices[10:12])
    steps = np.subtract(other.ImagePositionPatient, one.ImagePositionPatient)
    normal = np.cross(*np.reshape(one.ImageOrientationPatient, (2, 3)))
    spacing = float(one.SpacingBetweenSlices)
    assert abs(steps @ normal) > 0
    one.ImagePositionPatient = list(np.array(one.ImagePositionPatient) + 0.4 * spacing * normal)
    one.save_as(slices[10], enforce_file_format=True)


def convert(raw: Path, checked: Path, out: Path, batches: int) -> pd.DataFrame:
    """Plan, convert and merge; returns the conversion table by image."""
    plan = plan_conversion(raw / "images", checked / "tables", checked / "held_back.tsv", batches)
    files = {number: out / f"{number}.tsv" for number in range(batches)}
    write_plan(plan, out / "images.tsv", files)
    parts, tables = {}, {}
    for number, path in files.items():
        part = parts[f"ADNI-{number}"] = out / "bids_parts" / f"ADNI-{number}"
        table = convert_batch(
            path, raw / "images", checked / "tables", part, "ADNI", "source", str(CLINICA), 2
        )
        tables[part.name] = out / f"parts/{part.name}.tsv"
        write_table(table, tables[part.name])
    table = merge_parts(parts, tables, out / "images.tsv", "ADNI", out / "bids")
    return table.set_index("image_id")


def kill_conversion(raw: Path, checked: Path, out: Path) -> None:
    """Start a conversion; kill it and its children when a first image is written."""
    child = get_context("fork").Process(target=_convert_alone, args=(raw, checked, out))
    child.start()
    deadline = time.monotonic() + 120
    while not list(out.glob("bids_parts/.work-*/**/*_T1w.nii*")):
        assert child.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL


def _convert_alone(raw: Path, checked: Path, out: Path) -> None:
    os.setsid()
    convert(raw, checked, out, 1)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_conversion_resumes_after_kill_and_a_crash_loses_one_subject(tmp_path, capsys):
    raw, checked = tmp_path / "raw", tmp_path / "checked"
    make_download(raw, 4, 2, 5.0, seed=1)
    options = ["check-download", "--images", str(raw / "images"), "--tables", str(raw / "tables")]
    assert main([*options, "--out", str(checked)]) == 0
    assert "9 images" in capsys.readouterr().out
    healthy = convert(raw, checked, tmp_path / "healthy", 2)
    assert (healthy["status"] == "converted").sum() == 7
    before = contents(tmp_path / "healthy" / "bids")
    invalid = [name for name in before if not BIDSValidator().is_bids(f"/{name}")]
    assert invalid == [".bidsignore"]

    kill_conversion(raw, checked, tmp_path / "killed")
    assert not (tmp_path / "killed" / "bids").exists()
    convert(raw, checked, tmp_path / "killed", 1)
    assert contents(tmp_path / "killed" / "bids") == before

    displace_a_slice(raw / "images", UNEVEN)
    crashed = convert(raw, checked, tmp_path / "hurt", 1)
    assert crashed["status"][UNEVEN] == "failed" and "_Eq" in crashed["reason"][UNEVEN]
    assert (crashed["status"] == "converted").sum() == 6
    after = contents(tmp_path / "hurt" / "bids")
    lost = f"sub-ADNI{crashed['subject_id'][UNEVEN].replace('_', '')}/"
    assert set(before) - set(after) == {name for name in before if name.startswith(lost)}
    assert [name for name in after if after[name] != before[name]] == ["participants.tsv"]


def test_conversion_check_refuses_missing_tables(tmp_path, capsys):
    (tmp_path / "tables").mkdir()
    options = ["check-download", "--images", str(tmp_path), "--tables", str(tmp_path / "tables")]
    assert main([*options, "--out", str(tmp_path / "out")]) == 1
    assert "ADNIMERGE" in capsys.readouterr().err
