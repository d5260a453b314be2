"""Studies beside ADNI: faults of downloads, links, repairs, configuration, Clinica's version."""

import os
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest
import yaml

from helpers.studies import put_csv, put_nifti, put_zip
from ldae.config import check_config, study_downloads
from ldae.conversion.change_hashes import file_state, study_hash
from ldae.conversion.clinica_repairs import REPAIRS, unchecked_repairs
from ldae.conversion.studies import STUDIES, study_columns
from ldae.conversion.study_download import (
    LinkedDownload,
    faults_of,
    find_tables,
    heads,
    image_links,
    link_download,
)
from ldae.conversion.study_finish import _nearest, finish_ukb
from ldae.conversion.study_repairs import tables_of_habs, tables_of_nifd, tables_of_ukb
from ldae.errors import UserError
from ldae.files import read_table
from ldae.preflight.environment import pins
from ldae.preflight.report import ERROR, OK
from ldae.preflight.run_facts import Facts
from ldae.preflight.studies import check_studies, count_study

ROOT = Path(__file__).parents[2]
PAPER = yaml.safe_load((ROOT / "config/config.yaml").read_text())
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


# --- Version of Clinica ------------------------------------------------------------------------


def test_repairs_were_checked_for_the_pinned_clinica():
    stale = "\n  ".join(unchecked_repairs(pins(ROOT / "envs/clinica.lock.txt")["clinica"]))
    assert not stale, (
        "envs/ pins a Clinica for which these repairs were not checked. Run each fault against it, "
        f"take out the repairs of those that are gone, and raise CHECKED_BELOW:\n  {stale}"
    )


def test_newer_clinica_lists_every_repair_and_each_is_there():
    assert unchecked_repairs("0.12.9") == []
    assert len(unchecked_repairs("0.13.0")) == len(REPAIRS) > 10
    for place in REPAIRS:
        module, _, name = place.partition(":")
        assert hasattr(import_module(f"ldae.{module}"), name), place


# --- Downloads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_empty_download_names_every_missing_table_and_what_to_get(name, tmp_path):
    study = STUDIES[name]
    found = faults_of(study, tmp_path, tmp_path, "cohort.beside.X")
    assert len(found) == 1 + len(study.tables)
    what, remedy = found[0]
    assert what == (
        f"cohort.beside.X.images: {tmp_path} has no image of {study.title}; found: nothing"
    )
    assert study.download in remedy
    for table, (what, remedy) in zip(study.tables, found[1:], strict=True):
        assert what.startswith(f"cohort.beside.X.tables: {study.title} needs a table ")
        assert table.source in remedy and "\\" not in what


def test_absent_folders_are_told_first(tmp_path):
    found = faults_of(STUDIES["ixi"], tmp_path / "a", tmp_path / "b", "paths")
    assert [what for what, _ in found] == [
        f"paths.images: the folder {tmp_path / 'a'} does not exist",
        f"paths.tables: the folder {tmp_path / 'b'} does not exist",
    ]


def test_table_that_is_there_twice_is_refused_but_not_a_lock_file(tmp_path):
    for name in ("IXI.xls", "~$IXI.xls", "._IXI.xls"):
        (tmp_path / name).touch()
    assert find_tables(STUDIES["ixi"], tmp_path) == ({"IXI.xls": tmp_path / "IXI.xls"}, [])
    (tmp_path / "old").mkdir()
    (tmp_path / "old/ixi.xls").touch()
    found, ((what, _),) = find_tables(STUDIES["ixi"], tmp_path)
    assert found == {} and "IXI.xls, old/ixi.xls" in what


