"""Splits: stratified, frozen, and refused if a subject or an image is in two of them."""

import math

import numpy as np
import pandas as pd
import pytest

from ldae.cohort.splits import EXTERNAL, assert_disjoint, make_splits, split_by_role, strata
from ldae.errors import UserError
from ldae.files import read_table

PROPORTIONS = {"ADNI/CN": 0.5, "ADNI/MCI": 0.3, "ADNI/AD": 0.15, "ADNI/unknown": 0.05}


def people(first, last):
    """Subjects by number; the stratum of a subject depends on its number alone."""
    draw = np.random.default_rng(5).choice(
        list(PROPORTIONS), size=2000, p=list(PROPORTIONS.values())
    )
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{number:04d}" for number in range(first, last)],
            "stratum": draw[first:last],
        }
    )


@pytest.fixture
def split(tmp_path):
    def make(subjects, test=0.1, val=0.05, seed=42, **more):
        table = make_splits(subjects, test, val, seed, tmp_path / "frozen", **more)
        return table.set_index("participant_id")["split"]

    return make


def test_splits_fill_the_quotas_of_every_stratum(split):
    subjects = people(0, 1500)
    splits = split(subjects)
    for _, group in subjects.groupby("stratum"):
        counts = splits[group["participant_id"]].value_counts()
        assert abs(counts["test"] - 0.1 * len(group)) < 1
        assert abs(counts.get("val", 0) - 0.05 * (len(group) - counts["test"])) < 1
    assert list(splits.index) == sorted(subjects["participant_id"])


def test_splits_stay_when_subjects_come_or_go_or_change_diagnosis(split, tmp_path):
    first = split(people(0, 300))
    split(people(100, 200))
    grown = split(people(50, 900))
    assert (grown[[name for name in first.index if name in grown]] == first[50:]).all()
    back = split(people(0, 300))
    assert back.equals(first)
    subjects = people(0, 900)
    assert abs((split(subjects) == "test").mean() - 0.1) < 4 / 900  # one subject per stratum
    moved = subjects.assign(stratum="ADNI/AD")  # diagnoses change, splits do not
    assert split(moved).equals(split(subjects))
    assert len(list((tmp_path / "frozen").iterdir())) == 1


def test_splits_are_frozen_in_one_file_per_setting(split, tmp_path):
    subjects = people(0, 200)
    first = split(people(0, 40))
    both = split(subjects)
    other = split(subjects, seed=43)
    assert not other.equals(both)
    assert (split(subjects, test=0.3) == "test").mean() > 0.25
    assert len(list((tmp_path / "frozen").iterdir())) == 3
    assert split(subjects).equals(both) and (both[first.index] == first).all()
    # Drawn at once they would have other splits: the file fixes them, not the seed.
    fresh = make_splits(subjects, 0.1, 0.05, 42, tmp_path / "elsewhere")
    assert not fresh.set_index("participant_id")["split"].equals(both)


def test_splits_by_known_values(split):
    """Frozen: a change of the hash would silently move subjects of a published split."""
    splits = split(people(0, 20), test=0.3, val=0.3)
    # Second letters: tRain, vAl, tEst.
    assert "".join(name[1] for name in splits) == "reeearerrererararrra"


def test_splits_are_not_frozen_if_a_split_is_empty(split, tmp_path):
    with pytest.raises(UserError, match="val_fraction"):
        split(people(0, 50), val=0.0)
    assert not (tmp_path / "frozen").exists()


@pytest.mark.parametrize(
    ("fractions", "key"),
    [((0.0, 0.3), "test_fraction"), ((0.3, 0.0), "val_fraction"), ((1.0, 0.5), "val")],
)
def test_empty_split_names_the_key(fractions, key, split):
    with pytest.raises(UserError, match=key):
        split(people(0, 50), *fractions)


def test_given_splits_are_kept_and_other_subjects_restore_the_quotas(split, tmp_path):
    subjects, given = people(0, 400), tmp_path / "given.tsv"
    listed = subjects.iloc[::4]  # a quarter, all of them test subjects: more than the quota
    listed.assign(split="test")[["participant_id", "split"]].to_csv(given, sep="\t", index=False)
    splits = split(subjects, given=given)
    assert (splits[listed["participant_id"]] == "test").all()
    assert (splits == "test").sum() == 100 and (splits == "val").any()
    # A listed subject that comes later takes the given split as well.
    early = split(subjects[1:], given=given, seed=1)
    assert "sub-0000" not in early and split(subjects, given=given, seed=1)["sub-0000"] == "test"


