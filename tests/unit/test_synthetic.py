"""Synthetic download: determinism, geometry, known truth, and the tables that Clinica reads."""

import hashlib
from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch

from ldae.cli.main import main
from ldae.errors import UserError
from ldae.files import read_json
from ldae.synthetic import (
    PROTOCOLS,
    Atrophy,
    acquire,
    apply_atrophy,
    make_download,
    synthetic_anatomy,
)
from ldae.synthetic.bases import FOLDER, base_names, load_base
from ldae.synthetic.download import PROCESSED, REPEATED, plan_images
from ldae.synthetic.fields import Grid, exponentiate, random_velocity, sample
from ldae.synthetic.heads import intensities
from ldae.synthetic.scanner import sagittal_grid
from ldae.synthetic.series import Series, write_dicom
from ldae.synthetic.subjects import draw_cohort, draw_subject, standardised_atrophy
from ldae.synthetic.tables import adnimerge, cdr, dxsum, visit_name

BASE = "myconnectome"
MILD, SEVERE = Atrophy(25.0, 7.0, 0.8), Atrophy(50.0, 5.0, 2.0)


def jacobian(displacement: torch.Tensor, grid: Grid) -> np.ndarray:
    """Determinant of the Jacobian of ``x + displacement(x)`` at the nodes, (X, Y, Z)."""
    gradient = np.stack([np.stack(np.gradient(u, grid.step), -1) for u in displacement.numpy()], -2)
    return np.linalg.det(gradient + np.eye(3))


@pytest.fixture(scope="module")
def heads():
    anatomy = synthetic_anatomy(BASE, seed=5)
    return apply_atrophy(anatomy, MILD), apply_atrophy(anatomy, SEVERE)


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    return make_download(tmp_path_factory.mktemp("a") / "raw", 2, 2, spacing=4.0, seed=3, jobs=1)


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder``, by relative path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def volumes_of_labels(head) -> np.ndarray:
    """Ventricles and hippocampi in ml at the reference size, from the shipped labels at 1.5 mm."""
    base = head.anatomy.base
    with np.load(FOLDER / f"{base.name}.npz") as stored:
        labels = np.stack([stored["ventricles"], stored["hippocampus"]]).astype(np.float32) / 255
    grid = Grid(base.grid.origin, 1.5, labels.shape[1:])
    points = head.anatomy.into_base(grid.points())
    points = points + sample(head.displacement, base.lattice, points).T
    found = sample(torch.from_numpy(labels), grid, points).sum(1).numpy()
    return found * 1.5**3 / 1e3 * base.reference_scale**3


def test_bases_are_small_and_complete():
    assert len(base_names()) >= 2
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10e6
    base = load_base(BASE)
    assert 1000 < base.volumes["tissue"] < base.volumes["brain"] < 2100
    assert base.volumes["ventricles"] < 30
    with pytest.raises(UserError, match="no base head 'nobody'"):
        load_base("nobody")


def test_head_volumes_match_the_request_and_deformation_is_invertible(heads):
    for head in heads:
        wanted = [head.atrophy.ventricle_ml, head.atrophy.hippocampus_ml]
        np.testing.assert_allclose(volumes_of_labels(head), wanted, rtol=0.02)
        assert jacobian(head.displacement, head.anatomy.base.lattice).min() > 0
        assert jacobian(head.anatomy.shape, head.anatomy.shape_grid).min() > 0


def test_deformation_amplitudes_act_monotonically():
    anatomy = synthetic_anatomy(BASE, seed=6)
    opened = [anatomy.small_volumes(anatomy.deform(np.array([a, 0.5]), 0.5))[0] for a in (0, 2, 4)]
    shrunk = [anatomy.small_volumes(anatomy.deform(np.array([1, a]), 0.5))[1] for a in (0, 1, 2)]
    tissue = [anatomy.large_volumes(anatomy.deform(np.array([1, 1]), c))[0] for c in (0.0, 1, 2)]
    assert opened[0] < opened[1] < opened[2]
    assert shrunk[0] > shrunk[1] > shrunk[2]
    assert tissue[0] > tissue[1] > tissue[2]