@pytest.mark.parametrize(
    ("name", "file", "place"),
    [
        ("oasis1", "disc3/OAS1_0007_MR1/PROCESSED/MPRAGE/SUBJ_111/a_sbj_111.img", "OAS1_0007_MR1/"),
        ("oasis1", "OAS1_0007_MR2/PROCESSED/MPRAGE/SUBJ_111/a.img", None),
        ("oasis1", "OAS1_0007_MR1/RAW/a.img", None),
        ("oasis3", "OAS30007_MR_d0129/anat2/NIFTI/sub-OAS30007_ses-d0129_T1w.nii.gz",
         "OAS30007_MR_d0129/sub-OAS30007_ses-d0129_T1w/sub-OAS30007_ses-d0129_T1w.nii.gz"),
        ("oasis3", "OAS30007_MR_d0129/anat2/sub-OAS30007_ses-d0129_T2w.nii.gz", None),
        ("aibl", "AIBL/7/MPRAGE/2008-05-01_10_00_00.0/I1/x.DCM",
         "7/MPRAGE/2008-05-01_10_00_00.0/I1/x.dcm"),
        ("aibl", "AIBL/007/MPRAGE/2008-05-01_10_00_00.0/I1/x.dcm", None),
        ("ixi", "IXI-T1/IXI007-Guys-0001-T1.nii.gz", "IXI007-Guys-0001-T1.nii.gz"),
        ("ixi", "IXI-T2/IXI007-Guys-0001-T2.nii.gz", None),
        ("nifd", "NIFD/1_S_0007/t1/2010-01-31/S1/NIFD_x_I100007.dcm",
         "1_S_0007/t1/2010-01-31/S1/NIFD_x_I100007.dcm"),
        ("genfi", "x/GRN007-11/2-T1/DICOM/1.dcm", "GRN007-11/2-T1/DICOM/1.dcm"),
        ("ukb", "bulk/1000007_20252_2_0.zip", "1000007_20252_2_0.zip"),
        ("ukb", "bulk/1000007_20253_2_0.zip", None),
    ],
)  # fmt: skip
def test_images_are_found_at_any_depth_and_shown_where_clinica_looks(tmp_path, name, file, place):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.touch()
    links = image_links(STUDIES[name], tmp_path)
    assert list(links.values()) == ([path] if place else [])
    assert all(link.startswith(place) for link in links)


def test_images_are_counted_by_series_file_or_member(tmp_path):
    series = tmp_path / "AIBL/7/MPRAGE/2008-05-01_10_00_00.0/I1"
    series.mkdir(parents=True)
    for number in range(3):
        (series / f"{number}.dcm").touch()
    put_zip(tmp_path / "1000007_20252_2_0.zip", {"T1/T1.nii.gz": 1, "T1/T1_brain.nii.gz": 2})
    scans = "P_ABCDEF_2010-01-31_HAB_1.0_ADNI_1X-MPRAGE", "P_ABCDEF_2010-01-31_HAB_1.0_3DFLAIR"
    put_zip(tmp_path / "a_HABS_DataRelease.zip", {f"x/{scan}.nii.gz": 1 for scan in scans})
    for name, subject in (("aibl", "7"), ("ukb", "1000007"), ("habs", "P_ABCDEF")):
        assert [head.subject for head in heads(STUDIES[name], tmp_path)] == [subject]
    (tmp_path / "b_HABS_DataRelease.zip").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"b_HABS_DataRelease\.zip cannot be read"):
        heads(STUDIES["habs"], tmp_path)


def test_download_with_faults_is_not_linked(tmp_path):
    put_nifti(tmp_path / "raw/IXI007-Guys-0001-T1.nii.gz", 1)
    with pytest.raises(UserError, match=r"needs a table IXI\.xls; there is none"):
        link_download(STUDIES["ixi"], tmp_path / "raw", tmp_path / "raw", tmp_path / "w", "paths")
    assert not (tmp_path / "w").exists()


