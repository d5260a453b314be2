"""Labels of targets: from the cohort, its visits, and tables of the user's joined with scans."""

import numpy as np
import pandas as pd
import pytest

from helpers.models import CFG
from ldae.errors import UserError
from ldae.evaluation.probes.features import ProbeData
from ldae.evaluation.probes.joined_table import join_table
from ldae.evaluation.probes.labels import (
    Labels,
    event_times,
    labels_of,
    require_configured_values,
)
from ldae.evaluation.probes.target_table import make_target, target_table
from ldae.evaluation.probes.targets import without_target

SCANS = pd.DataFrame(
    {
        "scan_id": ["sub-ADNI002S0413_ses-M000", "sub-ADNI002S0413_ses-M012", "sub-X7_ses-M000"],
        "participant_id": ["sub-ADNI002S0413", "sub-ADNI002S0413", "sub-X7"],
        "session_id": ["ses-M000", "ses-M012", "ses-M000"],
        "months": [0, 12, 0],
        "diagnosis": ["MCI", "MCI", "CN"],
    }
)
DATES = {"sub-ADNI002S0413_ses-M000": "2006-05-02", "sub-ADNI002S0413_ses-M012": "2007-05-02"}


def joined(tmp_path, text: str, scans=SCANS, dates=None, **about) -> list:
    """Values of column ``v`` of a table for each scan."""
    path = tmp_path / ("mine.csv" if "," in text else "mine.tsv")
    path.write_text(text)
    given = {"kind": "continuous", "column": "v", "table": str(path)} | about
    found = join_table(make_target("mine", given), path, scans, dates)
    return [None if pd.isna(value) else float(value) for value in found["v"]]


def test_tables_are_joined_by_scan_visit_subject_and_date(tmp_path):
    by_scan = f"scan_id\tv\n{SCANS['scan_id'][1]}\t2\n"
    assert joined(tmp_path, by_scan) == [None, 2, None]
    by_visit = (
        "participant_id\tsession_id\tv\nsub-X7\tses-M000\t-4\nsub-ADNI002S0413\tses-M012\t3\n"
    )
    assert joined(tmp_path, by_visit) == [None, 3, -4]
    assert joined(tmp_path, "PTID,v\n002_S_0413,5\nX7,n/a\n") == [5, 5, None]
    assert joined(tmp_path, "RID,v\n413,6\n") == [6, 6, None]
    assert joined(tmp_path, "who,v\nADNI002S0413,7\n", subject="who") == [7, 7, None]
    dated = "PTID,when,v\n002_S_0413,5/30/2006,1\n002_S_0413,2007-12-24,2\n002_S_0413,4/20/2006,3\n"
    window = {"date": "when", "window_days": 60}
    assert joined(tmp_path, dated, dates=DATES, **window) == [3, None, None]
    far = {"date": "when", "window_days": 300}
    assert joined(tmp_path, dated, dates=DATES, **far) == [3, 2, None]


def test_missing_values_of_adni_are_missing_in_its_study_tables_only(tmp_path):
    path = tmp_path / "T.csv"
    path.write_text("PTID,v\n002_S_0413,-4\nX7,1\n")
    target = make_target("mine", {"kind": "continuous", "column": "v", "study_table": "T"})
    assert join_table(target, path, SCANS)["v"].isna().tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("PTID,w\n002_S_0413,1\n", {}, "has no column v; it has PTID, w"),
        ("name,v\n002_S_0413,1\n", {}, "names no subject"),
        ("PTID,v\n002_S_0413,1\n002_S_0413,2\n", {}, "several rows that differ"),
        ("PTID,v\n123_S_4567,1\n", {}, "no row of .* belongs to a scan"),
        (
            "PTID,d,v\n002_S_0413,1/1/2006,1\n",
            {"date": "d", "window_days": 9},
            "dates of the scans",
        ),
    ],
)
def test_tables_that_cannot_be_joined_are_refused(tmp_path, text, more, message):
    with pytest.raises(UserError, match=message):
        joined(tmp_path, text, **more)


def labels(column: list, **about) -> Labels:
    """Labels of three scans from one column of the cohort."""
    target = make_target("mine", {"column": "x"} | about)
    return labels_of(target, SCANS.assign(x=column), SCANS)


def test_labels_of_every_kind():
    found = labels([1.0, 1.2, np.nan], kind="binary", positive="> 1.11")
    assert found.known.tolist() == [True, True, False] and found.values.tolist() == [False, True]
    found = labels([2, 0, 1], kind="binary", positive=[1, 2])
    assert found.values.tolist() == [True, False, True]
    found = labels(["F", "M", "?"], kind="binary", classes=["F", "M"])
    assert found.known.tolist() == [True, True, False] and found.values.tolist() == [False, True]
    found = labels([1.5, 3.0, 7.0], kind="binary", classes=[1.5, 3])
    assert found.classes == ("1.5", "3") and found.values.tolist() == [False, True]
    found = labels([0.0, 2.0, np.nan], kind="multiclass")
    assert found.classes == ("0", "2") and found.values.tolist() == ["0", "2"]
    found = labels(["much", "none", "some"], kind="ordinal", classes=["none", "some", "much"])
    assert found.values.tolist() == [2, 0, 1]
    assert labels([0.5, 0, 2], kind="ordinal").classes == ("0", "0.5", "2")
    times = labels_of(
        make_target("mine", {"kind": "survival", "column": "e", "time": "t", "months": 24}),
        SCANS.assign(e=[1, 1, 0], t=[12, 30, 0]),
        SCANS,
    )
    assert times.values.tolist() == [[12, 1], [24, 0]] and times.known.tolist() == [1, 1, 0]
    with pytest.raises(UserError, match=r"1 value.s. that are no numbers, such as 'low'"):
        labels(["low", 1, 2], kind="continuous")
    with pytest.raises(UserError, match="no column x"):
        labels_of(make_target("mine", {"kind": "continuous", "column": "x"}), SCANS, SCANS)
    with pytest.raises(UserError, match="fewer than two values"):
        labels([1, 1, 1], kind="multiclass")