def test_truth_scales_with_the_head(heads):
    truth = heads[0].truth()
    anatomy = heads[0].anatomy
    native = MILD.ventricle_ml * anatomy.size / anatomy.base.reference_scale**3
    assert truth["ventricle_ml"] == pytest.approx(native, rel=0.01)
    ratio = truth["ventricle_template_ml"] / truth["ventricle_ml"]
    assert ratio == pytest.approx(anatomy.base.scale_to_mni / anatomy.size)
    assert truth["brain_ml"] < truth["intracranial_ml"]


def test_unreachable_volume_is_refused():
    with pytest.raises(UserError, match="cannot be deformed to ventricles of 900"):
        apply_atrophy(synthetic_anatomy(BASE, seed=5), Atrophy(900.0, 6.0, 1.0))


def test_counterfactual_atrophy_changes_only_the_brain(heads):
    """The same head with more atrophy has darker ventricles, but the same skull and neck."""
    shape, affine = sagittal_grid(PROTOCOLS["ADNI3"], 3.0)
    mild, severe = (intensities(head, affine, shape, np.eye(4)) for head in heads)
    centre = np.round(np.linalg.inv(affine) @ [0, 0, 0, 1]).astype(int)[:3]
    middle = tuple(slice(c - 14, c + 14) for c in centre)
    assert severe[middle].mean() < mild[middle].mean() - 0.01
    np.testing.assert_allclose(severe[:, -12:], mild[:, -12:], atol=1e-3)  # last rows: the neck


def test_exponentiated_velocity_is_invertible():
    grid = Grid((0.0, 0.0, 0.0), 4.0, (16, 16, 16))
    velocity = random_velocity(grid, np.random.default_rng(1), 24.0, 2.0)
    forward, back = exponentiate(velocity, grid), exponentiate(-velocity, grid)
    nodes = grid.points()
    moved = nodes + forward.view(3, -1).T
    returned = moved + sample(back, grid, moved, "border").T
    inner = ((nodes > 12) & (nodes < 48)).all(1)
    assert (moved - nodes)[inner].abs().max() > 1
    assert (returned - nodes)[inner].abs().max() < 0.15


def test_dicom_geometry_and_names(tmp_path, heads):
    """Affine rebuilt from the headers (DICOM PS3.3 C.7.6.2.1.1) equals the scan's."""
    scan = acquire(heads[0], PROTOCOLS["ADNI1"], 4.0, np.random.default_rng(0))
    moment = datetime(2006, 5, 2, 13, 30, 21)
    series = Series("991_S_0101", "Male", 75.2, "MP-RAGE", moment, 9, 7, 8, 1.5)
    folder = write_dicom(scan, series, tmp_path)
    assert folder == tmp_path / "991_S_0101/MP-RAGE/2006-05-02_13_30_21.0/I8"
    files = sorted(folder.glob("ADNI_991_S_0101_MR_MP-RAGE_br_raw_*_S7_I8.dcm"))
    slices = sorted((pydicom.dcmread(path) for path in files), key=lambda d: d.InstanceNumber)
    assert len(slices) == scan.array.shape[0] == len({d.SOPInstanceUID for d in slices})
    assert len({d.SeriesInstanceUID for d in slices}) == 1

    first, last = slices[0], slices[-1]
    rightwards, downwards = np.reshape(first.ImageOrientationPatient, (2, 3)).astype(float)
    across = np.subtract(last.ImagePositionPatient, first.ImagePositionPatient) / (len(slices) - 1)
    columns = (across, downwards * first.PixelSpacing[0], rightwards * first.PixelSpacing[1])
    affine = np.eye(4)
    affine[:3, :3] = np.stack(columns, 1)
    affine[:3, 3] = first.ImagePositionPatient
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ affine, scan.affine, atol=1e-6)
    assert nib.aff2axcodes(scan.affine) == ("L", "I", "P")
    np.testing.assert_array_equal(np.stack([d.pixel_array for d in slices]), scan.array)
    assert first.PatientName == "SYNTHETIC^NOT A PERSON"
    assert first.MagneticFieldStrength == 1.5


