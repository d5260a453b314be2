"""Scan table: clinical data joined to each scan, duplicates, refused input."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from ldae.cohort.scans import COLUMNS, build_scans
from ldae.conversion.bids import scan_path
from ldae.derivatives import Shards, shard_of
from ldae.errors import UserError

SHARDS = Shards([0, 1, 2, 3], [])
SCHEMA = Path(__file__).parents[2] / "workflow/schemas/scans.schema.yaml"
ADNI, OASIS = "sub-ADNI002S0413", "sub-OAS30001"
FIRST, LATER = f"{ADNI}_ses-M000", f"{ADNI}_ses-M006"
FOREIGN, SECOND = f"{OASIS}_ses-d0129", f"{OASIS}_ses-d0131"


@pytest.fixture
def bids(tmp_path):
    """Two cohorts in one folder: Clinica's sessions have no months, an import's have."""
    root = tmp_path / "bids"
    for scan in (FIRST, LATER, FOREIGN, SECOND):
        path = scan_path(root, scan)
        path.parent.mkdir(parents=True, exist_ok=True)
        original = tmp_path / f"{scan}.nii.gz"
        original.touch()
        path.symlink_to(original)
    tables = {
        "participants.tsv": f"participant_id sex apoe4\n{ADNI} M 1\n{OASIS} n/a n/a\n",
        f"{ADNI}/{ADNI}_sessions.tsv": "session_id age diagnosis MMSE cdr_global\n"
        "ses-M000 70.0 CN 30 n/a\nses-M006 70.5 MCI 28 0.5\nses-M012 71.0 AD n/a n/a\n",
        f"{OASIS}/{OASIS}_sessions.tsv": "session_id months age diagnosis MMSE cdr_global\n"
        "ses-d0129 4 65.3 n/a n/a n/a\nses-d0131 4 65.3 AD 20 1\n",
    }
    for name, text in tables.items():
        (root / name).write_text(text.replace(" ", "\t"))
    return root


@pytest.fixture
def conversion():
    rows = [
        (FIRST, "converted", "ADNI", "I1", 1.5),
        (LATER, "converted", "ADNI", "I2", 3.0),
        (f"{ADNI}_ses-M012", "failed", "ADNI", "I3", 3.0),
        (FOREIGN, "converted", "OASIS3", "OASIS3/sub-OAS30001/a_T1w", None),
        (None, "not_chosen", "OASIS3", "OASIS3/sub-OAS30001/b_T1w", None),
        (SECOND, "converted", "OASIS3", "OASIS3/sub-OAS30001/c_T1w", 3.0),
    ]
    names = ["scan_id", "status", "cohort", "image_id", "field_strength"]
    table = pd.DataFrame(rows, columns=names)
    hashes = [hashlib.sha256(name.encode()).hexdigest() for name in table["image_id"]]
    return table.assign(image_hash=hashes)


def test_subjects_that_came_preprocessed_go_to_shards_of_their_own(bids, conversion):
    scans, _ = build_scans(bids, conversion, Shards([0, 1], [2, 3]), ["OASIS3"], SCHEMA)
    shards = scans.set_index("scan_id")["shard"]
    assert set(shards[[FIRST, LATER]]) <= {0, 1}
    assert set(shards[[FOREIGN, SECOND]]) <= {2, 3}


@pytest.mark.parametrize(
    ("main", "beside", "raw", "preprocessed"),
    [
        ({}, {}, [0, 1], []),
        ({"preprocessed_dir": "a"}, {}, [], [0, 1]),
        ({}, {"B": {"preprocessed_dir": "b"}}, [0, 1], [2, 3]),
        ({"preprocessed_dir": "a"}, {"B": {"bids_dir": "b"}}, [0, 1], [2, 3]),
        ({"preprocessed_dir": "a"}, {"B": {"preprocessed_dir": "b"}}, [], [0, 1]),
    ],
)
def test_shards_of_raw_heads_come_before_those_of_preprocessed_scans(
    main, beside, raw, preprocessed
):
    cohort = {"name": "A", "preprocessed_dir": None, "beside": beside} | main
    assert Shards.of(cohort, 2) == (raw, preprocessed)


def test_build_scans_joins_clinical_data_of_the_visit(bids, conversion):
    scans, duplicates = build_scans(bids, conversion, SHARDS, [], SCHEMA)
    assert list(scans) == COLUMNS and duplicates.empty
    assert list(scans["scan_id"]) == sorted([FIRST, LATER, FOREIGN, SECOND])
    scans = scans.set_index("scan_id")
    later = scans.loc[LATER]
    assert (later["diagnosis"], later["age"], later["mmse"], later["cdr_global"]) == (
        "MCI", 70.5, 28, 0.5,
    )  # fmt: skip
    assert (later["image_id"], later["field_strength"], later["cohort"]) == ("I2", 3.0, "ADNI")
    assert later["image_hash"] == hashlib.sha256(b"I2").hexdigest()
    assert later["sex"] == "M" and later["apoe4"] == 1 and later["shard"] == shard_of(ADNI, 4)
    assert (bids / later["path"]).is_file() and not Path(later["path"]).is_absolute()
    assert scans["months"].to_dict() == {FIRST: 0, LATER: 6, FOREIGN: 4, SECOND: 4}
    foreign = scans.loc[FOREIGN]
    assert foreign["cohort"] == "OASIS3" and foreign["session_id"] == "ses-d0129"
    assert foreign[["diagnosis", "mmse", "sex", "apoe4", "field_strength"]].isna().all()


def test_build_scans_excludes_duplicates(bids, conversion):
    copy = conversion.set_index("scan_id")
    copy.loc[LATER, "image_hash"] = copy.loc[FIRST, "image_hash"]
    scans, duplicates = build_scans(bids, copy.reset_index(), SHARDS, [], SCHEMA)
    assert list(scans["scan_id"]) == [FIRST, FOREIGN, SECOND]
    assert duplicates[["scan_id", "duplicate_of"]].values.tolist() == [[LATER, FIRST]]
    copy.loc[FOREIGN, "image_hash"] = copy.loc[FIRST, "image_hash"]  # the person of SECOND
    with pytest.raises(UserError, match="Every scan"):
        build_scans(bids, copy.reset_index(), SHARDS, [], SCHEMA)


def test_external_test_set_leaves_out_people_that_another_cohort_has(bids, conversion):
    copy = conversion.set_index("scan_id")
    copy.loc[FOREIGN, "image_hash"] = copy.loc[LATER, "image_hash"]
    scans, duplicates = build_scans(bids, copy.reset_index(), SHARDS, [], SCHEMA, ["OASIS3"])
    assert list(scans["scan_id"]) == [FIRST, LATER]  # the main cohort loses nothing
    assert list(duplicates["scan_id"]) == [FOREIGN, SECOND]  # the other scan of the person as well
    assert set(duplicates["duplicate_of"]) == {LATER}
    apart, none = build_scans(bids, conversion, SHARDS, [], SCHEMA, ["OASIS3"])
    assert len(apart) == 4 and none.empty


def test_build_scans_accepts_a_linked_results_folder(bids, conversion, tmp_path):
    link = tmp_path / "elsewhere"
    link.symlink_to(bids)
    scans, _ = build_scans(link, conversion, SHARDS, [], SCHEMA)
    assert (bids / scans["path"][0]).is_file()


def test_build_scans_refuses_values_outside_the_schema(bids, conversion):
    path = bids / ADNI / f"{ADNI}_sessions.tsv"
    path.write_text(path.read_text().replace("MCI", "Dementia"))
    with pytest.raises(UserError, match=rf"{LATER}: diagnosis: 'Dementia'"):
        build_scans(bids, conversion, SHARDS, [], SCHEMA)


def test_build_scans_refuses_scan_without_row_or_image(bids, conversion):
    with pytest.raises(UserError, match=f"no row, or two, for their scan_id .*{LATER}"):
        build_scans(bids, conversion[conversion["scan_id"] != LATER], SHARDS, [], SCHEMA)
    path = bids / ADNI / f"{ADNI}_sessions.tsv"
    text = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in text if "ses-M006" not in line))
    with pytest.raises(UserError, match=f"no row, or two, for their participant_id.*{LATER}"):
        build_scans(bids, conversion, SHARDS, [], SCHEMA)
    for path in bids.rglob("*_T1w.nii.gz"):
        path.unlink()
    with pytest.raises(UserError, match="no T1-weighted image"):
        build_scans(bids, conversion, SHARDS, [], SCHEMA)
