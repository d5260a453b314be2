"""Batch conversion with Clinica: conversion table, retries, merging, image checks."""

import gzip
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers.clinica import install
from ldae.conversion import batch
from ldae.conversion.batch import convert_batch
from ldae.conversion.bids import check_scans, compress_image, image_fault, image_hash, scan_path
from ldae.conversion.clinica import find_tools, versions
from ldae.conversion.clinica_tables import OTHER_IMAGES, read_clinica_tables
from ldae.conversion.conversion_table import make_conversion_table
from ldae.conversion.merge import link_tree, merge_bids, merge_parts, remove_stale
from ldae.conversion.plan import plan_conversion, write_plan
from ldae.derivatives import shard_of
from ldae.errors import UserError
from ldae.files import read_json, read_table, write_table
from ldae.orchestration.rerun import reset_failed_conversions

PTIDS = ("002_S_0413", "011_S_0005", "023_S_0030", "027_S_0009")
VISITS = ("ADNI Screening", "ADNI1/GO Month 6")
LOST, UNLISTED, REJECTED, RIVAL = "I40003", "I40900", "I40901", "I40902"


def scan_of(ptid, month):
    return f"sub-ADNI{ptid.replace('_', '')}_ses-M{month:03d}"


def image_of(subject, visit):
    return f"I4000{2 * subject + visit}"


def put_image(images, ptid, image, word="10:42, called by Dr Who", axes=0):
    """A processed image; ``word`` is what the fake Clinica obeys; ``axes`` more, of length 1."""
    folder = images / ptid / "Scaled" / image
    folder.mkdir(parents=True, exist_ok=True)
    voxels = np.arange(22**3, dtype=np.int16).reshape(22, 22, 22) + int(image[1:]) % 100
    volume = nib.Nifti1Image(voxels.reshape(22, 22, 22, *[1] * axes), np.eye(4))
    volume.header["descrip"] = word
    path = folder / f"ADNI_{ptid}_MR_Scaled_S{image[1:]}_{image}.nii"
    nib.save(volume, path)
    return path


class Download:
    """Images and prepared tables of four subjects with two visits, and their conversion."""

    def __init__(self, root):
        self.root, self.images, self.tables = root, root / "images", root / "tables"
        self.tables.mkdir()
        self.bin = install(root / "bin")
        self.exclusions = root / "held_back.tsv"
        self.exclusions.write_text(f"image_id\tstatus\treason\n{REJECTED}\trejected_qc\tMayo.\n")
        scans = []
        for i, ptid in enumerate(PTIDS):
            for j, visit in enumerate(VISITS):
                scans.append(self.scan(ptid, visit, image_of(i, j)))
                if image_of(i, j) != LOST:
                    put_image(self.images, ptid, image_of(i, j))
        for extra in (UNLISTED, REJECTED):
            put_image(self.images, PTIDS[0], extra)
        exams = {"bl": "2006-01-02", "m06": "2006-07-02"}
        merge = [
            {
                "RID": str(int(ptid[-4:])), "PTID": ptid, "VISCODE": code, "COLPROT": "ADNI1",
                "ORIGPROT": "ADNI1", "EXAMDATE": day,
            }
            for ptid in PTIDS
            for code, day in exams.items()
        ]  # fmt: skip
        self.write("ADNIMERGE", merge)
        self.write("MPRAGEMETA", scans)
        self.write("MRIQUALITY", [{"RID": "413", "LONIUID": "S9", "PASS": "0"}])
        mayo = {"RID": "413", "loni_image": "I9", "series_type": "T1", "series_quality": "1"}
        self.write("MAYOADIRL_MRI_IMAGEQC_05_07_15", [mayo])
        self.write("APOERES", [{"PTID": p, "GENOTYPE": "3/4"} for p in PTIDS])
        write_table(pd.DataFrame(columns=["image_id", "description"]), self.tables / OTHER_IMAGES)
        self.write("DXSUM_PDXCONV", [{"PTID": p, "VISCODE2": "sc"} for p in PTIDS])

    @staticmethod
    def scan(ptid, visit, image):
        return {
            "Orig/Proc": "Processed", "SubjectID": ptid, "Visit": visit, "MagStrength": "1.5",
            "Sequence": "MPR; Scaled", "ScanDate": "2006-01-02", "SeriesID": image[1:],
            "ImageUID": image[1:],
        }  # fmt: skip

    def write(self, name, rows):
        pd.DataFrame(rows).to_csv(self.tables / f"{name}.csv", index=False)

    def calls(self):
        """Subjects of each call of Clinica since the last query, sorted."""
        path = self.bin / "calls"
        lines = sorted(path.read_text().splitlines()) if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def convert(self, name, batches=1, jobs=1):
        """Plan, convert and merge into the folder ``name``; returns it and the table by image."""
        out = self.root / name
        plan = plan_conversion(self.images, self.tables, self.exclusions, batches)
        files = {number: out / f"batches/{number}.tsv" for number in range(batches)}
        write_plan(plan, out / "images.tsv", files)
        parts, tables = {}, {}
        for number, path in files.items():
            part = parts[f"ADNI-{number}"] = out / "bids_parts" / f"ADNI-{number}"
            table = convert_batch(
                path, self.images, self.tables, part, "ADNI", "source", str(self.bin), jobs
            )
            tables[part.name] = out / f"parts/{part.name}.tsv"
            write_table(table, tables[part.name])
        shutil.rmtree(out / "bids", ignore_errors=True)
        table = merge_parts(parts, tables, out / "images.tsv", "ADNI", out / "bids")
        return out, table.set_index("image_id")


