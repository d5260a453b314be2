"""Heads that come as DICOM: what dcm2niix names them, and which series is taken."""

import shutil
import sys
from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ldae.application import dicom
from ldae.application.inputs import BRAIN, HEAD, find_scans
from ldae.errors import UserError
from ldae.files import write_json
from ldae.synthetic.scanner import Scan
from ldae.synthetic.series import Series, write_dicom

BESIDE = Path(sys.prefix).parent / "clinica/bin/dcm2niix"  # of `make env`
converts = pytest.mark.skipif(
    not (BESIDE.is_file() or shutil.which("dcm2niix")), reason="dcm2niix is not installed"
)


def write_examination(folder: Path, study: int, description: str = "MP-RAGE") -> None:
    """A small series of 64 slices as a scanner's files, one each."""
    voxels = np.random.default_rng(study).integers(0, 1000, (64, 64, 64)).astype(np.uint16)
    axes = np.array([[1.0, 0, 0], [0, 0, -1], [0, -1, 0]])  # slices, rows down, columns backwards
    affine = np.eye(4)
    affine[:3, :3] = axes
    moment = datetime(2020, 1, study)
    series = Series("person", "Male", 70, description, moment, study, study, study, 3.0)
    write_dicom(Scan(voxels, affine), series, folder)


@converts
def test_names_of_dcm2niix_lose_the_number_of_the_examination(tmp_path):
    write_examination(tmp_path / "in", 1, "MP-RAGE_series-2_SAG")
    found = dicom.convert(tmp_path / "in", tmp_path / "out")
    assert found.name == "2_MP-RAGE_series-2_SAG.nii.gz"  # number and description alone
    assert nib.load(found).shape == (64, 64, 64)


@converts
def test_two_examinations_in_one_folder_are_refused(tmp_path):
    for study in (1, 2):
        write_examination(tmp_path / "in", study)
    with pytest.raises(UserError, match="holds 2 examinations: name the folder of one"):
        dicom.convert(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_series(folder: Path, name: str, shape: tuple[int, ...], **about) -> None:
    image = nib.Nifti1Image(np.ones(shape, np.uint8), np.diag([1.0, 1, 1, 1]))
    nib.save(image, folder / f"{name}.nii.gz")
    write_json(about, folder / f"{name}.json")


def test_series_of_an_examination_are_chosen_by_what_their_headers_say(tmp_path, monkeypatch):
    studies = ["1.2"]

    def dcm2niix(source: Path, out: Path) -> None:
        for study in studies:
            name = f"{study}{dicom.BETWEEN}{{}}".format
            write_series(out, name("1_localizer"), (64, 64, 3))
            write_series(out, name("2_AX_T2_FLAIR"), (64, 64, 64))
            write_series(out, name("3_SAG_IR-SPGR"), (64, 64, 64))
            write_series(out, name("4_MPRAGE_post"), (64, 64, 64), ContrastBolusAgent="GADOLINIUM")
            write_series(out, name("5_fmri_T1_ref"), (64, 64, 64, 2))
            write_series(out, name("6_MPRAGE"), (64, 64, 64))

    monkeypatch.setattr(dicom, "_dcm2niix", dcm2niix)
    assert dicom.convert(tmp_path, tmp_path / "out") == tmp_path / "out/3_SAG_IR-SPGR.nii.gz"
    table = pd.read_csv(tmp_path / "out/series.tsv", sep="\t").set_index("series")["reason"]
    assert table["3_SAG_IR-SPGR"] == "chosen" and "comes first" in table["6_MPRAGE"]
    assert "no 3-D head" in table["1_localizer"] and "contrast" in table["4_MPRAGE_post"]
    assert "names no T1" in table["2_AX_T2_FLAIR"] and "4 axes" in table["5_fmri_T1_ref"]
    studies.append("1.3")
    with pytest.raises(UserError, match="holds 2 examinations"):
        dicom.convert(tmp_path, tmp_path / "other")

    monkeypatch.undo()
    monkeypatch.setattr(dicom.shutil, "which", lambda name: None)
    monkeypatch.setattr(dicom.sys, "prefix", str(tmp_path))
    with pytest.raises(UserError, match="dcm2niix, which converts DICOM, is not on PATH"):
        dicom.convert(tmp_path, tmp_path / "third")


def test_dicom_folders_of_one_name_are_two_heads(tmp_path):
    for person in "AB":
        folder = tmp_path / person / "DICOM"
        folder.mkdir(parents=True)
        (folder / "IM0001").write_bytes(b"\0" * 128 + b"DICM" + person.encode())
    given = [tmp_path / person / "DICOM" for person in "AB"]
    with pytest.raises(UserError, match="would both be called DICOM"):
        find_scans(given, HEAD)
    (tmp_path / "list.csv").write_text("scan_id,path\nA,A/DICOM\nB,B/DICOM\n")
    scans = find_scans([tmp_path / "list.csv"], HEAD)
    assert [scan.path for scan in scans] == given
    assert scans[0].content() != scans[1].content()
    with pytest.raises(UserError, match="no preprocessed scan"):
        find_scans(given[:1], BRAIN)
