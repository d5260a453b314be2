"""Scans that come out of a download: images that are not there, faulty, or with contrast agent."""

import pandas as pd
import pytest

from helpers.downloads import ADNI1, ADNI2, PEOPLE, make_downloads, prepare
from ldae.conversion.downloaded_scans import (
    ABSENT,
    CLINICA,
    DOWNLOADED,
    TO_DOWNLOAD,
    by_reason,
    choose_downloaded,
    count_by_visit,
    instead_of,
    mark_passed_over,
    write_choice,
)
from ldae.files import read_table
from ldae.synthetic.download import plan_images

ORIGINAL, SCALED = "I9000000", "I9000001"  # the screening of the first subject of ADNI1
FIRST, REPEAT = "I9000200", "I9000202"  # that of the first one of ADNI2; the repeat failed its QC


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    root = make_downloads(tmp_path_factory.mktemp("download"))
    return prepare(root / "today", root / "out")[0]


@pytest.fixture
def index():
    """The images on disk, as the tables list them: none is absent but those of the faults."""
    images = [image for person in PEOPLE for image in plan_images(person) if image.on_disk]
    rows = [(f"I{image.series.image}", image.subject.ptid) for image in images if image.listed]
    return pd.DataFrame(rows, columns=["image_id", "subject_id"]).assign(status=None, reason=None)


def screening(choice, subject):
    visits = choice.visits.set_index(["subject_id", "viscode"])
    return visits.loc[(subject, "bl")].replace({float("nan"): None})


def replace(index, image, other):
    return index.assign(image_id=index["image_id"].replace(image, other))


def test_what_the_tables_prefer_and_is_there_comes_out(tables, index):
    choice = choose_downloaded(index, tables, CLINICA)
    assert choice.passed_over.empty
    assert screening(choice, ADNI1)["taken"] == SCALED
    lost = choice.to_download()
    assert list(lost.columns) == TO_DOWNLOAD
    there = set(index["image_id"])
    assert not set(lost["image_id"]) & there and set(choice.visits["taken"].dropna()) <= there
    counts = count_by_visit(choice.visits)
    assert counts.columns.tolist() == ["bl", "m06", "m12"]
    assert counts.loc["ADNI1"].tolist() == [2, 2, 0]
    assert counts.to_numpy().sum() == choice.visits["taken"].notna().sum()


def test_visit_without_its_preferred_image_is_listed_or_another_is_taken(tables, index, tmp_path):
    index = replace(index, SCALED, ORIGINAL)
    lost = choose_downloaded(index, tables, CLINICA)
    about = screening(lost, ADNI1)
    assert about[["image_id", "reason", "instead", "taken"]].tolist() == [
        SCALED, ABSENT, ORIGINAL, None,
    ]  # fmt: skip
    assert (
        len(by_reason(lost.visits)["the preferred image is not in the download, another is there"])
        == 1
    )
    taken = choose_downloaded(index, tables, DOWNLOADED)
    assert screening(taken, ADNI1)["taken"] == ORIGINAL
    assert count_by_visit(taken.visits).loc["ADNI1", "bl"] == 2
    assert count_by_visit(lost.visits).loc["ADNI1", "bl"] == 1
    write_choice(taken, tmp_path / "to_download.tsv", tmp_path / "passed_over.tsv")
    passed_over = read_table(tmp_path / "passed_over.tsv")
    assert passed_over.to_numpy().tolist() == [[SCALED, "missing", ABSENT, ORIGINAL]]
    assert instead_of(passed_over) == {
        ORIGINAL: f"Taken instead of {SCALED}: it is not in the download."
    }
    listed = read_table(tmp_path / "to_download.tsv").set_index("image_id")
    assert listed["instead"][SCALED] == ORIGINAL
    assert set(listed.index) == set(lost.to_download()["image_id"])


def test_image_that_failed_its_quality_check_is_not_taken_instead(tables, index):
    index = index[index["image_id"] != FIRST]
    assert REPEAT in set(index["image_id"])
    choice = choose_downloaded(index, tables, DOWNLOADED)
    assert screening(choice, ADNI2)[["image_id", "instead", "taken"]].tolist() == [
        FIRST, None, None,
    ]  # fmt: skip
    assert choice.passed_over.empty


def test_faulty_image_is_passed_over_like_an_absent_one(tables, index):
    index = pd.concat([index, pd.DataFrame([[ORIGINAL, ADNI1]], columns=index.columns[:2])])
    index.loc[index["image_id"] == SCALED, ["status", "reason"]] = ["corrupt", "It is cut off."]
    assert pd.isna(screening(choose_downloaded(index, tables, CLINICA), ADNI1)["taken"])
    choice = choose_downloaded(index, tables, DOWNLOADED)
    assert screening(choice, ADNI1)["taken"] == ORIGINAL
    assert choice.passed_over.to_numpy().tolist() == [
        [SCALED, "corrupt", "It is cut off.", ORIGINAL]
    ]
    (reason,) = (name for name in by_reason(choice.visits) if "faulty" in name)
    assert reason.endswith("another is taken instead")


@pytest.mark.parametrize("prefer", [CLINICA, DOWNLOADED])
def test_contrast_agent_holds_for_all_images_of_the_series(tables, index, prefer):
    index = pd.concat(
        [index, pd.DataFrame([[ORIGINAL, ADNI1]], columns=index.columns[:2])], ignore_index=True
    )
    contrast = index["image_id"] == ORIGINAL
    index.loc[contrast, ["status", "reason"]] = ["not_chosen", "With contrast agent."]
    choice = choose_downloaded(index, tables, prefer)
    assert (ADNI1, "bl") not in choice.visits.set_index(["subject_id", "viscode"]).index
    assert set(choice.passed_over["image_id"]) == {ORIGINAL, SCALED}
    marked = mark_passed_over(index, choice.passed_over).set_index("image_id")
    assert marked["reason"][ORIGINAL] == "With contrast agent."
    assert marked.loc[SCALED, ["status", "reason"]].tolist() == [
        "not_chosen", f"It is of the same series as {ORIGINAL}. With contrast agent.",
    ]  # fmt: skip
    assert marked["status"].notna().sum() == 2
