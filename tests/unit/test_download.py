"""ADNI download: image checks, image index, change hash, link tree, plan of the conversion."""

import errno
import gzip
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from ldae.conversion.bids import acquisition
from ldae.conversion.change_hashes import download_hash
from ldae.conversion.clinica import make_link_tree
from ldae.conversion.clinica_tables import OTHER_IMAGES
from ldae.conversion.download import find_folders
from ldae.conversion.image_checks import dicom_fault, nifti_fault
from ldae.conversion.image_index import index_images
from ldae.conversion.plan import plan_conversion, write_plan
from ldae.derivatives import shard_of
from ldae.errors import UserError
from ldae.files import read_table, write_table

PTID = "002_S_0413"
ROWS, SLICES = 8, 24


def header(number):
    """A slice of a regular series: 1.2 mm apart, 1 mm pixels."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = MRImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
    data.Manufacturer, data.InstitutionName = "SIEMENS", "St Elsewhere"
    data.PatientName, data.PatientID, data.PatientBirthDate = "Doe^Jane", PTID, "19300102"
    data.RepetitionTime, data.EchoTime, data.FlipAngle = 2300.0, 2.98, 9.0
    data.SeriesInstanceUID = "1.2.3"
    data.ImagePositionPatient = [1.2 * number, 0, 0]
    data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    data.PixelSpacing = [1.0, 1.0]
    data.Rows = data.Columns = ROWS
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = bytes(2 * ROWS * ROWS)
    return data


def put_series(folder, image="I40000", change=None):
    """Write a series; ``change(header, number)`` may damage the header of each slice."""
    folder.mkdir(parents=True)
    for number in range(SLICES):
        data = header(number)
        if change:
            change(data, number)
        name = f"ADNI_{PTID}_MR_MP-RAGE_br_raw_20060102_{number}_S7_{image}.dcm"
        data.save_as(folder / name, enforce_file_format=True)
    return sorted(folder.iterdir())


def put_nifti(path, voxels=None, zooms=(1.0, 1.0, 1.2)):
    path.parent.mkdir(parents=True, exist_ok=True)
    if voxels is None:
        voxels = np.arange(24**3, dtype=np.int16).reshape(24, 24, 24)
    nib.save(nib.Nifti1Image(voxels, np.diag([*zooms, 1])), path)
    return path


# --- One image ---------------------------------------------------------------------------------


def tags(number, **values):
    """A change for :func:`put_series`: these tags of slice ``number``."""
    return lambda data, at: [setattr(data, k, v) for k, v in values.items() if at == number]


DICOM_FAULTS = {
    "series": (tags(5, SeriesInstanceUID="1.2.4"), "2 series are mixed"),
    "turned": (tags(5, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), "more than one orientation"),
    "twice": (tags(5, ImagePositionPatient=[1.2 * 6, 0, 0]), "there twice"),
    "gap": (tags(23, ImagePositionPatient=[1.2 * 24, 0, 0]), "missing: 24 slices 1.20 mm apart"),
    "zero spacing": (tags(5, PixelSpacing=[0.0, 0.0]), "pixel spacing is absent or zero"),
    "no position": (lambda data, at: data.__delattr__("ImagePositionPatient"), "no position"),
    "coarse": (lambda data, at: setattr(data, "PixelSpacing", [6.5, 6.5]), "6.50 x 6.50 x 1.20 mm"),
    "person": (tags(5, PatientID="123_S_4567"), "PatientID in the header is not that of the subj"),
    "size": (tags(5, Rows=4), "numbers of rows and columns"),
    "short": (tags(5, PixelData=bytes(64)), "1 of 24 files are cut off"),
}


@pytest.mark.parametrize("name", DICOM_FAULTS)
def test_dicom_faults(name, tmp_path):
    change, words = DICOM_FAULTS[name]
    fault = dicom_fault(put_series(tmp_path / "a", change=change), PTID)
    assert words in fault
    assert "Doe" not in fault and "123" not in fault


def test_dicom_faults_of_missing_truncated_or_foreign_files(tmp_path):
    files = put_series(tmp_path / "a")
    assert dicom_fault(files, PTID) is None
    os.truncate(files[3], files[3].stat().st_size - 10)
    assert "1 of 24 files are cut off" in dicom_fault(files, PTID)
    os.truncate(files[3], 150)
    assert "1 of 24 files c" in dicom_fault(files, PTID)
    files[3].write_bytes(b"no DICOM at all" * 40)
    assert "no DICOM" in dicom_fault(files, PTID)
    files[3].unlink()
    files[3].symlink_to("/nowhere")
    assert "1 of 24 files cannot be read (No such file" in dicom_fault(files, PTID)
    assert "Only 3 slices" in dicom_fault(files[:3], PTID)


def test_nifti_faults(tmp_path):
    path = tmp_path / "x.nii"
    voxels = np.random.default_rng(1).normal(size=(24, 24, 24)).astype(np.float32)
    assert nifti_fault(put_nifti(path, voxels)) is None
    for damaged, words in (
        (np.where(voxels > 2, np.nan, voxels).astype(np.float32), "not finite"),
        (np.full_like(voxels, 7), "constant"),
        (np.stack([voxels] * 2, axis=-1), "4-D"),
        (voxels[..., None, None] * 0, "constant"),
        (voxels[:, :, :5], "Only 5 slices"),
    ):
        assert words in nifti_fault(put_nifti(path, damaged))
    assert nifti_fault(put_nifti(path, voxels[..., None])) is None
    assert "too unequal" in nifti_fault(put_nifti(path, voxels, zooms=(1.0, 1.0, 5.5)))
    put_nifti(path, voxels)
    os.truncate(path, 5000)
    assert "cut off" in nifti_fault(path)
    path.write_bytes(b"")
    assert "cannot be read" in nifti_fault(path)


def test_acquisition_has_bids_units_and_no_personal_data(tmp_path):
    found = acquisition(put_series(tmp_path / "a")[0])
    assert found == {
        "Manufacturer": "SIEMENS", "RepetitionTime": 2.3, "EchoTime": 0.00298, "FlipAngle": 9.0,
    }  # fmt: skip


# --- All images --------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    """Two archives: a series and a processed image of one subject, and an image of another."""
    root = tmp_path / "images"
    series = root / "ADNI1" / "ADNI" / PTID / "MP-RAGE" / "2006-01-02_10_00_00.0" / "I40000"
    put_series(series)
    put_nifti(root / "ADNI2" / PTID / "Scaled" / f"ADNI_{PTID}_MR_Scaled_S7_I40001.nii")
    put_nifti(root / "011_S_0005" / "MP-RAGE" / "ADNI_011_S_0005_MR_I40002.nii.gz")
    return root


LISTED = {"I40000", "I40001", "I40002"}


def test_index_finds_images_of_archives_unpacked_side_by_side(images):
    index = index_images(images, LISTED)
    assert list(index["image_id"]) == ["I40000", "I40001", "I40002"]
    assert list(index["subject_id"]) == [PTID, PTID, "011_S_0005"]
    assert list(index["format"]) == ["dicom", "nifti", "nifti"]
    assert list(index["files"]) == [SLICES, 1, 1] and index["status"].isna().all()
    assert index["path"][0].endswith("10_00_00.0/I40000") and index["path"][1].endswith(".nii")
    pd.testing.assert_frame_equal(index, index_images(images, LISTED, jobs=2))


@pytest.mark.parametrize(
    ("keyword", "value", "given"),
    [
        ("ContrastBolusAgent", "Gadavist", "ContrastBolusAgent"),
        ("ContrastBolusIngredient", "GADOLINIUM", "ContrastBolusIngredient"),
        ("ContrastBolusAgent", "", None),
        ("ContrastBolusAgent", "NONE", None),
        ("ContrastBolusAgent", "None used", None),
        ("ContrastBolusAgent", "w/o contrast", None),
        ("ContrastBolusAgent", "Non contrast", None),
        ("ContrastBolusAgent", "no contrast given", None),
    ],
)
def test_index_never_takes_dicom_with_contrast_agent(images, keyword, value, given):
    folder = next(images.rglob("I40000"))
    shutil.rmtree(folder)
    put_series(folder, change=lambda data, at: setattr(data, keyword, value))
    row = index_images(images, LISTED).set_index("image_id").loc["I40000"]
    if given is None:
        assert pd.isna(row["status"]) and pd.isna(row["reason"])
    else:
        assert row["status"] == "not_chosen"
        assert (
            row["reason"]
            == f"The scan was taken with contrast agent ({given} in its DICOM header)."
        )


def test_index_skips_other_files_and_lists_unrecognised_names(images):
    folder = next(images.rglob("I40000"))
    (folder.parent / f"ADNI_{PTID}_MR_S7_I40000.xml").touch()
    (folder / f"._ADNI_{PTID}_S7_I40000.dcm").touch()
    (images / "ADNI_MPRAGE.zip").touch()
    nameless = images / PTID / "odd"
    nameless.mkdir(parents=True)
    for number in range(3):
        (nameless / f"slice{number}.DCM").touch()
    (images / "011_S_0005" / "scan_I40009.mnc").touch()
    index = index_images(images, LISTED | {"I40009"})
    assert index.loc[index["image_id"] == "I40000", "files"].item() == SLICES
    lost = index[index["image_id"].isna()].set_index("path")
    assert list(lost.index) == [f"{PTID}/odd", "ADNI_MPRAGE.zip"]
    assert list(lost["files"]) == [3, 1] and set(lost["status"]) == {"unrecognised"}
    assert "_I<ImageUID>" in lost["reason"].iloc[0] and "not unpacked" in lost["reason"].iloc[1]
    other = index[index["image_id"] == "I40009"].iloc[0]
    assert (other["status"], other["format"]) == ("corrupt", "other")


def test_index_lists_dicom_that_its_names_do_not_show(tmp_path):
    """Scanner exports and repacked archives lose or change the ending of names."""
    for subject, number, ending in (
        ("002_S_9001", 7001, ".dcm"), ("002_S_9002", 7002, ""), ("002_S_9003", 7003, ".dcm.gz"),
        ("002_S_9004", 7004, ".001"), ("002_S_9005", None, ""),
    ):  # fmt: skip
        folder = tmp_path / subject / "MPRAGE" / "2012-05-08_14_35_25.0" / "scan"
        folder.mkdir(parents=True)
        for slice_ in range(3):
            end = f"_I{number}{ending}" if number else f"{slice_}"
            name = f"ADNI_{subject}_MR_MPRAGE_br_raw_{slice_:03d}_{slice_}_S6000{end}"
            content = gzip.compress(b"") if ending.endswith("gz") else bytes(128) + b"DICM" + b"x"
            (folder / name).write_bytes(content)
        (folder / "README").write_text("no image")
        (folder / "notes.txt").write_bytes(bytes(128) + b"DICM")
    table = index_images(tmp_path, {f"I700{n}" for n in range(1, 5)}).set_index("subject_id")
    assert table["files"].tolist() == [3] * 5
    assert table["image_id"].tolist()[:4] == ["I7001", "I7002", "I7003", "I7004"]
    for subject in ("002_S_9002", "002_S_9004"):
        assert table.loc[subject, "reason"].endswith("do not end in .dcm. Rename them so.")
    assert "alone are converted" in table.loc["002_S_9003", "reason"]
    assert table.loc["002_S_9005", "status"] == "unrecognised"
    assert "_I<ImageUID>.dcm" in table.loc["002_S_9005", "reason"]


def test_index_accepts_identical_copies_of_an_image_only(images):
    folder = next(images.rglob("I40000"))
    again = images / "ADNI2" / PTID / "MP-RAGE" / "I40000"
    shutil.copytree(folder, again)
    row = index_images(images, LISTED).iloc[0]
    assert (row["files"], row["status"]) == (SLICES, None)
    next(again.iterdir()).write_bytes(b"other")
    row = index_images(images, LISTED).iloc[0]
    assert row["status"] == "corrupt" and "2 times with different content" in row["reason"]


def test_index_marks_paths_that_are_not_utf_8_corrupt(images):
    path = next(images.rglob("*I40002.nii.gz"))
    path.rename(os.fsdecode(os.fsencode(path.parent) + b"/caf\xe9_I40002.nii.gz"))
    (path.parent / os.fsdecode(b"caf\xe9.nii")).touch()
    index = index_images(images, LISTED).set_index("image_id")
    assert index["status"]["I40002"] == "corrupt" and "not UTF-8" in index["reason"]["I40002"]
    assert "".join(index["path"]).encode() and download_hash(images)


def test_index_marks_file_of_another_subject_corrupt(images):
    path = next(images.rglob("*I40002.nii.gz"))
    path.rename(path.with_name("ADNI_011_S_0006_MR_I40002.nii.gz"))
    row = index_images(images, LISTED).set_index("image_id").loc["I40002"]
    assert row["status"] == "corrupt" and "another subject" in row["reason"]


def test_index_follows_links_but_not_in_circles(images, tmp_path):
    (images / "011_S_0005").rename(tmp_path / "elsewhere")
    (images / "011_S_0005").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "MP-RAGE" / "round").symlink_to(tmp_path / "elsewhere")
    assert list(index_images(images, LISTED)["image_id"]) == ["I40000", "I40001", "I40002"]
    assert list(find_folders(images).subjects) == [PTID, "011_S_0005"]


def test_index_content_changes_with_modification_time_of_a_file(images):
    before = index_images(images, LISTED)["content"]
    path = next(images.rglob("*I40001.nii"))
    os.utime(path, ns=(1, 1))
    changed = index_images(images, LISTED)["content"] != before
    assert list(changed) == [False, True, False]


def test_download_hash_changes_with_visit_image_or_subject_folder(images, tmp_path):
    first = download_hash(images)
    assert download_hash(images) == first and download_hash(tmp_path / "none") == "absent"
    visit = next(images.rglob("2006-01-02_10_00_00.0")).with_name("2007-01-02_10_00_00.0")
    visit.mkdir()
    second = download_hash(images)
    (visit / "I40007").mkdir()
    third = download_hash(images)
    (images / "ADNI2" / "023_S_0030").mkdir()
    assert len({first, second, third, download_hash(images)}) == 4


def test_download_hash_changes_with_lost_slice_and_replaced_file(images, tmp_path):
    folder = next(images.rglob("I40000"))
    first = download_hash(images)
    slices = sorted(folder.iterdir())
    slices[5].rename(tmp_path / "slice")
    second = download_hash(images)
    (tmp_path / "slice").rename(slices[5])
    content = slices[3].read_bytes()
    slices[3].write_bytes(content[:400])
    index = index_images(images, LISTED)
    assert list(index["status"] == "corrupt") == [True, False, False]
    write_table(index, tmp_path / "images.tsv")
    third = download_hash(images, tmp_path / "images.tsv")
    assert len({first, second, third}) == 3
    assert third == download_hash(images)  # nothing has changed since the check
    slices[3].write_bytes(content)
    assert download_hash(images, tmp_path / "images.tsv") != third == download_hash(images)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_plan_lists_folders_that_cannot_be_opened(images, tables, monkeypatch, code):
    real = os.scandir

    def refuse(path):
        if Path(path).name == "ADNI2":
            raise OSError(code, os.strerror(code), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_folders(images).elsewhere == [images / "ADNI2"]
    plan = plan_conversion(images, *tables, 2).set_index("path")
    assert list(plan["image_id"].dropna()) == ["I40000", "I40002"]
    row = plan.loc["ADNI2"]
    assert row["status"] == "unrecognised" and os.strerror(code) in row["reason"]
    assert download_hash(images)
    monkeypatch.setattr(os, "scandir", lambda path: refuse("ADNI2"))
    with pytest.raises(UserError, match="images cannot be opened"):
        find_folders(images)


def test_make_link_tree_is_flat_with_lower_case_extensions(images, tmp_path):
    folder = next(images.rglob("I40000"))
    for path in sorted(folder.iterdir()):
        path.rename(path.with_suffix(".DCM"))
    (folder / "notes_I40000.xml").touch()
    index = index_images(images, LISTED)
    assert index["status"].isna().all()
    make_link_tree(images, index, tmp_path / "view")
    shown = sorted(path.relative_to(tmp_path / "view") for path in (tmp_path / "view").rglob("*.*"))
    assert len(shown) == SLICES + 2
    assert {path.suffix for path in shown} == {".dcm", ".nii", ".gz"}
    assert {str(path.parent) for path in shown} == {
        f"{PTID}/I40000", f"{PTID}/I40001", "011_S_0005/I40002",
    }  # fmt: skip
    assert all((tmp_path / "view" / path).is_file() for path in shown)


# --- The plan ----------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path):
    """The prepared tables that the plan reads, and an empty table of exclusions."""
    folder = tmp_path / "tables"
    folder.mkdir()
    subjects = [PTID, PTID, "011_S_0005"]
    pd.DataFrame({"PTID": [PTID, "011_S_0005"], "ORIGPROT": "ADNI1"}).to_csv(
        folder / "ADNIMERGE.csv", index=False
    )
    pd.DataFrame({"SubjectID": subjects, "ImageUID": [40000, 40001, 40002]}).to_csv(
        folder / "MPRAGEMETA.csv", index=False
    )
    (folder / OTHER_IMAGES).write_text("image_id\tdescription\nI4\tADNI Brain PET: Raw\n")
    exclusions = tmp_path / "held_back.tsv"
    exclusions.write_text("image_id\tstatus\treason\n")
    return folder, exclusions


def test_plan_gives_every_image_a_batch_or_a_reason(images, tables, tmp_path):
    folder, exclusions = tables
    put_nifti(images / "003_S_4444" / "x_I1.nii")
    put_nifti(images / "003_S_6666" / "x_I2.nii")
    put_nifti(images / "x_I3.nii")
    put_nifti(images / PTID / "x_I4.nii")
    put_nifti(images / "011_S_0005" / "x_I40001.nii")
    exclusions.write_text(
        "image_id\tstatus\treason\nI2\tunsupported\tIt is of ADNI4.\nI40000\trejected_qc\tMayo.\n"
    )
    plan = plan_conversion(images, folder, exclusions, 5)
    rows = {(row.subject_id, row.image_id): row for row in plan.itertuples()}
    assert rows[PTID, "I40000"].status == "rejected_qc"
    assert rows["011_S_0005", "I40001"].status == "corrupt"
    assert "another subject" in rows["011_S_0005", "I40001"].reason
    assert pd.isna(rows["011_S_0005", "I40002"].status)
    assert rows["003_S_4444", "I1"].status == "no_metadata"
    assert "003_S_4444" in rows["003_S_4444", "I1"].reason
    assert (rows["003_S_6666", "I2"].status, rows["003_S_6666", "I2"].reason) == (
        "unsupported", "It is of ADNI4.",
    )  # fmt: skip
    assert rows[PTID, "I4"].status == "not_chosen"
    assert "'ADNI Brain PET: Raw', which is not T1-weighted" in rows[PTID, "I4"].reason
    assert plan.loc[plan["image_id"] == "I3", "status"].item() == "no_metadata"
    in_batch = plan["subject_id"].isin([PTID, "011_S_0005"])
    assert plan["batch"].isna().equals(~in_batch)
    assert set(plan.loc[plan["subject_id"] == PTID, "batch"]) == {shard_of(PTID, 5)}
    paths = {number: tmp_path / f"batch-{number}.tsv" for number in range(5)}
    write_plan(plan, tmp_path / "images.tsv", paths)
    assert len(read_table(tmp_path / "images.tsv")) == len(plan)
    assert sum(len(read_table(path)) for path in paths.values()) == in_batch.sum()


def test_shard_of_is_stable():
    """Frozen: another hash would convert every download again."""
    assert [shard_of(f"002_S_{number:04d}", 7) for number in range(8)] == [1, 2, 1, 6, 0, 4, 3, 4]


def test_plan_refuses_wrong_image_folder(images, tables, tmp_path):
    folder, exclusions = tables
    with pytest.raises(UserError, match=r"/nowhere does not exist"):
        plan_conversion("/nowhere", folder, exclusions, 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no image named \.\.\._I<ImageUID>"):
        plan_conversion(tmp_path / "empty", folder, exclusions, 2)
    meta = pd.read_csv(folder / "MPRAGEMETA.csv", dtype=str).assign(ImageUID="1")
    meta.to_csv(folder / "MPRAGEMETA.csv", index=False)
    with pytest.raises(UserError, match=r"None of the 3 images .* \(such as I40000\)"):
        plan_conversion(images, folder, exclusions, 2)
