"""Truth of synthetic cohorts: several tables as one, volumes in one scale."""

import numpy as np
import pandas as pd
import pytest

from ldae.errors import UserError
from ldae.files import read_table, write_table
from ldae.ground_truth.decoded_volumes import correlate_decoded_volumes
from ldae.ground_truth.oracle import write_true_volumes
from ldae.ground_truth.truth import join_truth
from ldae.report.tables.registry import PRINTERS

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


def test_decoded_volumes_are_compared_with_the_true_ones(tmp_path):
    rng = np.random.default_rng(0)
    ids = [f"sub-{n}_ses-M000" for n in range(60)]
    true = rng.uniform(20, 60, 60)
    oracle = pd.DataFrame({"scan_id": ids[::-1], "log_ventricle_ml": np.log(true[::-1])})
    write_table(oracle.assign(hippocampus_ml=true[::-1] / 10), tmp_path / "true.tsv")
    scans = {"scan_id": ids, "participant_id": ids, "system": "ldae", "variant": "y_sem", "T": 10}
    scans = pd.DataFrame(scans | {"ventricle_ml": true, "hippocampus_ml": rng.normal(size=60)})
    measured = true + rng.normal(0, 20, 60)
    scans = scans.assign(original_ventricle_ml=measured, original_hippocampus_ml=true)
    write_table(scans, tmp_path / "ldae.tsv")
    other = scans.assign(system="ldae_slices", ventricle_ml=-true)
    write_table(other, tmp_path / "slices.tsv")
    table = tmp_path / "table.tsv"
    paths = [tmp_path / "ldae.tsv", tmp_path / "slices.tsv"]
    correlate_decoded_volumes(paths, tmp_path / "true.tsv", table, 200, 0)
    found = read_table(table).set_index(["system", "measure"])
    assert found.index.get_level_values("system").unique().tolist() == [
        "original", "ldae", "ldae_slices",
    ]  # fmt: skip
    r = found["r"]
    assert r["ldae", "ventricle_ml"] == pytest.approx(1, abs=1e-6)
    assert r["ldae_slices", "ventricle_ml"] == pytest.approx(-1, abs=1e-6)
    expected = np.corrcoef(measured, true)[0, 1]
    assert r["original", "ventricle_ml"] == pytest.approx(expected, abs=1e-4) and expected < 0.9
    assert r["original", "hippocampus_ml"] == pytest.approx(1, abs=1e-6)
    assert abs(r["ldae", "hippocampus_ml"]) < 0.4
    assert found.loc[("original", "ventricle_ml"), "n_subjects"] == 60
    (printed,) = PRINTERS["decoded_volumes"](read_table(table))
    assert [row[0] for row in printed.rows] == ["original", "LDAE", "LDAE, slices"]