def test_hash_of_a_download_changes_with_images_and_tables_alone(tmp_path):
    put_nifti(tmp_path / "images/IXI-T1/IXI007-Guys-0001-T1.nii.gz", 1)
    table = tmp_path / "tables/demographics.csv"
    put_csv(table, "a")
    seen = [study_hash(tmp_path / "images", tmp_path / "tables")]
    assert study_hash(tmp_path / "images", tmp_path / "tables") == seen[0]
    put_nifti(tmp_path / "images/IXI-T1/IXI008-Guys-0001-T1.nii.gz", 2)
    seen.append(study_hash(tmp_path / "images", tmp_path / "tables"))
    put_csv(table, "other")
    os.utime(table, ns=(1, 1))
    seen.append(study_hash(tmp_path / "images", tmp_path / "tables"))
    left_out = tmp_path / "left_out.tsv"
    image = "IXI-T1/IXI007-Guys-0001-T1.nii.gz"
    put_csv(left_out, "path\tstate", f"{image}\t{file_state(tmp_path / 'images', image)}")
    assert study_hash(tmp_path / "images", tmp_path / "tables", left_out) == seen[-1]
    with (tmp_path / "images" / image).open("r+b") as file:  # in place: no folder changes
        file.truncate(10)
    assert study_hash(tmp_path / "images", tmp_path / "tables") == seen[-1]
    seen.append(study_hash(tmp_path / "images", tmp_path / "tables", left_out))
    assert len(set(seen)) == 4
    assert file_state(tmp_path, "images/none/x.nii.gz") == "absent"
    assert study_hash(tmp_path / "none", tmp_path) == "absent"


# --- Repairs -----------------------------------------------------------------------------------


def test_scores_are_those_of_the_nearest_visit_within_a_year():
    visits = pd.DataFrame(
        [[0, "Cognitively normal", "30", "0"], [500, "AD dem w/depresss, not contribut", "20", "1"],
         [900, "DLBD- primary", "", "2"], [2000, "AD dem cannot be primary", "22", "1"],
         [4000, "DAT w/depresss- contribut", "21", "1"]],
        columns=["day", "dx1", "MMSE", "CDRTOT"],
    )  # fmt: skip
    near = {day: _nearest(visits, day) for day in (200, 300, 890, 1300, 2000, 4000)}
    assert [near[day]["days_to_visit"] for day in near] == [0, 500, 900, None, 2000, 4000]
    assert [near[day]["diagnosis"] for day in near] == ["CN", "AD", None, None, None, "AD"]
    assert [near[day]["mmse"] for day in near] == ["30", "20", None, None, "22", "21"]
    assert near[890]["dx1"] == "DLBD- primary"
    assert _nearest(visits.iloc[:0], 0)["cdr_global"] is None


def test_image_whose_number_begins_with_that_of_another_is_not_taken_for_it(tmp_path):
    images, tables = tmp_path / "images", tmp_path / "tables"
    for number in ("I100003", "I1000034", "I100009"):
        (images / number).mkdir(parents=True)
        (images / number / f"NIFD_1_S_0001_{number}.dcm").touch()
    tables.mkdir()
    put_csv(tmp_path / "list.csv", "Image Data ID", "I100003", "I1000034", "I100008")
    (tmp_path / "n.xlsx").touch()
    found = {"collection.csv": tmp_path / "list.csv", "nifd.xlsx": tmp_path / "n.xlsx"}
    download = LinkedDownload(images, tables, found)
    tables_of_nifd(download)
    # Not listed, or not of six digits: Clinica would join both to an image that is.
    assert [path.parent.name for path in images.rglob("*.dcm")] == ["I100003"]
    assert (tables / "collection.csv").read_text().split() == ["Image", "Data", "ID", "I100003"]
    assert download.reasons == {
        "I1000034": "Clinica reads numbers of images of six digits alone.",
        "I100009": "The list of images does not name it.",
    }
    assert download.notes == ["1 image left out: listed, but not downloaded."]


def test_table_that_is_another_is_refused_with_the_columns_it_has(tmp_path):
    put_csv(tmp_path / "ukb.csv", "eid,sex", "1000001,1")
    with pytest.raises(UserError, match=r"lacks the column\(s\) 21003-2\.0, .* it has eid, sex"):
        tables_of_ukb(LinkedDownload(tmp_path, tmp_path, {"ukb.csv": tmp_path / "ukb.csv"}))


def test_archives_of_habs_keep_one_image_a_session(tmp_path):
    names = [f"P_ABCDEF_2010-01-31_HAB_1.0_ADNI_{kind}-MPRAGE.nii.gz" for kind in ("2X", "1X")]
    put_zip(tmp_path / "raw/a_HABS_DataRelease.zip", dict(zip(names, (1, 2), strict=True)))
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.zip").symlink_to(tmp_path / "raw/a_HABS_DataRelease.zip")
    download = LinkedDownload(images, images, {})
    tables_of_habs(download)
    with ZipFile(images / "a.zip") as kept:
        assert kept.namelist() == [names[1]]
    assert len(ZipFile(tmp_path / "raw/a_HABS_DataRelease.zip").namelist()) == 2  # as it was
    assert list(download.reasons) == [f"a.zip/{names[0]}"]


