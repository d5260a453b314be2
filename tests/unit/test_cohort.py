"""The cohort: checks of a download, finishing of BIDS, scan table, splits, ledger, tables."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest

from ldae.cohort import ledger as ledger_module
from ldae.cohort.__main__ import main
from ldae.cohort.bids import image_fault, scan_path
from ldae.cohort.convert import finish_bids, prepare
from ldae.cohort.download import find_subjects, index_files
from ldae.cohort.scans import build_scans, shard_of
from ldae.cohort.splits import assert_disjoint, make_splits
from ldae.cohort.table1 import cohort_table, flow_table
from ldae.cohort.tables import REQUIRED, read_required_tables, read_study_table
from ldae.errors import UserError
from ldae.files import read_table, write_table

SCHEMA = Path(__file__).parents[2] / "workflow/schemas/scans.schema.yaml"
PTIDS = ("002_S_0413", "011_S_0005", "023_S_0030")
VISITS = {"bl": "ADNI Screening", "m06": "ADNI1/GO Month 6"}
BAD_QC, RIVAL, UNLISTED, NO_FILE = "I40901", "I40902", "I40903", "I40005"


def scan_of(ptid, code):
    month = {"bl": 0, "m06": 6}[code]
    return f"sub-ADNI{ptid.replace('_', '')}_ses-M{month:03d}"


def image_id(subject, visit):
    return f"I4000{2 * subject + visit}"


@pytest.fixture
def download(tmp_path):
    """Three subjects, two visits: images and study tables as ADNI delivers them."""
    images, tables = tmp_path / "images", tmp_path / "tables"
    tables.mkdir()
    merge, meta = [], []
    for i, ptid in enumerate(PTIDS):
        for j, (code, visit) in enumerate(VISITS.items()):
            merge.append(
                dict.fromkeys(REQUIRED["ADNIMERGE"].columns, "1")
                | {"PTID": ptid, "RID": str(int(ptid[-4:])), "VISCODE": code, "DX": "MCI"}
                | {"ORIGPROT": "ADNI1", "COLPROT": "ADNI1"}
                | {"EXAMDATE": f"2006-0{1 + 6 * j}-02", "EXAMDATE_bl": "2006-01-02"}
            )
            meta.append(meta_row(ptid, visit, image_id(i, j)))
            if image_id(i, j) != NO_FILE:
                put_dicom(images, ptid, image_id(i, j))
    meta += [meta_row(PTIDS[0], VISITS["bl"], BAD_QC), meta_row(PTIDS[0], VISITS["m06"], RIVAL)]
    for extra in (BAD_QC, RIVAL, UNLISTED):
        put_dicom(images, PTIDS[0], extra)
    content = {
        "ADNIMERGE": merge,
        "MPRAGEMETA": meta,
        "MRIQUALITY": [{"RID": "413", "LONIUID": f"S{BAD_QC[1:]}", "PASS": "0"}],
        "MAYOADIRL_MRI_IMAGEQC_05_07_15": [
            {"RID": "9", "loni_image": "I1", "series_type": "T1", "series_quality": "1"}
            | {"series_selected": "1"}
        ],
        "APOERES": [{"RID": "413", "GENOTYPE": "3/4"}],
        "DXSUM_PDXCONV": [{"PTID": PTIDS[0], "VISCODE2": "sc", "DIAGNOSIS": "1"}],
    }
    for name, rows in content.items():
        pd.DataFrame(rows).to_csv(tables / f"{name}.csv", index=False)
    return images, tables


def meta_row(ptid, visit, image):
    return {
        "Orig/Proc": "Original", "SubjectID": ptid, "Visit": visit, "MagStrength": "1.5",
        "Sequence": "MP-RAGE", "ScanDate": "2006-01-02", "StudyID": "7", "SeriesID": image[1:],
        "ImageUID": image[1:],
    }  # fmt: skip


def put_dicom(images, ptid, image, slices=(1, 2, 3)):
    folder = images / ptid / "MP-RAGE" / "2006-01-02_10_00_00.0" / image
    folder.mkdir(parents=True)
    for number in slices:
        name = f"ADNI_{ptid}_MR_MP-RAGE_br_raw_20060102_{number}_S{image[1:]}_{image}.dcm"
        (folder / name).touch()
    return folder


def edit(path, change):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table)
    table.to_csv(path, index=False)


def clinica_output(root, images):
    """What Clinica leaves after converting the download: raw, with its order of columns."""
    rows = []
    for i, ptid in enumerate(PTIDS):
        subject = f"sub-ADNI{ptid.replace('_', '')}"
        for j, (code, visit) in enumerate(VISITS.items()):
            image, scan = image_id(i, j), scan_of(ptid, code)
            path = "" if image == NO_FILE else str(images / ptid / "MP-RAGE")
            rows.append(
                [ptid, code, visit, "MP_RAGE", "2006-01-02", image[1:], "1.5", "True", path]
            )
            if path:
                put_scan(root, scan)
        sessions = pd.DataFrame(
            {"RID": ptid[-4:], "session_id": ["ses-M000", "ses-M006", "ses-M012"]}
            | {"age": [70.0, 70.5, 71.0], "diagnosis": ["CN", "MCI", "AD"]}
            | {"MMSE": [30, 28, "n/a"], "cdr_global": ["n/a", 0.5, "n/a"]}
        )
        sessions.to_csv(root / subject / f"{subject}_sessions.tsv", sep="\t", index=False)
    participants = pd.DataFrame({"alternative_id_1": PTIDS, "sex": ["M", "F", "F"]})
    participants["participant_id"] = [f"sub-ADNI{ptid.replace('_', '')}" for ptid in PTIDS]
    participants["apoe4"] = [0, 1, "n/a"]
    participants["apoe_gen1"] = 3
    participants.to_csv(root / "participants.tsv", sep="\t", index=False)
    (root / "dataset_description.json").write_text('{"Name": "ADNI", "BIDSVersion": "1.7.0"}')
    info = root / "conversion_info" / "v0"
    info.mkdir(parents=True)
    names = "Subject_ID VISCODE Visit Sequence Scan_Date Image_ID Field_Strength Original Path"
    table = pd.DataFrame(rows, columns=names.split())
    table.to_csv(info / "t1_paths.tsv", sep="\t", index=False)
    return root


def put_scan(root, scan, data=None, comment="10:42, called by Dr Who"):
    path = scan_path(root, scan)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5) if data is None else data
    image = nib.Nifti1Image(data, np.eye(4))
    image.header["descrip"] = comment
    nib.save(image, path)
    table = path.parent.parent / f"{scan}_scans.tsv"
    table.write_text(f"filename\nanat/{path.name}\n")
    return path


@pytest.fixture
def finished(download, tmp_path):
    images, tables = download
    raw = clinica_output(tmp_path / "raw_bids", images)
    table = finish_bids(raw, images, tables, tmp_path / "bids", tmp_path / "conversion.tsv")
    return tmp_path / "bids", table


# --- Before the conversion ---------------------------------------------------------------------


def test_prepare_writes_sorted_subjects(download, tmp_path, capsys):
    images, tables = download
    out = tmp_path / "subjects.txt"
    options = ["--images", str(images), "--tables", str(tables), "--subjects-file", str(out)]
    assert main(["prepare", *options]) == 0
    assert out.read_text() == "".join(f"{ptid}\n" for ptid in sorted(PTIDS))
    (tables / "MPRAGEMETA.csv").unlink()
    assert main(["prepare", *options]) == 1
    assert "MPRAGEMETA" in capsys.readouterr().err


def test_folder_faults_say_what_was_found(download, tmp_path):
    images, _ = download
    nested = tmp_path / "nested"
    nested.mkdir()
    images.rename(nested / "ADNI")
    with pytest.raises(UserError, match=r"too deep, in ADNI/\. Set paths.images to .*nested/ADNI"):
        find_subjects(nested)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="found: no folder at all"):
        find_subjects(tmp_path / "empty")
    with pytest.raises(UserError, match="does not exist"):
        find_subjects(tmp_path / "absent")


def test_all_table_faults_at_once(download):
    _, tables = download
    (tables / "MRIQUALITY.csv").unlink()
    (tables / "MPRAGEMETA.csv").rename(tables / "mpragemeta.csv")
    edit(tables / "ADNIMERGE.csv", lambda table: [table.pop("DX"), table.pop("AGE")])
    (tables / "more").mkdir()
    (tables / "more" / "APOERES_20Nov2025.csv").write_text("GENOTYPE\n3/3\n")
    with pytest.raises(UserError) as caught:
        read_required_tables(tables)
    message = str(caught.value)
    assert "MRIQUALITY.csv (ADNI's quality check of series) is missing" in message
    assert "found mpragemeta.csv" in message
    assert "ADNIMERGE.csv" in message and "lacks the column(s) DX, AGE" in message
    assert "APOERES.csv (APOE genotypes) is there 2 times" in message


def test_table_with_bom_crlf_and_date(download):
    _, tables = download
    path = tables / "ADNIMERGE.csv"
    text = path.read_text().replace("\n", "\r\n")
    path.unlink()
    dated = tables / "ADNIMERGE_20Nov2025.csv"
    dated.write_bytes(b"\xef\xbb\xbf" + text.encode())
    table = read_required_tables(tables)["ADNIMERGE"]
    assert table.columns[0] == "RID" and set(table["PTID"]) == set(PTIDS)
    assert not table.map(lambda value: value.endswith("\r")).any(axis=None)
    dated.write_bytes("Ménage,PTID\n".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        read_study_table(dated)


def test_values_that_break_clinica(download, tmp_path):
    images, tables = download

    def spoil(table):
        table.loc[0, ["VISCODE", "DX"]] = ["y1", "SMC"]
        table.loc[1, "EXAMDATE"] = ""

    edit(tables / "ADNIMERGE.csv", spoil)
    (tables / "CDR.csv").write_text("RID,VISCODE2,CDGLOBAL\n413,nv,0\n,bl,0\n")
    with pytest.raises(UserError) as caught:
        prepare(images, tables, tmp_path / "subjects.txt")
    message = str(caught.value)
    for part in ("VISCODE is 'y1'", "DX is 'SMC'", "EXAMDATE is ''", "without RID", "nv"):
        assert part in message
    assert not (tmp_path / "subjects.txt").exists()


def test_visit_rejected_whole_by_mayo(download, tmp_path):
    images, tables = download
    edit(tables / "MPRAGEMETA.csv", lambda table: table.update({"MagStrength": ["3.0"] * 8}))
    mayo = "RID,loni_image,series_type,series_quality,series_selected\n"
    (tables / "MAYOADIRL_MRI_IMAGEQC_05_07_15.csv").write_text(f"{mayo}5,I40002,T1,4,0\n")
    with pytest.raises(UserError, match=r"011_S_0005: all scans of 'ADNI Screening' \(I40002\)"):
        prepare(images, tables, tmp_path / "subjects.txt")


def test_unsupported_subjects_are_left_out(download, tmp_path):
    images, tables = download
    edit(
        tables / "ADNIMERGE.csv",
        lambda table: table.__setitem__(
            "ORIGPROT", table["ORIGPROT"].where(table.index > 1, "ADNI4")
        ),
    )
    assert prepare(images, tables, tmp_path / "s.txt") == list(PTIDS[1:])
    edit(tables / "ADNIMERGE.csv", lambda table: table.__setitem__("ORIGPROT", "ADNI4"))
    with pytest.raises(UserError, match="None of the 3 subjects"):
        prepare(images, tables, tmp_path / "s.txt")


def test_images_that_abort_clinica(download, tmp_path):
    images, tables = download
    folder = images / PTIDS[0] / "MP-RAGE" / "2006-01-02_10_00_00.0"
    (folder / "ADNI_I40000.xml").touch()
    (images / "ADNI_I40000.xml").touch()  # outside of subjects: harmless
    (folder / "ADNI_I99999.xml").touch()  # of no image of the study: Clinica does not look for it
    for file in (images / PTIDS[1]).rglob("*_I40002.dcm"):
        file.unlink()
    (images / PTIDS[1] / "ADNI_scaled_I40002.nii").write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        prepare(images, tables, tmp_path / "subjects.txt")
    message = str(caught.value)
    assert "on 2 file(s)" in message
    assert "ADNI_I40000.xml" in message and "ADNI_scaled_I40002.nii: cannot be read" in message


def test_linked_subject_folders(download, tmp_path):
    images, tables = download
    (images / PTIDS[0]).rename(tmp_path / "elsewhere")
    (images / PTIDS[0]).symlink_to(tmp_path / "elsewhere")
    assert prepare(images, tables, tmp_path / "s.txt") == list(PTIDS)
    assert set(index_files(images)["subject_id"]) == set(PTIDS)


def test_missing_slice(download, tmp_path):
    images, tables = download
    folder = next((images / PTIDS[0]).rglob("I40000"))
    for file in folder.iterdir():
        file.unlink()
    for number in (1, 2, 4, 5):
        dataset = pydicom.Dataset()
        dataset.ImagePositionPatient = [0, 0, 1.2 * number]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        path = folder / f"ADNI_{PTIDS[0]}_MR_{number}_S40000_I40000.dcm"
        dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(UserError, match=r"a slice is missing \(4 files, gap of 2.40 mm\)"):
        prepare(images, tables, tmp_path / "subjects.txt")


# --- After the conversion ----------------------------------------------------------------------


def test_every_image_is_accounted_for(finished, download, tmp_path):
    table = finished[1]
    assert sorted(table["image_id"]) == sorted([*index_files(download[0])["image_id"], NO_FILE])
    status = table.set_index("image_id")["status"]
    assert status[NO_FILE] == "missing" and table["path"].isna().sum() == 1
    assert status[BAD_QC] == "rejected_qc"
    assert status[RIVAL] == "not_chosen" and status[UNLISTED] == "no_metadata"
    assert (status == "converted").sum() == 5
    reason = table.set_index("image_id")["reason"]
    assert "Clinica preferred I40001" in reason[RIVAL]
    stored = read_table(tmp_path / "conversion.tsv")
    pd.testing.assert_frame_equal(stored, table, check_dtype=False)


def test_finished_bids_is_ordered_and_anonymous(finished, tmp_path):
    bids, _ = finished
    assert not (tmp_path / "raw_bids").exists()
    assert (bids / ".bidsignore").read_text() == "swi\nconversion_info\n"
    participants = read_table(bids / "participants.tsv")
    assert participants.columns[0] == "participant_id" and "apoe_gen1" not in participants
    for path in bids.glob("sub-*/sub-*_sessions.tsv"):
        assert read_table(path).columns[0] == "session_id"
    for path in bids.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes()
    image = nib.load(scan_path(bids, scan_of(PTIDS[0], "bl")))
    assert not image.header["descrip"].item()
    assert np.array_equal(np.asanyarray(image.dataobj).ravel(), np.arange(60))
    sidecar = scan_path(bids, scan_of(PTIDS[0], "bl")).with_name(
        f"{scan_of(PTIDS[0], 'bl')}_T1w.json"
    )
    assert '"MagneticFieldStrength": 1.5' in sidecar.read_text()


def test_conversion_faults(download, tmp_path):
    images, tables = download
    raw = clinica_output(tmp_path / "raw_bids", images)
    empty, stray = scan_of(PTIDS[0], "bl"), scan_of(PTIDS[0], "m06")
    cut, flat = scan_of(PTIDS[1], "bl"), scan_of(PTIDS[1], "m06")
    scan_path(raw, empty).unlink()
    path = scan_path(raw, stray)
    path.with_name(f"{stray}_T1w_Eq_1.nii").touch()
    path = scan_path(raw, cut)
    path.write_bytes(path.read_bytes()[:-20])
    put_scan(raw, flat, np.full((3, 4, 5), 7, np.int16))
    table = finish_bids(raw, images, tables, tmp_path / "bids", tmp_path / "c.tsv", jobs=2)
    reasons = table[table["status"] == "failed"].set_index("scan_id")["reason"]
    assert sorted(reasons.index) == sorted([empty, stray, cut, flat])
    assert "no image" in reasons[empty] and "not finished" in reasons[stray]
    assert "cannot be read" in reasons[cut] and "constant" in reasons[flat]
    left = sorted(path.name for path in (tmp_path / "bids").rglob("*.nii*"))
    assert left == [f"{scan_of(PTIDS[2], 'bl')}_T1w.nii.gz"]
    assert len(read_table(tmp_path / "bids" / "participants.tsv")) == 1


def test_two_scans_for_one_session(download, tmp_path):
    images, tables = download
    raw = clinica_output(tmp_path / "raw_bids", images)
    path = raw / "conversion_info" / "v0" / "t1_paths.tsv"
    rows = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    second = rows.iloc[[0]].assign(Image_ID=RIVAL[1:])
    pd.concat([rows, second]).to_csv(path, sep="\t", index=False)
    table = finish_bids(raw, images, tables, tmp_path / "bids", tmp_path / "c.tsv")
    failed = table[table["status"] == "failed"].set_index("image_id")["reason"]
    assert sorted(failed.index) == ["I40000", RIVAL]
    assert "which it wrote is unknown" in failed[RIVAL]
    assert not scan_path(tmp_path / "bids", scan_of(PTIDS[0], "bl")).exists()


def test_unfinished_or_repeated_conversion(download, tmp_path):
    images, tables = download
    raw = clinica_output(tmp_path / "raw_bids", images)
    (raw / "conversion_info" / "v1").mkdir()
    with pytest.raises(UserError, match="more than once"):
        finish_bids(raw, images, tables, tmp_path / "bids", tmp_path / "c.tsv")
    (raw / "conversion_info" / "v0" / "t1_paths.tsv").unlink()
    with pytest.raises(UserError, match="did not finish"):
        finish_bids(raw, images, tables, tmp_path / "bids", tmp_path / "c.tsv")
    assert not (tmp_path / "bids").exists() and not (tmp_path / "c.tsv").exists()


def test_image_faults():
    assert "not 3-D" in image_fault(np.zeros((4, 4)))
    assert "finite" in image_fault(np.array([0.0, np.nan] * 4).reshape(2, 2, 2))
    assert image_fault(np.arange(8.0).reshape(2, 2, 2)) is None


def test_nothing_converted_and_foreign_output(download, tmp_path):
    images, tables = download
    raw = clinica_output(tmp_path / "raw_bids", images)
    out = tmp_path / "bids"
    out.mkdir()
    (out / "thesis.txt").touch()
    with pytest.raises(UserError, match="in the way"):
        finish_bids(raw, images, tables, out, tmp_path / "c.tsv")
    assert (out / "thesis.txt").exists()
    for path in raw.rglob("*.nii.gz"):
        path.unlink()
    with pytest.raises(UserError, match="no scan at all"):
        finish_bids(raw, images, tables, tmp_path / "other", tmp_path / "c.tsv")


# --- Scan table and splits ---------------------------------------------------------------------


def test_scan_table_takes_the_visit(finished):
    bids, _ = finished
    scans = build_scans(bids, shards=4, schema=SCHEMA).set_index("scan_id")
    assert len(scans) == 5 and list(scans.index) == sorted(scans.index)
    later = scans.loc[scan_of(PTIDS[0], "m06")]
    assert (later["diagnosis"], later["age"], later["months"]) == ("MCI", 70.5, 6)
    assert (later["image_id"], later["field_strength"], later["cdr_global"]) == ("I40001", 1.5, 0.5)
    assert (bids / later["path"]).is_file()
    first = scans.loc[scan_of(PTIDS[1], "bl")]
    assert first["sex"] == "F" and first["apoe4"] == 1 and pd.isna(first["cdr_global"])
    assert first["shard"] == shard_of("sub-ADNI011S0005", 4)


def test_scan_table_refuses_values_and_emptiness(finished):
    bids, _ = finished
    sessions = bids / "sub-ADNI002S0413" / "sub-ADNI002S0413_sessions.tsv"
    text = sessions.read_text()
    sessions.write_text(text.replace("MCI", "Dementia"))
    with pytest.raises(UserError, match=r"sub-ADNI002S0413_ses-M006: diagnosis: 'Dementia'"):
        build_scans(bids, 4, SCHEMA)
    sessions.write_text("".join(line for line in text.splitlines(True) if "ses-M006" not in line))
    with pytest.raises(UserError, match="no row, or two"):
        build_scans(bids, 4, SCHEMA)
    for path in bids.rglob("*_T1w.nii.gz"):
        path.unlink()
    with pytest.raises(UserError, match="no T1-weighted image"):
        build_scans(bids, 4, SCHEMA)


def test_splits_are_stable():
    names = [f"sub-ADNI{number:03d}" for number in range(400)]
    whole = make_splits(names, 0.2, 0.1, seed=42).set_index("participant_id")["split"]
    part = make_splits(names[50:300], 0.2, 0.1, seed=42).set_index("participant_id")["split"]
    assert (whole[part.index] == part).all()
    assert 0.14 < (whole == "test").mean() < 0.26
    assert 0.04 < (whole == "val").mean() < 0.13
    other = make_splits(names, 0.2, 0.1, seed=43).set_index("participant_id")["split"]
    assert 0.1 < (other != whole).mean() < 0.6
    # A larger test set keeps all of the smaller one.
    more = make_splits(names, 0.3, 0.1, seed=42).set_index("participant_id")["split"]
    assert (more[whole == "test"] == "test").all()


def test_splits_by_known_values():
    """Frozen: a change of the hash would silently move subjects of a published split."""
    table = make_splits([f"sub-{number}" for number in range(12)], 0.3, 0.3, seed=42)
    known = dict(zip(table["participant_id"], table["split"], strict=True))
    # Second letters: tRain, vAl, tEst.
    assert "".join(known[f"sub-{number}"][1] for number in range(12)) == "arareearrrrr"


@pytest.mark.parametrize(
    ("fractions", "key"),
    [((0.0, 0.3), "test_fraction"), ((0.3, 0.0), "val_fraction"), ((1.0, 0.5), "val")],
)
def test_empty_split_names_the_key(fractions, key):
    with pytest.raises(UserError, match=key):
        make_splits([f"sub-{number}" for number in range(50)], *fractions, seed=1)


def test_overlap_is_refused():
    table = pd.DataFrame({"participant_id": ["a", "a", "b"], "split": ["train", "train", "test"]})
    assert_disjoint(table)
    table.loc[1, "split"] = "test"
    with pytest.raises(UserError, match="such as a"):
        assert_disjoint(table)
    table.loc[1, "split"] = "validation"
    with pytest.raises(UserError, match="validation"):
        assert_disjoint(table)


# --- Ledger and tables -------------------------------------------------------------------------


@pytest.fixture
def books(finished, tmp_path):
    """All that the ledger is made of: one scan fails in brain extraction, one is excluded."""
    bids, conversion = finished
    scans = build_scans(bids, 4, SCHEMA)
    splits = pd.DataFrame({"participant_id": scans["participant_id"].unique()})
    splits["split"] = ["train", "val", "test"]
    failed, excluded = scans["scan_id"][0], scans["scan_id"][1]
    for step in ledger_module.STEPS:
        manifest = scans[["scan_id"]].assign(status="ok", reason="", seconds=1.0)
        if step != "n4":
            status = "failed" if step == "brain" else "skipped"
            manifest.loc[manifest["scan_id"] == failed, ["status", "reason"]] = [status, step]
        write_table(manifest[:3], tmp_path / "manifests" / step / "shard-0.tsv")
        write_table(manifest[3:], tmp_path / "manifests" / step / "shard-1.tsv")
        write_table(manifest[:0], tmp_path / "manifests" / step / "shard-2.tsv")
    write_table(
        pd.DataFrame({"scan_id": [excluded], "reason": ["motion"]}), tmp_path / "exclude.tsv"
    )
    volumes = scans[~scans["scan_id"].isin([failed, excluded])].merge(splits, on="participant_id")
    return {
        "conversion": conversion,
        "scans": scans,
        "splits": splits,
        "manifests": ledger_module.read_manifests(
            {step: (tmp_path / "manifests" / step).glob("*.tsv") for step in ledger_module.STEPS}
        ),
        "volumes": volumes,
        "excluded": ledger_module.read_exclude(tmp_path / "exclude.tsv", set(scans["scan_id"])),
    }


def test_ledger_adds_up(books):
    ledger = ledger_module.build_ledger(**books)
    assert len(ledger) == 8 and ledger["image_id"].is_unique
    assert (ledger["status"] == "used").sum() == 3 == len(books["volumes"])
    ends = ledger.set_index("image_id")[["stage", "reason"]]
    assert tuple(ends.loc["I40000"]) == ("brain", "brain")
    assert tuple(ends.loc["I40001"]) == ("exclude", "motion")
    assert ends.loc[BAD_QC, "stage"] == "adni_qc" and ends.loc[RIVAL, "stage"] == "selection"
    assert (ledger["reason"].str.len() > 0)[ledger["status"] == "excluded"].all()


def test_ledger_refuses_what_does_not_add_up(books):
    build = ledger_module.build_ledger
    with pytest.raises(UserError, match=r"does not add up.*volume store"):
        build(**books | {"volumes": books["volumes"][1:]})
    with pytest.raises(UserError, match=r"does not add up.*scan table"):
        build(**books | {"scans": books["scans"][1:]})
    with pytest.raises(UserError, match=r"converted images.*scan table"):
        build(**books | {"conversion": books["conversion"].query("image_id != 'I40000'")})
    with pytest.raises(UserError, match="other splits"):
        build(**books | {"volumes": books["volumes"].assign(split="train")})
    short = books["manifests"] | {"n4": books["manifests"]["n4"][:3]}
    with pytest.raises(UserError, match="did not pass the step n4"):
        build(**books | {"manifests": short})


def test_too_many_failures(books):
    ledger_module.check_failures(books["manifests"], max_failed_fraction=0.2)
    with pytest.raises(UserError, match=r"1 of 5 scans.*\n.*ses-M000 \(brain\): brain"):
        ledger_module.check_failures(books["manifests"], max_failed_fraction=0.1)
    conversion = books["conversion"].copy()
    ledger_module.check_conversion(conversion, max_failed_fraction=0.0)
    conversion.loc[conversion["image_id"] == "I40001", "status"] = "failed"
    with pytest.raises(UserError, match=r"1 of 5 scans failed in the conversion"):
        ledger_module.check_conversion(conversion, max_failed_fraction=0.1)


def test_exclusions_must_be_known_and_reasoned(tmp_path):
    path = tmp_path / "exclude.tsv"
    path.write_text("scan_id\treason\nsub-1_ses-M00\tmotion\n")
    with pytest.raises(UserError, match="sub-1_ses-M00"):
        ledger_module.read_exclude(path, {"sub-1_ses-M000"})
    path.write_text("scan_id\treason\nsub-1_ses-M000\t\n")
    with pytest.raises(UserError, match="no reason"):
        ledger_module.read_exclude(path, {"sub-1_ses-M000"})


def test_shipped_exclude_list_is_empty():
    path = Path(__file__).parents[2] / "config" / "exclude.tsv"
    assert ledger_module.read_exclude(path, set()).empty


def test_table_1_and_flow(books):
    table = cohort_table(books["scans"], books["splits"]).set_index("group")
    assert list(table.index) == ["CN", "AD", "MCI", "all"]
    assert table.loc["CN", "subjects"] == 3 and table.loc["MCI", "subjects"] == 2
    assert table.loc["all", ["subjects", "samples"]].tolist() == [3, 5]
    assert table.loc["all", "mmse"] == "29.20 ± 1.10"
    assert table.loc["AD", "samples"] == 0 and table.loc["AD", "age"] is None
    assert table.loc["all", [f"{s}_samples" for s in ("train", "val", "test")]].sum() == 5
    flow = flow_table(ledger_module.build_ledger(**books), books["conversion"]).set_index("stage")
    assert flow.loc["download", "images"] == 8 and flow.loc["missing", "images"] == 1
    assert flow.loc["used", "images"] == flow.loc["used", "remaining"] == 3
    assert flow["images"].drop(["missing", "download"]).sum() == 8