def test_synthetic_image_is_upright(heads):
    """Nose in front, neck below: guards the signs of the axes, which headers alone do not."""
    shape, affine = sagittal_grid(PROTOCOLS["ADNI3"], 4.0)
    signal = nib.as_closest_canonical(
        nib.Nifti1Image(intensities(heads[0], affine, shape, np.eye(4)), affine)
    ).get_fdata()
    head = signal > 0.15
    assert head[:, :, :6].sum() > 3 * head[:, :, -6:].sum()
    face = head[:, :, 10:18].any(axis=(0, 2))
    assert np.argmax(face[::-1]) < np.argmax(face)


def test_synthetic_cohort_is_plausible_and_balanced():
    cohort = draw_cohort(120, 3, seed=1)
    atrophy = {group: [] for group in ("CN", "MCI", "AD")}
    ages = {group: [] for group in atrophy}
    for subject in cohort:
        steps = [standardised_atrophy(visit.atrophy) for visit in subject.visits]
        assert steps == sorted(steps)
        atrophy[subject.group].append(steps[0])
        ages[subject.group].append(subject.age)
    assert np.mean(atrophy["CN"]) + 0.4 < np.mean(atrophy["MCI"]) < np.mean(atrophy["AD"]) - 0.4
    assert min(ages["AD"]) < np.median(ages["CN"]) < max(ages["AD"])
    assert [len(atrophy[group]) for group in ("CN", "MCI", "AD")] == [48, 24, 48]
    assert max(atrophy["CN"]) > min(atrophy["AD"])  # overlapping groups
    people = [(s.group, s.base, s.phase) for s in cohort if s.group != "MCI"]
    cn = sorted(person[1:] for person in people if person[0] == "CN")
    assert cn == sorted(person[1:] for person in people if person[0] == "AD")
    assert len({subject.ptid for subject in cohort}) == len(cohort)
    assert all(subject.site > 990 for subject in cohort)
    assert [subject.group for subject in cohort[:6]] == ["CN", "AD", "CN", "AD", "MCI", "CN"]
    with pytest.raises(UserError, match="between 1 and"):
        draw_cohort(5, 9, seed=1)


def test_download_bytes_do_not_depend_on_jobs_or_number_of_subjects(download, tmp_path):
    other = make_download(tmp_path / "raw", 3, 2, spacing=4.0, seed=3, jobs=2)
    mine, longer = contents(download / "images"), contents(other / "images")
    assert len(mine) > 50
    assert mine == {path: longer[path] for path in mine}
    for table in sorted((download / "tables").glob("*.csv")):
        assert (other / "tables" / table.name).read_text().startswith(table.read_text())
    short = (download / "truth.tsv").read_text()
    assert (other / "truth.tsv").read_text().startswith(short)
    assert draw_subject(4, 0, 2) != draw_subject(3, 0, 2)