def test_age_of_uk_biobank_is_that_at_the_visit_not_at_recruitment(tmp_path):
    put_csv(tmp_path / "ukb.csv", "eid,21003-2.0,21003-3.0", "1000001,62,65")
    person = tmp_path / "sub-UKB1000001"
    put_csv(
        person / "sub-UKB1000001_sessions.tsv",
        "session_id\tsource_sessions_number", "ses-M036\t3", "ses-M000\t2",
    )  # fmt: skip
    put_csv(tmp_path / "participants.tsv", "participant_id\tage", "sub-UKB1000001\t55")
    finish_ukb(tmp_path, {"ukb.csv": tmp_path / "ukb.csv"}, [])
    table = read_table(person / "sub-UKB1000001_sessions.tsv")
    assert dict(zip(table["session_id"], table["age"], strict=True)) == {
        "ses-M036": 65, "ses-M000": 62,
    }  # fmt: skip
    assert "age" not in read_table(tmp_path / "participants.tsv")


# --- Configuration and check -------------------------------------------------------------------


def with_cohort(**cohort):
    return PAPER | {"cohort": PAPER["cohort"] | cohort}


def test_studies_are_read_from_both_places_of_the_configuration():
    beside = {"IXI": {"study": "ixi", "images": "a", "tables": "b"}, "MINE": {"bids_dir": "c"}}
    config = with_cohort(name="OASIS3", study="oasis3", beside=beside)
    check_config(config, SCHEMA)
    assert study_downloads(config) == {
        "IXI": {"study": "ixi", "images": "a", "tables": "b", "section": "cohort.beside.IXI",
                "bids": "results/studies/IXI"},
        "OASIS3": {"study": "oasis3", "images": "raw/images", "tables": "raw/tables",
                   "section": "paths", "bids": "results/studies/OASIS3"},
    }  # fmt: skip
    assert study_downloads(PAPER) == {}


@pytest.mark.parametrize(
    "about",
    [
        {"study": "oasis2", "images": "a", "tables": "b"},  # no such study
        {"study": "ixi", "images": "a"},
        {"study": "ixi", "images": "a", "tables": "b", "bids_dir": "c"},
    ],
)
def test_incomplete_or_ambiguous_studies_are_refused(about):
    with pytest.raises(UserError, match=r"cohort\.beside"):
        check_config(with_cohort(beside={"X": about}), SCHEMA)


def test_schema_knows_every_study():
    for name in STUDIES:
        check_config(with_cohort(study=name), SCHEMA)


def test_columns_of_the_configuration_win_over_those_of_the_study():
    own = {"columns": {"diagnosis": "dx", "sex": "gender"}, "values": {"sex": {1: "M"}}}
    given = study_columns({"study": "oasis1", **own})
    assert given["columns"] == STUDIES["oasis1"].columns | own["columns"]
    assert given["values"] == {"sex": {1: "M"}}


def test_check_names_what_a_study_lacks_before_anything_runs(tmp_path):
    beside = {"IXI": {"study": "ixi", "images": "ixi", "tables": "ixi"}}
    run = Facts(
        config=with_cohort(beside=beside), root=tmp_path, slurm=False, slots=2, conda=False,
        container=None, requests={}, groups={}, local=frozenset(), status_command=None, command=(),
    )  # fmt: skip
    (absent, _) = check_studies(run)
    assert absent.level == ERROR and "does not exist" in absent.what
    put_nifti(tmp_path / "ixi/IXI007-Guys-0001-T1.nii.gz", 1)
    (missing,) = check_studies(run)
    assert missing.what == (
        f"cohort.beside.IXI.tables: IXI needs a table IXI.xls; there is none in {tmp_path}/ixi"
    )
    (tmp_path / "ixi/IXI.xls").touch()
    assert [finding.level for finding in check_studies(run)] == [OK]
    assert count_study(run, "IXI")[:2] == (1, 1)
