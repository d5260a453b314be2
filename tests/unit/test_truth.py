"""Truth of synthetic cohorts: several tables as one, volumes in one scale."""

import pandas as pd
import pytest

from ldae.errors import UserError
from ldae.files import read_table, write_table
from ldae.ground_truth.oracle import write_true_volumes
from ldae.ground_truth.truth import join_truth

HEADS = pd.DataFrame(
    {
        "participant_id": ["sub-1", "sub-1"],
        "session_id": ["ses-M000", "ses-M012"],
        "ventricle_ml": [20.0, 22.0],
        "hippocampus_ml": [5.0, 4.0],
        "ventricle_template_ml": [40.0, 44.0],
        "hippocampus_template_ml": [10.0, 8.0],
        "subject_index": [7, 7],
    }
)
BRAINS = pd.DataFrame(
    {
        "participant_id": ["sub-2"],
        "session_id": ["ses-M000"],
        "ventricle_ml": [60.0],
        "hippocampus_ml": [9.0],
        "subject_index": [7],
    }
)


@pytest.fixture
def truths(tmp_path):
    paths = [tmp_path / name / "truth.tsv" for name in ("heads", "brains")]
    for table, path in zip((HEADS, BRAINS), paths, strict=True):
        write_table(table, path)
    return paths


@pytest.fixture
def scans():
    names = ["participant_id", "session_id"]
    table = pd.concat([BRAINS[names], HEADS[names].iloc[::-1]], ignore_index=True)
    return table.assign(scan_id=table["participant_id"] + "_" + table["session_id"])


def test_volumes_of_all_cohorts_are_in_template_scale(truths, scans):
    joined = join_truth(scans, truths, ["subject_index"])
    assert list(joined["scan_id"]) == list(scans["scan_id"])
    assert list(joined["ventricle_ml"]) == [60, 44, 40]
    assert list(joined["hippocampus_ml"]) == [9, 8, 10]
    assert list(joined["truth"]) == [str(truths[1]), str(truths[0]), str(truths[0])]


def test_a_scan_without_truth_or_with_two_is_refused(truths, scans):
    with pytest.raises(UserError, match=r"lacks 1 scan\(s\), the first is sub-2_ses-M000"):
        join_truth(scans, truths[:1], [])
    with pytest.raises(UserError, match="more than one row for sub-1 ses-M000"):
        join_truth(scans, [*truths, truths[0]], [])


def test_oracle_has_log_ventricles_and_hippocampi_of_every_scan(truths, scans, tmp_path):
    write_table(scans, tmp_path / "index.tsv")
    write_true_volumes(truths, tmp_path / "index.tsv", tmp_path / "oracle.tsv")
    oracle = read_table(tmp_path / "oracle.tsv").set_index("scan_id")
    assert oracle.loc["sub-1_ses-M012", "log_ventricle_ml"] == pytest.approx(3.784190, abs=1e-6)
    assert oracle.loc["sub-2_ses-M000", "hippocampus_ml"] == 9