@pytest.fixture
def download(tmp_path):
    return Download(tmp_path)


def contents(folder):
    """All files below a folder by their relative paths."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_conversion_table_has_one_row_and_reason_per_image(download):
    out, table = download.convert("out")
    index = read_table(out / "images.tsv")
    assert sorted(table["path"].dropna()) == sorted(index["path"])
    assert table["reason"].str.len().min() > 4 and set(table["cohort"]) == {"ADNI"}
    status = table["status"]
    assert status[LOST] == "missing" and pd.isna(table["path"][LOST])
    assert (status[UNLISTED], status[REJECTED]) == ("no_metadata", "rejected_qc")
    assert (status == "converted").sum() == 7
    converted = table[status == "converted"]
    assert set(converted["field_strength"]) == {1.5} and converted["image_hash"].is_unique
    assert table.loc[status != "converted", "image_hash"].isna().all()
    assert converted["scan_id"]["I40002"] == scan_of(PTIDS[1], 0)
    assert download.calls() == [" ".join(PTIDS)]


def test_conversion_is_identical_for_any_number_of_batches(download):
    one, table = download.convert("one", batches=1)
    three, again = download.convert("three", batches=3)
    assert len({shard_of(ptid, 3) for ptid in PTIDS}) > 1
    assert contents(one / "bids") == contents(three / "bids")
    pd.testing.assert_frame_equal(table, again)


def test_converted_bids_is_ordered_and_anonymous(download):
    bids = download.convert("out")[0] / "bids"
    participants = read_table(bids / "participants.tsv")
    assert list(participants["participant_id"]) == [f"sub-ADNI{p.replace('_', '')}" for p in PTIDS]
    assert list(participants.columns) == ["participant_id", "sex", "apoe4"]
    first = scan_path(bids, scan_of(PTIDS[0], 0))
    sessions = read_table(first.parents[2] / f"{first.parents[2].name}_sessions.tsv")
    fixed = ["session_id", "age", "diagnosis", "MMSE", "cdr_global"]
    assert list(sessions.columns) == [*fixed, "RID"] and list(sessions["MMSE"]) == [30, 28.5]
    for name, content in contents(bids).items():
        assert str(download.root).encode() not in content, name
    image = nib.load(first)
    assert not image.header["descrip"].item()
    assert np.array_equal(np.asanyarray(image.dataobj).ravel(), np.arange(22**3))
    sidecar = read_json(first.with_name(f"{scan_of(PTIDS[0], 0)}_T1w.json"))
    assert sidecar["MagneticFieldStrength"] == 1.5 and sidecar["ProcessedByADNI"] is False
    description = read_json(bids / "dataset_description.json")
    assert (description["Name"], description["DatasetType"]) == ("ADNI", "raw")
    assert {"Name": "Clinica", "Version": "0.12.0"} in description["GeneratedBy"]


@pytest.mark.parametrize("word", ["crash", "early"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_batch_loses_only_the_subject_that_crashes_clinica(download, word, jobs):
    healthy = contents(download.convert("healthy")[0] / "bids")
    download.calls()
    put_image(download.images, PTIDS[2], image_of(2, 1), word)
    out, table = download.convert("out", jobs=jobs)
    assert download.calls() == sorted([" ".join(PTIDS), *PTIDS])
    failed = table[table["status"] == "failed"]
    assert set(failed.index) == {image_of(2, 0), image_of(2, 1)}
    error = {"crash": "ValueError: cannot read", "early": "KeyError: "}[word]
    assert all(f"alone: {error}" in reason for reason in failed["reason"])
    assert not failed["reason"].str.contains(str(download.root)).any()
    assert "secret" not in "".join(failed["reason"])
    left = contents(out / "bids")
    gone = f"sub-ADNI{PTIDS[2].replace('_', '')}"
    assert set(healthy) - set(left) == {name for name in healthy if name.startswith(gone)}
    same = [name for name in left if name != "participants.tsv"]
    assert len(same) > 15 and all(left[name] == healthy[name] for name in same)


def test_batch_retries_subject_alone_if_clinica_loses_a_scan(download):
    put_image(download.images, PTIDS[0], image_of(0, 1), "lost")
    put_image(download.images, PTIDS[3], image_of(3, 0), "cut")
    out, table = download.convert("out")
    assert download.calls() == sorted([" ".join(PTIDS), PTIDS[0], PTIDS[3]])
    assert "no image" in table["reason"][image_of(0, 1)]
    assert "cannot be read" in table["reason"][image_of(3, 0)]
    assert list(table["status"][[image_of(0, 1), image_of(3, 0)]]) == ["failed"] * 2
    assert (table["status"] == "converted").sum() == 5
    assert not scan_path(out / "bids", scan_of(PTIDS[0], 6)).parents[1].exists()


def test_batch_hides_corrupt_image_from_clinica(download):
    path = put_image(download.images, PTIDS[0], image_of(0, 0), "crash")
    path.write_bytes(path.read_bytes()[:4000])
    _, table = download.convert("out")
    assert download.calls() == [" ".join(PTIDS)]
    row = table.loc[image_of(0, 0)]
    assert (row["status"], row["scan_id"]) == ("corrupt", scan_of(PTIDS[0], 0))
    assert (table["status"] == "converted").sum() == 6


def test_batch_passes_over_an_image_and_says_which(download):
    listed = read_clinica_tables(download.tables)["MPRAGEMETA"].to_dict("records")
    taken = image_of(0, 0)
    download.write("MPRAGEMETA", [*listed, download.scan(PTIDS[0], VISITS[0], "I49999")])
    out, table = download.convert("rivals")
    assert "which it wrote is unknown" in table["reason"][taken]
    passed_over = out / "passed_over.tsv"
    passed_over.write_text(
        f"image_id\tstatus\treason\ttaken\nI49999\tmissing\tIt is not in the download.\t{taken}\n"
    )
    table = convert_batch(
        out / "batches/0.tsv", download.images, download.tables, out / "again", "ADNI", "source",
        str(download.bin), passed_over=passed_over,
    ).set_index("image_id")  # fmt: skip
    assert table["status"][taken] == "converted" and "I49999" not in table.index
    assert table["reason"][taken] == (
        f"Chosen by Clinica for the visit {VISITS[0]!r}. Taken instead of I49999: it is not in the "
        "download."
    )
    assert table["reason"].str.contains("instead").sum() == 1


def test_conversion_table_fails_two_scans_of_one_session(download):
    scans = pd.read_csv(download.tables / "MPRAGEMETA.csv", dtype=str).to_dict("records")
    download.write("MPRAGEMETA", [*scans, download.scan(PTIDS[0], VISITS[0], RIVAL)])
    put_image(download.images, PTIDS[0], RIVAL, "lost")
    out, table = download.convert("out")
    failed = table[table["status"] == "failed"]
    assert set(failed.index) == {image_of(0, 0), RIVAL}
    assert "which it wrote is unknown" in failed["reason"][RIVAL]
    assert not scan_path(out / "bids", scan_of(PTIDS[0], 0)).exists()


def test_batch_is_skipped_if_unchanged(download):
    out, table = download.convert("out", batches=3)
    download.calls()
    part = out / "bids_parts" / f"ADNI-{shard_of(PTIDS[1], 3)}"
    stamp = (part / "stamp.json").stat().st_mtime_ns
    pd.testing.assert_frame_equal(download.convert("out", batches=3)[1], table)
    assert download.calls() == [] and (part / "stamp.json").stat().st_mtime_ns == stamp
    mine = [ptid for ptid in PTIDS if shard_of(ptid, 3) == shard_of(PTIDS[1], 3)]
    put_image(download.images, PTIDS[1], image_of(1, 0))
    download.convert("out", batches=3)
    assert download.calls() == [" ".join(mine)]
    put_image(download.images, PTIDS[1], "I40950")
    scans = pd.read_csv(download.tables / "MPRAGEMETA.csv", dtype=str)
    scans.loc[scans["ImageUID"] == LOST[1:], "ImageUID"] = "40950"
    scans.to_csv(download.tables / "MPRAGEMETA.csv", index=False)
    _, more = download.convert("out", batches=3)
    assert download.calls() == [" ".join(mine)]
    assert more["status"]["I40950"] == "converted" and LOST not in more.index
    shutil.rmtree(part / "bids")
    download.convert("out", batches=3)
    assert download.calls() == [" ".join(mine)]


def test_batch_in_which_every_subject_fails_is_retried(download):
    for i, ptid in enumerate(PTIDS):
        put_image(download.images, ptid, image_of(i, 0), "crash")
    with pytest.raises(UserError, match=r"stopped at each of the batch's 4 subjects, the last"):
        download.convert("out")
    for i, ptid in enumerate(PTIDS):
        put_image(download.images, ptid, image_of(i, 0))
    assert (download.convert("out")[1]["status"] == "converted").sum() == 7


def test_batch_of_one_crashing_subject_does_not_stop_the_run(download):
    put_image(download.images, PTIDS[0], image_of(0, 1), "crash")
    numbers = [shard_of(ptid, 9) for ptid in PTIDS]
    assert numbers.count(numbers[0]) == 1
    _, table = download.convert("out", batches=9)
    assert set(table.index[table["status"] == "failed"]) == {image_of(0, 0), image_of(0, 1)}
    download.calls()
    download.convert("out", batches=9)
    assert download.calls() == []


def test_reset_failed_conversions_reruns_only_batches_that_failed(download):
    put_image(download.images, PTIDS[2], image_of(2, 1), "crash")
    out, _ = download.convert("out", batches=3)
    (out / "cohort").mkdir()
    (out / "parts").rename(out / "cohort" / "parts")
    mine = f"ADNI-{shard_of(PTIDS[2], 3)}"
    made = [out / f"cohort/{name}.tsv" for name in ("conversion", "scans", "ledger")]
    for path in made:
        path.touch()
    assert reset_failed_conversions(out) == [mine]
    assert not any(path.exists() for path in [*made, out / "cohort" / "parts" / f"{mine}.tsv"])
    download.calls()
    together = [ptid for ptid in PTIDS if shard_of(ptid, 3) == shard_of(PTIDS[2], 3)]
    download.convert("out", batches=3)
    assert set(" ".join(download.calls()).split()) == set(together)
    shutil.rmtree(out / "cohort" / "parts")
    assert reset_failed_conversions(out) == []


def test_batch_stops_on_full_disk(download, monkeypatch):
    full = shutil._ntuple_diskusage(10**9, 10**9 - 5 * 10**6, 5 * 10**6)
    monkeypatch.setattr(batch.shutil, "disk_usage", lambda _: full)
    assert (download.convert("healthy")[1]["status"] == "converted").sum() == 7
    put_image(download.images, PTIDS[2], image_of(2, 1), "lost")
    with pytest.raises(UserError, match="has 5 MB left"):
        download.convert("out")
    monkeypatch.undo()
    clinica = download.bin / "clinica"
    clinica.write_text("#!/bin/sh\necho 'OSError: No space left on device' >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"No space left on device\. Make room"):
        download.convert("out")


def test_batch_that_fails_keeps_the_earlier_part(download):
    out, table = download.convert("out")
    for i, ptid in enumerate(PTIDS):
        put_image(download.images, ptid, image_of(i, 0), "crash")
    with pytest.raises(UserError, match="each of the batch's 4 subjects"):
        download.convert("out")
    part = out / "bids_parts" / "ADNI-0"
    assert len(list((part / "bids").glob("sub-*"))) == len(PTIDS)
    assert len(read_table(part / "conversion.tsv")) == len(table)


def test_conversion_table_marks_image_of_another_subject_corrupt(download):
    name = image_of(0, 0)
    put_image(download.images, PTIDS[1], name)
    out, _ = download.convert("out")
    rows = read_table(out / "parts" / "ADNI-0.tsv")
    rows = rows[rows["image_id"] == name].set_index("subject_id")
    assert rows["status"].to_dict() == {PTIDS[0]: "converted", PTIDS[1]: "corrupt"}
    assert "another subject" in rows["reason"][PTIDS[1]] and rows["path"].is_unique


def test_conversion_table_fails_image_that_clinica_did_not_find(download):
    study = read_clinica_tables(download.tables)
    index = plan_conversion(download.images, download.tables, download.exclusions, 1)
    chosen = {
        "image_id": image_of(0, 0), "scan_id": scan_of(PTIDS[0], 0), "Subject_ID": PTIDS[0],
        "Visit": VISITS[0], "Scan_Date": "2006-01-02", "Field_Strength": "1.5", "Path": "",
        "image_hash": None, "fault": None,
    }  # fmt: skip
    table = make_conversion_table(index, pd.DataFrame([chosen]), study, "ADNI", {}).set_index(
        "image_id"
    )
    assert table["status"][image_of(0, 0)] == "failed"
    assert "did not find" in table["reason"][image_of(0, 0)]


def test_conversion_reason_follows_the_study_of_the_examination(download):
    """Visits named after ADNI3, joined with examinations of ADNI1 and of ADNI3."""
    scans = pd.read_csv(download.tables / "MPRAGEMETA.csv", dtype=str)
    scans.loc[scans["SubjectID"].isin(PTIDS[:2]), "Visit"] = "ADNI3 Initial Visit-Cont Pt"
    merge = pd.read_csv(download.tables / "ADNIMERGE.csv", dtype=str)
    merge.loc[merge["PTID"] == PTIDS[1], "COLPROT"] = "ADNI3"
    quality = pd.DataFrame({"RID": "1", "LONIUID": "S" + scans["SeriesID"], "PASS": "0"})
    mayo = pd.DataFrame(columns=["RID", "loni_image", "series_type", "series_quality"])
    study = read_clinica_tables(download.tables)
    study |= {"MPRAGEMETA": scans, "ADNIMERGE": merge, "MRIQUALITY": quality}
    study["MAYOADIRL_MRI_IMAGEQC_05_07_15"] = mayo
    index = plan_conversion(download.images, download.tables, download.exclusions, 1)
    none = pd.DataFrame(columns=["image_id", "scan_id", "Subject_ID", "Visit"])
    table = make_conversion_table(index, none, study, "ADNI", {}).set_index("image_id")
    assert table["status"][image_of(0, 0)] == "rejected_qc"
    assert table["status"][image_of(1, 0)] == "not_chosen"
    assert "takes in ADNI3" in table["reason"][image_of(1, 0)]
    study["ADNIMERGE"] = merge.iloc[:0]
    table = make_conversion_table(index, none, study, "ADNI", {}).set_index("image_id")
    assert "No examination" in table["reason"][image_of(0, 0)]


def test_merge_parts_names_removed_part(download):
    out, _ = download.convert("out", batches=2)
    tables = {path.stem: path for path in (out / "parts").iterdir()}
    parts = {name: out / "bids_parts" / name for name in sorted(tables)}
    shutil.rmtree(parts["ADNI-1"])
    with pytest.raises(UserError, match=r"ADNI-1 were removed. Delete .*parts/ADNI-1.tsv"):
        merge_parts(parts, tables, out / "images.tsv", "ADNI", out / "new")


def test_remove_stale_deletes_parts_of_former_batches(tmp_path):
    for name in ("ADNI-0", "ADNI-1", ".work-ADNI-1", "ADNI", "OASIS", "ADNI-old"):
        (tmp_path / name).mkdir()
    assert remove_stale(tmp_path, "ADNI", ["ADNI-0", "OASIS"]) == [".work-ADNI-1", "ADNI-1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ADNI", "ADNI-0", "ADNI-old", "OASIS",
    ]  # fmt: skip


def test_find_tools_requires_clinica_and_dcm2niix(download, tmp_path, monkeypatch):
    environment = find_tools(str(download.bin))
    assert versions(environment) == {"Clinica": "0.12.0", "dcm2niix": "v1"}
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (download.bin / "dcm2niix").unlink()
    with pytest.raises(UserError, match=r"^dcm2niix cannot be found in .*bin\. Run"):
        find_tools(str(download.bin))


# --- Merging -----------------------------------------------------------------------------------


def part_of(root, name, participants, column):
    """A part with a sidecar and a linked image per participant."""
    original = root / "originals" / name / "image.nii.gz"
    original.parent.mkdir(parents=True)
    original.touch()
    bids = root / name / "bids"
    for participant in participants:
        anat = bids / participant / "ses-M000" / "anat"
        anat.mkdir(parents=True)
        (anat / "x_T1w.json").write_text("{}\n")
        (anat / "x_T1w.nii.gz").symlink_to(original)
    table = pd.DataFrame({"participant_id": participants, column: "1"})
    write_table(table, bids / "participants.tsv")
    return bids


def test_merge_joins_columns_and_keeps_links(tmp_path):
    one = part_of(tmp_path, "ADNI", ["sub-b"], "apoe4")
    two = part_of(tmp_path, "OASIS", ["sub-c", "sub-a"], "months")
    (tmp_path / "empty").mkdir()
    parts = {"ADNI": one, "ADNI-1": tmp_path / "empty", "OASIS": two}
    merge_bids(parts, ["ADNI", "OASIS"], tmp_path / "bids")
    text = (tmp_path / "bids" / "participants.tsv").read_text()
    assert text == ("participant_id\tapoe4\tmonths\nsub-a\tn/a\t1\nsub-b\t1\tn/a\nsub-c\tn/a\t1\n")
    anat = tmp_path / "bids" / "sub-a" / "ses-M000" / "anat"
    assert (anat / "x_T1w.nii.gz").readlink() == tmp_path / "originals/OASIS/image.nii.gz"
    assert (anat / "x_T1w.json").samefile(two / "sub-a" / "ses-M000" / "anat" / "x_T1w.json")
    assert read_json(tmp_path / "bids" / "dataset_description.json")["Name"] == "ADNI and OASIS"


def test_merge_refuses_a_participant_twice(tmp_path):
    parts = {
        "ADNI-3": part_of(tmp_path, "ADNI", ["sub-a", "sub-b"], "sex"),
        "OASIS": part_of(tmp_path, "OASIS", ["sub-b"], "sex"),
    }
    with pytest.raises(UserError, match="sub-b is in ADNI-3 and OASIS"):
        merge_bids(parts, ["ADNI", "OASIS"], tmp_path / "bids")
    assert not list((tmp_path / "bids").iterdir())


def test_link_tree_copies_where_links_fail(tmp_path, monkeypatch):
    source = part_of(tmp_path, "ADNI", ["sub-a"], "sex")

    def refuse(*_arguments, **_options):
        raise OSError("no links on this file system")

    monkeypatch.setattr("os.link", refuse)
    link_tree(source / "sub-a", tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(source / "sub-a")


def test_link_tree_keeps_the_target_of_relative_links(tmp_path):
    (tmp_path / "part" / "anat").mkdir(parents=True)
    (tmp_path / "original.nii.gz").write_bytes(b"voxels")
    (tmp_path / "part" / "anat" / "x.nii.gz").symlink_to("../../original.nii.gz")
    link_tree(tmp_path / "part", tmp_path / "deeper" / "still" / "bids")
    moved = tmp_path / "deeper" / "still" / "bids" / "anat" / "x.nii.gz"
    assert moved.is_symlink() and moved.read_bytes() == b"voxels"


# --- Images ------------------------------------------------------------------------------------


def test_check_scans_finds_faults_of_converted_images(tmp_path):
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    names = [f"sub-{name}_ses-M000" for name in ("good", "cut", "flat", "stray", "none", "two")]
    for name in names:
        path = scan_path(tmp_path, name)
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels * 0 + 7 if "flat" in name else voxels, np.eye(4)), path)
    cut = scan_path(tmp_path, names[1])
    cut.write_bytes(cut.read_bytes()[:-20])
    scan_path(tmp_path, names[3]).with_name("x_Eq_1.nii").touch()
    scan_path(tmp_path, names[4]).unlink()
    scan_path(tmp_path, names[5]).with_name("x_T1w.nii.gz").touch()
    found = check_scans(tmp_path, names, jobs=2)
    assert found[names[0]] == (None, image_hash(voxels, np.eye(4)))
    for name, words in zip(
        names[1:], ("cut off", "constant", "not finished", "no image", "one image"), strict=True
    ):
        assert words in found[name][0] and found[name][1] is None


def test_conversion_drops_trailing_axes_of_length_1(download):
    put_image(download.images, PTIDS[0], image_of(0, 0), axes=2)
    out, table = download.convert("out")
    image = nib.load(scan_path(out / "bids", scan_of(PTIDS[0], 0)))
    assert image.shape == (22, 22, 22) and table["status"][image_of(0, 0)] == "converted"
    assert np.array_equal(np.asanyarray(image.dataobj).ravel(), np.arange(22**3))
    assert table["image_hash"][image_of(0, 0)] == image_hash(
        np.asanyarray(image.dataobj), np.eye(4)
    )


def test_compress_image_normalises_big_endian_header(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    voxels = np.arange(60, dtype=">i2").reshape(3, 4, 5, 1)
    nib.save(nib.Nifti1Image(voxels, np.eye(4), header), tmp_path / "x.nii.gz")
    compress_image(tmp_path / "x.nii.gz", tmp_path / "y.nii.gz")
    image = nib.load(tmp_path / "y.nii.gz")
    assert image.header.endianness == ">" and image.shape == (3, 4, 5)
    assert np.array_equal(np.asanyarray(image.dataobj).ravel(), np.arange(60))


def test_image_faults():
    assert "not 3-D" in image_fault(np.zeros((4, 4)))
    assert "finite" in image_fault(np.array([0.0, np.nan] * 4).reshape(2, 2, 2))
    assert image_fault(np.arange(8.0).reshape(2, 2, 2)) is None


def test_image_hash_depends_on_voxels_but_not_type_or_axis_order():
    voxels = np.random.default_rng(1).integers(0, 99, (3, 4, 5)).astype(np.int16)
    known = image_hash(voxels, np.eye(4))
    assert image_hash(voxels.astype(np.float64), np.eye(4) * [2, 2, 2, 1]) == known
    assert image_hash(voxels[::-1], np.diag([-1, 1, 1, 1])) == known
    assert image_hash(voxels.transpose(2, 0, 1), np.eye(4)[:, [2, 0, 1, 3]]) == known
    assert image_hash(voxels.reshape(4, 3, 5), np.eye(4)) != known
    voxels[0, 0, 0] += 1
    assert image_hash(voxels, np.eye(4)) != known


def test_compress_image_is_reproducible_and_empties_header_text(tmp_path):
    path = put_image(tmp_path, PTIDS[0], "I1")
    compress_image(path, tmp_path / "a.nii.gz")
    compress_image(path, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert b"Dr Who" not in gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    assert np.array_equal(nib.load(tmp_path / "a.nii.gz").get_fdata(), nib.load(path).get_fdata())
    newer = nib.Nifti2Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    nib.save(newer, tmp_path / "two.nii")
    compress_image(tmp_path / "two.nii", tmp_path / "two.nii.gz")
    assert np.array_equal(nib.load(tmp_path / "two.nii.gz").get_fdata(), newer.get_fdata())