def test_given_splits_may_grow_but_not_contradict_the_frozen_file(split, tmp_path):
    subjects, given = people(0, 300), tmp_path / "given.tsv"
    before = split(subjects)
    name = before.index[7]
    given.write_text(f"participant_id\tsplit\n{name}\t{before[name]}\n")
    assert split(subjects, given=given).equals(before)
    with given.open("a") as stream:
        stream.write("sub-0300\ttest\nsub-0301\tval\nsub-1999\ttest\n")
    after = split(people(0, 302), given=given)
    assert after[before.index].equals(before)
    assert after[["sub-0300", "sub-0301"]].tolist() == ["test", "val"]
    assert split(people(0, 302)).equals(after)  # also without the given table
    (frozen,) = (tmp_path / "frozen").iterdir()

    other = {"train": "test", "val": "train", "test": "train"}[before[name]]
    given.write_text(f"participant_id\tsplit\n{name}\t{other}\nsub-0301\tval\n")
    kept = frozen.read_bytes()
    message = rf"given\.tsv .* 1 subject.*{frozen.name}.*{name} is {before[name]} there, {other}"
    with pytest.raises(UserError, match=message):
        split(people(0, 302), given=given)
    with pytest.raises(UserError, match=message):  # also if the subject is absent now
        split(people(8, 400), given=given)
    assert frozen.read_bytes() == kept
    assert split(people(0, 302), given=given, seed=43)[name] == other


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sub-0001\ttest\nsub-0001\ttrain\n", "sub-0001 twice"),
        ("sub-0001\tvalidation\n", "split that is not train, val, test"),
        ("002_S_0413\ttest\n", "None of the 1 subjects .* called like sub-0000"),
    ],
)
def test_given_splits_refuse_duplicates_and_unknown_names(content, message, split, tmp_path):
    (tmp_path / "given.tsv").write_text(f"participant_id\tsplit\n{content}")
    with pytest.raises(UserError, match=message):
        split(people(0, 50), given=tmp_path / "given.tsv")


def test_damaged_file_of_frozen_splits_is_refused(split, tmp_path):
    split(people(0, 50))
    (path,) = (tmp_path / "frozen").iterdir()
    assert list(read_table(path)) == ["participant_id", "stratum", "split"]
    path.write_text(path.read_text() + "sub-0000\tADNI/CN\ttest\n")
    with pytest.raises(UserError, match=r"sub-0000 twice.*Restore"):
        split(people(0, 60))


def test_the_stratum_is_the_first_known_diagnosis_in_the_cohort():
    scans = pd.DataFrame(
        [
            ("sub-b", 12, "AD", "ADNI"),
            ("sub-b", 6, "MCI", "ADNI"),
            ("sub-b", 0, math.nan, "ADNI"),
            ("sub-a", 0, math.nan, "ADNI"),
            ("sub-c", 100, "AD", "OASIS"),
            ("sub-c", 24, "CN", "OASIS"),
        ],
        columns=["participant_id", "months", "diagnosis", "cohort"],
    )
    table = strata(scans)
    assert table["participant_id"].tolist() == ["sub-a", "sub-b", "sub-c"]
    assert table["stratum"].tolist() == ["ADNI/unknown", "ADNI/MCI", "OASIS/CN"]


def test_subject_in_two_splits_is_refused():
    table = pd.DataFrame({"participant_id": ["a", "a", "b"], "split": ["train", "train", "test"]})
    assert_disjoint(table)
    table.loc[1, "split"] = "test"
    with pytest.raises(UserError, match="such as a"):
        assert_disjoint(table)
    table.loc[1, "split"] = "validation"
    with pytest.raises(UserError, match="validation"):
        assert_disjoint(table)


def test_image_in_two_splits_is_refused():
    table = pd.DataFrame({"participant_id": ["a", "b", "c"], "split": ["train", "test", "test"]})
    assert_disjoint(table.assign(image_hash=[math.nan, math.nan, "x"]))  # n/a is no image
    assert_disjoint(table.assign(image_hash=["y", "x", "x"]))
    with pytest.raises(UserError, match="one of a and c"):
        assert_disjoint(table.assign(image_hash=["x", "y", "x"]))


def test_roles_put_whole_data_sets_aside_and_leave_the_drawn_splits_as_they_are(split, tmp_path):
    main = people(0, 200)
    alone = split(main)
    frozen = next((tmp_path / "frozen").iterdir()).read_bytes()
    names = {"OASIS3": "test", "AIBL": "train", "SITE": "both"}
    beside = pd.DataFrame(
        [(f"sub-{name}{number}", f"{name}/CN") for name in names for number in range(9)],
        columns=["participant_id", "stratum"],
    )
    drawn, fixed = split_by_role(pd.concat([main, beside]), names)
    assert drawn["stratum"].str.startswith(("ADNI", "SITE")).all() and len(drawn) == 209
    splits = fixed.set_index("participant_id")["split"]
    assert (splits[splits.index.str.contains("OASIS3")] == EXTERNAL).all()
    assert (splits[splits.index.str.contains("AIBL")] == "train").all() and len(splits) == 18
    assert_disjoint(fixed)
    drawn, _ = split_by_role(pd.concat([main, beside[:18]]), names)
    assert split(drawn).equals(alone)
    assert next((tmp_path / "frozen").iterdir()).read_bytes() == frozen


def test_given_split_may_not_contradict_the_role_of_a_data_set(tmp_path):
    subjects = pd.DataFrame({"participant_id": ["sub-a", "sub-b"], "stratum": ["O/CN", "A/CN"]})
    given = tmp_path / "given.tsv"
    given.write_text("participant_id\tsplit\nsub-a\ttrain\nsub-b\ttest\n")
    with pytest.raises(UserError, match=r"1 subject.*role.*sub-a"):
        split_by_role(subjects, {"O": "test"}, given)
    assert len(split_by_role(subjects, {"O": "train"}, given)[1]) == 1