def test_tables_join_with_images_and_truth(download):
    tables = {path.stem: pd.read_csv(path) for path in (download / "tables").glob("*.csv")}
    assert {
        "ADNIMERGE", "MPRAGEMETA", "MRIQUALITY", "MAYOADIRL_MRI_IMAGEQC_05_07_15", "APOERES",
        "DXSUM_PDXCONV", "CDR",
    } == set(tables)  # fmt: skip
    needed = [
        "RID", "COLPROT", "ORIGPROT", "PTID", "SITE", "VISCODE", "EXAMDATE", "EXAMDATE_bl", "DX_bl",
        "DX", "AGE", "PTGENDER", "PTEDUCAT", "PTETHCAT", "PTMARRY", "APOE4", "PIB", "AV45", "ABETA",
        "PTAU", "MMSE", "MMSE_bl", "ADAS11_bl", "ADAS13_bl", "ADASQ4_bl", "RAVLT_immediate_bl",
        "TRABSCOR_bl", "MOCA_bl", "mPACCdigit_bl", "mPACCtrailsB_bl", "CDRSB",
    ]  # fmt: skip
    assert set(needed) <= set(tables["ADNIMERGE"].columns)
    assert list(tables["MPRAGEMETA"].columns) == [
        "Orig/Proc", "SubjectID", "Visit", "MagStrength", "Sequence", "ScanDate", "StudyID",
        "SeriesID", "ImageUID",
    ]  # fmt: skip
    truth = pd.read_csv(download / "truth.tsv", sep="\t", dtype={"image_id": str})
    assert list(truth.session_id) == ["ses-M000", "ses-M006"] * 2
    listed = set(tables["MPRAGEMETA"].ImageUID.astype(str))
    for row in truth.itertuples():
        found = list((download / "images").rglob(f"*_I{row.image_id}.*"))
        assert found and row.image_id in listed
        assert found[0].relative_to(download / "images").parts[0].replace("_", "") in (
            row.participant_id
        )
    first = nib.load(next((download / "images").rglob(f"*_I{truth.image_id[0]}.nii")))
    assert nib.aff2axcodes(first.affine) == ("L", "I", "P")
    growth = truth.groupby("participant_id").ventricle_ml.agg(["first", "last"])
    assert (growth["last"] > growth["first"]).all()


def test_download_contains_the_planned_faults():
    cohort = draw_cohort(10, 3, seed=1)
    plans = {subject.index: plan_images(subject) for subject in cohort}
    assert [image.kind for image in plans[2] if image.visit.number == 0] == [0, REPEATED]
    assert not any(image.visit.number == 2 for image in plans[3])  # a visit without a scan
    lost = [image for image in plans[6] if image.visit.number == 2]
    assert [(image.on_disk, image.listed) for image in lost] == [(False, True)]
    stray = [image for image in plans[1] if not image.listed]
    assert len(stray) == 1 and stray[0].on_disk
    processed = [image for image in plans[0] if image.kind == PROCESSED]
    assert [image.on_disk for image in processed] == [True, True]
    merged = adnimerge(cohort, seed=1)
    assert len(merged) == 30
    assert merged[merged.DX == ""].PTID.tolist() == [cohort[8].ptid]
    summary = dxsum(cohort)
    assert summary.duplicated(["PTID", "VISCODE2"]).sum() == 1
    assert (cdr(cohort).groupby("RID").VISCODE2.first() == "bl").all()


def test_visit_names_match_clinica():
    assert visit_name("ADNI1", 0) == visit_name("ADNI3", 0) == "ADNI Screening"
    assert visit_name("ADNI1", 6) == "ADNI1/GO Month 6"
    assert visit_name("ADNI2", 0) == "ADNI2 Screening MRI-New Pt"
    assert visit_name("ADNI2", 12) == "ADNI2 Year 1 Visit"


def test_synthetic_command_replaces_only_its_own_folder(download, tmp_path, capsys):
    kept = tmp_path / "notes.txt"
    kept.write_text("mine")
    assert main(["synthetic", "--out", str(tmp_path), "--subjects", "1"]) == 1
    assert "was not made by this command" in capsys.readouterr().err
    assert kept.read_text() == "mine"
    before = read_json(download / "synthetic.json")
    assert before["arguments"]["subjects"] == 2
    again = ["--subjects", "1", "--visits", "1", "--spacing", "5", "--seed", "3"]
    assert main(["synthetic", "--out", str(download), *again]) == 0
    assert len(list((download / "images").iterdir())) == 1
    assert not list(download.parent.glob(".tmp*"))
