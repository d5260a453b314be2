"""MRIQC's group table: joined to the scans by the images' names; faults get a sentence."""

import logging

import numpy as np
import pandas as pd
import pytest

from ldae.cohort.mriqc import join_mriqc
from ldae.errors import UserError

CONVERSION = pd.DataFrame(
    [
        ("ADNI", "002_S_0413/x/I1", "sub-ADNI002S0413_ses-M000", "converted"),
        ("ADNI", "002_S_0413/y/I2", "sub-ADNI002S0413_ses-M012", "converted"),
        ("ADNI", "002_S_0413/z/I3", None, "not_chosen"),
        ("AIBL", "sub-1/ses-v1/anat/sub-1_ses-v1_T1w.nii.gz", "sub-AIBL1_ses-M000", "converted"),
    ],
    columns=["cohort", "path", "scan_id", "status"],
)
ADNI = "bids_name\tcjv\tsnr_total\trater\n" + (
    "sub-ADNI002S0413_ses-M000_T1w\t0.4\t11\tgood\n"
    "sub-ADNI002S0413_ses-M012_T1w\tn/a\t12.5\tbad\n"
    "sub-ADNI999S0001_ses-M000_T1w\t0.5\t9\tgood\n"
)


@pytest.fixture
def table(tmp_path):
    """Write a group table; returns its path."""

    def write(text: str, name: str = "group_T1w.tsv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_mriqc_rows_are_joined_by_either_name_of_an_image_and_counted(table, caplog):
    aibl = table("bids_name\tcjv\nsub-1_ses-v1_T1w\t0.7\n", "aibl.tsv")
    with caplog.at_level(logging.INFO):
        found = join_mriqc({"ADNI": table(ADNI), "AIBL": aibl}, CONVERSION, ["mriqc_cjv"])
    assert list(found.columns) == ["scan_id", "mriqc_cjv", "mriqc_snr_total"]
    assert list(found["scan_id"]) == [*CONVERSION["scan_id"][:2], "sub-AIBL1_ses-M000"]
    assert np.array_equal(found["mriqc_cjv"], [0.4, np.nan, 0.7], equal_nan=True)
    assert "2 of 2 scans of ADNI have a row, 0 have none; 1 row of no scan" in caplog.text
    assert "1 of 1 scans of AIBL have a row" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        (ADNI.replace("bids_name", "name"), "lacks the column.s. bids_name"),
        (ADNI.splitlines()[0] + "\n", "a header and no row"),
        (ADNI.replace("M012", "M000"), "two rows of sub-ADNI002S0413_ses-M000_T1w"),
        (ADNI.replace("12.5", "12,5"), "snr_total of sub-.*M012_T1w is '12,5', not a number"),
        ("bids_name\trater\nsub-ADNI002S0413_ses-M000_T1w\tgood\n", "no column of numbers"),
        (ADNI.replace("ADNI002S0413", "OASIS1"), "none of its 3 rows is a scan of ADNI.*OASIS1"),
        (ADNI.replace("cjv", "cvj"), "bounds mriqc_cjv, which no table of MRIQC has.*mriqc_cvj"),
        (ADNI.replace("\t", ","), "is it separated by commas"),
    ],
)
def test_faults_of_mriqc_table_get_a_sentence(table, text, words):
    with pytest.raises(UserError, match=words):
        join_mriqc({"ADNI": table(text)}, CONVERSION, ["mriqc_cjv"])


def test_image_with_two_rows_under_its_two_names_is_refused(table):
    text = "bids_name\tcjv\nsub-1_ses-v1_T1w\t0.7\nsub-AIBL1_ses-M000_T1w\t0.7\n"
    with pytest.raises(UserError, match="two rows of sub-AIBL1_ses-M000, under its names"):
        join_mriqc({"AIBL": table(text)}, CONVERSION)


def test_cohort_without_a_scan_needs_no_table_of_mriqc(table, caplog):
    """An external test set that could not be imported does not stop the run."""
    none = join_mriqc({"OASIS3": table(ADNI)}, CONVERSION, ["mriqc_cjv"])
    assert none.empty and list(none) == ["scan_id"]
    assert "OASIS3 has no scan" in caplog.text
