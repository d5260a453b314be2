"""Acquisition table: sites, scanners and education, from tables, sidecars and subjects' names."""

import numpy as np
import pandas as pd
import pytest

from ldae.cohort.acquisitions import COLUMNS, acquisition_table, nominal_strength, vendor_name
from ldae.errors import UserError
from ldae.files import read_table, write_json, write_table

SITE = r"^sub-ADNI(\d{3})S"


def clinica(root):
    """A BIDS folder as Clinica makes it of ADNI: two people of two sites, one with two visits."""
    write_table(
        pd.DataFrame(
            {
                "participant_id": ["sub-ADNI002S0001", "sub-ADNI130S0002"],
                "site": ["2", "n/a"],
                "education_level": [16, 12],
                "original_study": ["ADNI1", "ADNI2"],
            }
        ),
        root / "participants.tsv",
    )
    rows = []
    for person, session, study, about in (
        ("sub-ADNI002S0001", "ses-M000", "ADNI1", {"Manufacturer": "GE MEDICAL SYSTEMS"}),
        ("sub-ADNI002S0001", "ses-M024", "ADNI2", {"Manufacturer": "SIEMENS",
                                                   "ManufacturersModelName": "Skyra"}),
        ("sub-ADNI130S0002", "ses-M000", "n/a", {}),
    ):  # fmt: skip
        scan = f"{person}_{session}"
        path = f"{person}/{session}/anat/{scan}_T1w.nii.gz"
        (root / path).parent.mkdir(parents=True)
        write_json(about, (root / path).with_name(f"{scan}_T1w.json"))
        rows.append((scan, person, session, path, 2.89, study))
    for person in ("sub-ADNI002S0001", "sub-ADNI130S0002"):
        own = [(session, study) for _, who, session, _, _, study in rows if who == person]
        write_table(
            pd.DataFrame(own, columns=["session_id", "current_study"]),
            root / person / f"{person}_sessions.tsv",
        )
    names = ["scan_id", "participant_id", "session_id", "path", "field_strength", "study"]
    return pd.DataFrame(rows, columns=names).assign(cohort="ADNI")


def imported(root):
    """A data set with tables of its own words; its scans have a prefix and other paths in ours."""
    write_table(
        pd.DataFrame({"participant_id": ["sub-A", "sub-B"], "Site": ["2", "3"], "educ": [9, "?"]}),
        root / "participants.tsv",
    )
    write_table(
        pd.DataFrame(
            {"participant_id": ["sub-A", "sub-B"], "session_id": "ses-1", "Scanner Vendor":
             ["Philips", "n/a"]}
        ),
        root / "sessions.tsv",
    )  # fmt: skip
    write_json({"Manufacturer": "Canon Medical"}, root / "T1w.json")  # of all, by inheritance
    scans, conversion = [], []
    for label in "AB":
        scan = f"sub-X{label}_ses-1"
        ours = f"sub-X{label}/ses-1/anat/{scan}_T1w.nii.gz"
        scans.append((scan, f"sub-X{label}", "ses-1", ours, 3.0, "OTHER"))
        theirs = f"sub-{label}/ses-1/anat/sub-{label}_ses-1_run-2_T1w.nii.gz"
        conversion.append((scan, label, theirs, "converted"))
    names = ["scan_id", "participant_id", "session_id", "path", "field_strength", "cohort"]
    return (
        pd.DataFrame(scans, columns=names),
        pd.DataFrame(conversion, columns=["scan_id", "subject_id", "path", "status"]),
    )


NOTHING = pd.DataFrame(columns=["scan_id", "subject_id", "path", "status"])


def test_adni_has_the_phase_of_the_visit_and_the_site_of_tables_or_names(tmp_path):
    scans = clinica(tmp_path)
    found = acquisition_table(scans, NOTHING, tmp_path, {}, SITE)
    assert list(found.columns) == COLUMNS
    assert found["site"].tolist() == ["ADNI 2", "ADNI 2", "ADNI 130"]
    assert found["phase"].tolist() == ["ADNI1", "ADNI2", "ADNI2"]  # the last of the first study
    assert found["vendor"].tolist() == ["GE", "Siemens", None]
    assert found["model"].tolist() == [None, "Skyra", None]
    assert found["education"].tolist() == [16, 16, 12] and set(found["field_strength"]) == {3.0}
    unnamed = acquisition_table(scans, NOTHING, tmp_path, {}, None)
    assert unnamed["site"].tolist() == ["ADNI 2", "ADNI 2", None]


def test_site_has_one_name_whether_a_table_or_a_subject_tells_it(tmp_path):
    scans = clinica(tmp_path)
    people = pd.DataFrame(
        {
            "participant_id": ["sub-ADNI002S0001", "sub-ADNI130S0002"],
            "site": ["n/a", "130.0"],
            "educ": ["-4.0", "0"],
        }
    )
    write_table(people, tmp_path / "participants.tsv")
    found = acquisition_table(scans, NOTHING, tmp_path, {}, SITE)
    assert found["site"].tolist() == ["ADNI 2", "ADNI 2", "ADNI 130"]
    assert found["education"].isna().tolist() == [True, True, False]


def test_imported_data_set_is_read_where_it_lies(tmp_path):
    scans, conversion = imported(tmp_path / "theirs")
    ours = clinica(tmp_path / "bids")
    both = pd.concat([ours, scans], ignore_index=True)
    datasets = {"OTHER": tmp_path / "theirs"}
    found = acquisition_table(both, conversion, tmp_path / "bids", datasets, SITE)
    assert found["site"].tolist()[3:] == ["OTHER 2", "OTHER 3"]  # not ADNI's site 2
    assert found["vendor"].tolist()[3:] == ["Philips", "Canon"]
    assert found["education"].iloc[3] == 9 and np.isnan(found["education"].iloc[4])
    write_table(found, tmp_path / "acquisitions.tsv")
    again = read_table(tmp_path / "acquisitions.tsv")
    assert again["site"].tolist() == found["site"].tolist()


def test_folder_that_is_gone_is_refused(tmp_path):
    scans, conversion = imported(tmp_path / "theirs")
    with pytest.raises(UserError, match="data set OTHER does not exist"):
        acquisition_table(scans, conversion, tmp_path, {"OTHER": tmp_path / "gone"}, SITE)


def test_vendors_and_strengths_are_those_that_headers_mean():
    assert vendor_name("Philips Medical Systems") == "Philips"
    assert vendor_name("Siemens Healthineers") == "Siemens"
    assert vendor_name("GE HealthCare") == "GE" and vendor_name("SYNTHETIC") == "SYNTHETIC"
    assert vendor_name("Gesellschaft") == "Gesellschaft"
    strengths = [nominal_strength(t) for t in (1.494, 2.89, 3.0, 7.0, 0.064, 1.2)]
    assert strengths == [1.5, 3.0, 3.0, 7.0, 0.064, 1.2]
    assert np.isnan(nominal_strength(np.nan))