def test_event_times_end_with_the_last_visit():
    visits = pd.DataFrame(
        {
            "participant_id": ["a", "a", "a", "b", "b", "c", "c"],
            "months": [0, 12, 24, 0, 6, 0, 12],
            "diagnosis": ["MCI", "AD", "AD", "MCI", "MCI", "AD", "MCI"],
        }
    )
    found = event_times(visits, visits, ("MCI",), "AD")
    assert found[0].tolist() == [12, 1, 24] and found[3].tolist() == [6, 0, 6]
    assert np.isnan(found[[1, 2, 5, 6]]).all()


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"kind": "binary"}, "needs one of classes"),
        ({"kind": "binary", "classes": ["a", "b"], "positive": [1]}, "needs one of classes"),
        ({"kind": "binary", "positive": "over 3"}, "write a comparison"),
        ({"kind": "continuous", "positive": "> 1"}, "is for kind binary"),
        ({"kind": "binary", "event": "AD", "among": ["MCI"]}, "needs months"),
        ({"kind": "survival"}, "needs either event"),
        ({"kind": "survival", "event": "AD"}, "among"),
        ({"kind": "ordinal", "table": "a.tsv", "study_table": "B"}, "both set"),
        ({"kind": "ordinal", "table": "a.tsv", "date": "d"}, "go together"),
        ({"kind": "ordinal", "subject": "PTID"}, "columns of a table"),
        ({"kind": "ordinal", "probes": ["regularised", "paper"]}, "binary and continuous only"),
    ],
)
def test_contradictions_of_an_entry_are_refused(about, message):
    with pytest.raises(UserError, match=message):
        make_target("mine", about)


def test_diagnosis_and_age_stay_what_the_manipulation_needs():
    with pytest.raises(UserError, match=r"targets\.age must be there"):
        target_table(CFG["targets"] | {"age": None})
    other = {"kind": "continuous", "column": "mmse"}
    with pytest.raises(UserError, match="from the cohort's own column age"):
        target_table(CFG["targets"] | {"age": other})
    other = {"kind": "binary", "column": "sex", "classes": ["F", "M"]}
    with pytest.raises(UserError, match="from the cohort's own column diagnosis"):
        target_table(CFG["targets"] | {"diagnosis": other})
    left = target_table(CFG["targets"] | {"groups": None})
    assert list(left) == ["diagnosis", "age", "conversion"]


def test_baseline_of_age_and_sex_never_holds_the_target():
    data = ProbeData(SCANS, {"age_sex": np.array([[70, 1], [71, 1], [60, 0]])})
    found = without_target(data, make_target("sex", {"kind": "binary", "classes": ["F", "M"]}))
    assert found.features["age"].tolist() == [[70], [71], [60]] and "age_sex" not in found.features
    assert "age_sex" in without_target(data, make_target("x", {"kind": "continuous"})).features


def test_a_number_is_one_class_however_it_is_written():
    text = ["1.0", "2", "1"]
    assert labels(text, kind="multiclass", classes=[1, 2]).values.tolist() == ["1", "2", "1"]
    assert labels(text, kind="ordinal").values.tolist() == [0, 1, 0]
    assert labels(text, kind="binary", positive=[1]).values.tolist() == [True, False, True]
    assert labels([1, 2, 1], kind="binary", positive=["1.0"]).values.tolist() == [True, False, True]
    long = labels([1234567, "1234568.0", 1234567.5], kind="multiclass")
    assert long.classes == ("1234567", "1234567.5", "1234568")
    assert labels(["1_2", "12", "nan"], kind="multiclass").classes == ("12", "1_2", "nan")


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"kind": "binary", "classes": ["low", "hihg"]}, "value.s. hihg of column x, which holds"),
        ({"kind": "ordinal", "classes": ["low", "high", 3]}, "value.s. 3 of column x"),
        ({"kind": "binary", "positive": ["High"]}, "value.s. High of .* correct positive"),
    ],
)
def test_configured_values_that_no_scan_has_are_refused(about, message):
    target = make_target("mine", {"column": "x"} | about)
    with pytest.raises(UserError, match=message):
        require_configured_values(target, pd.DataFrame({"x": ["low", "high", np.nan]}))
    require_configured_values(target, pd.DataFrame({"x": [np.nan, np.nan]}))


def test_a_cohort_may_lack_a_diagnosis():
    groups = {"kind": "multiclass", "column": "diagnosis", "classes": ["CN", "MCI", "AD"]}
    require_configured_values(make_target("groups", groups), SCANS)
