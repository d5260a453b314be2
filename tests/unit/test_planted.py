"""Planted labels and sites: their relation to the truth, what must be found of them, thresholds."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from helpers.planted_tables import planted_summary, planted_table
from helpers.results import make_results
from ldae.config_checks import check_planted
from ldae.errors import UserError
from ldae.evaluation.probes.features import ProbeData
from ldae.evaluation.probes.labels import labels_of
from ldae.evaluation.probes.target_table import make_target
from ldae.evaluation.scanner.evaluate import INSEPARABLE
from ldae.files import read_table, write_table
from ldae.ground_truth import planted, planted_targets
from ldae.ground_truth.planted import COLUMNS
from ldae.ground_truth.planted_labels import (
    SIGNALS,
    noise_labels,
    related_labels,
    signals,
    sites,
    write_planted_labels,
)
from ldae.ground_truth.planted_relations import NOISE, RELATED, require_own_labels, require_planted
from ldae.ground_truth.planted_scanner import (
    Shift,
    association,
    confounding_of_sites,
    scanner_rows,
)
from ldae.ground_truth.planted_targets import (
    expected_scores,
    null_rows,
    read_values,
    target_rows,
)
from ldae.report.proof_planted import planted_thresholds
from ldae.report.tables.registry import PRINTERS

CFG = {
    "scanner": {"covariates": ["age", "sex"], "permutations": 100, "systems": ["ldae"]},
    "probes": {"cv_folds": 3, "min_subjects": 3},
    "bootstrap": 200,
}
DIAGNOSIS = make_target("diagnosis", {"kind": "binary", "classes": ["CN", "AD"]})


def people(count, seed=0):
    """Truth of two visits a person, half of them for testing, and a code of 6 numbers."""
    draw = np.random.default_rng(seed)
    person = np.repeat(np.arange(count), 2)
    ill = draw.random(count) < 0.5
    size = draw.normal(size=count)[person] + 0.1 * draw.normal(size=2 * count)
    truth = pd.DataFrame(
        {
            "scan_id": [f"s{k:05d}" for k in range(2 * count)],
            "participant_id": [f"sub-{one:04d}" for one in person],
            "session_id": [f"ses-M{k % 2:03d}" for k in range(2 * count)],
            "months": np.arange(2 * count) % 2 * 12,
            "diagnosis": np.where(ill, "AD", "CN")[person],
            "age": draw.normal(73, 6, count)[person],
            "sex": np.where(draw.random(count) < 0.5, "F", "M")[person],
            "split": np.where(person < count // 2, "train", "test"),
            "ventricle_ml": 40 * np.exp(0.4 * size),
            "hippocampus_ml": 8 - 0.5 * draw.normal(size=count)[person] - 0.3 * size,
        }
    )
    codes = draw.normal(size=(count, 6))[person] * np.array([3, 2, 1, 1, 0.5, 0.5])
    codes[:, 5] += 0.3 * ill[person]
    return truth, codes


def test_labels_follow_the_noiseless_truth_as_strongly_as_is_said():
    truth, _ = people(4000)
    values = signals(truth)
    assert np.allclose(values.mean(), 0) and np.allclose(values.std(ddof=0), 1)
    assert np.corrcoef(values["loss"], truth["hippocampus_ml"])[0, 1] < -0.5
    labels = related_labels(values, np.random.default_rng(1))
    loss = values["loss"]
    r = np.corrcoef(labels["number"], loss)[0, 1]
    assert r == pytest.approx(1 / np.sqrt(1 + 0.5**2), abs=0.01)
    near = np.abs(loss - 1) < 0.1
    assert labels["case"][near].mean() == pytest.approx(1 / (1 + np.exp(-2)), abs=0.05)
    both = (np.abs(values["ventricles"] - 1) < 0.3) & (np.abs(values["hippocampi"]) < 0.3)
    share = labels["group"][both].value_counts(normalize=True)
    assert share["ventricles"] == pytest.approx(np.exp(1.5) / (2 + np.exp(1.5)), abs=0.07)
    assert sorted(labels["level"].unique()) == [0, 1, 2, 3]
    followed, events = labels["months"][near].sum(), labels["event"][near].sum()
    assert events / followed == pytest.approx(np.exp(1) / 36, rel=0.15)


def test_expected_scores_are_those_of_closed_form():
    truth, _ = people(700)
    values = signals(truth)
    found = expected_scores(values, values, seed=3)
    assert set(found) == set(RELATED)
    assert found["planted_number"] == pytest.approx(1 / np.sqrt(1.25), abs=0.005)
    draw = np.random.default_rng(0)
    chance = 1 / (1 + np.exp(-2 * values["loss"]))
    auroc = [roc_auc_score(draw.random(len(chance)) < chance, values["loss"]) for _ in range(20)]
    assert found["planted_case"] == pytest.approx(np.mean(auroc), abs=0.005)
    turned = expected_scores(values, -values, seed=3)
    assert turned["planted_number"] == pytest.approx(-found["planted_number"])
    assert turned["planted_event"] == pytest.approx(1 - found["planted_event"])
    assert turned["planted_group"] < 0.5 < found["planted_group"]


def test_reading_of_a_code_that_is_the_truth_is_the_truth():
    truth, _ = people(300)
    values = signals(truth)
    code = values[["ventricles", "hippocampi"]].to_numpy() @ np.array([[2.0, 1.0], [0.0, 3.0]])
    read = read_values(code, values, truth, 3)
    test = (truth["split"] == "test").to_numpy()
    for name in SIGNALS:
        assert np.corrcoef(read[name], values[name][test])[0, 1] > 0.999


def test_noise_is_of_people_and_its_p_values_are_uniform():
    truth, codes = people(80)
    labels = noise_labels(truth["participant_id"], np.random.default_rng(0))
    assert (labels.groupby(truth["participant_id"]).nunique() == 1).all(axis=None)
    assert labels["noise"].nunique() == 80
    rows = {row["planted"]: row for row in null_rows(codes, truth, 3, seed=5)}
    assert set(rows) == set(NOISE)
    for row in rows.values():
        assert 0.01 <= row["value"] <= 0.1 and row["p"] > 0.01


def test_shift_has_the_stated_size_in_sds_of_the_code_along_it():
    truth, codes = people(3000)
    training = (truth["split"] == "train").to_numpy()
    shift = Shift.draw(codes, training, seed=2)
    step = shift.step
    distance = np.sqrt(step @ np.linalg.solve(np.cov(codes[training].T), step))
    assert distance == pytest.approx(1.0, rel=0.01)
    assert shift.place[training].std() == pytest.approx(1.0, rel=0.01)
    for size in (0.0, 1.0, 2.0):
        assert shift.told(size) == pytest.approx(norm.cdf(size / 2), abs=0.02)
    known = (shift.place < 1.0).mean() + (shift.place > -1.0).mean()
    assert shift.told(2.0) == pytest.approx(known / 2)
    assert Shift(step, np.zeros(9)).told(0.0) == 0.5


def test_even_site_is_told_as_its_size_implies_and_gone_after_combat():
    truth, codes = people(700)
    labels = sites(truth, np.random.default_rng(4))
    data = ProbeData(truth, {"ldae": codes})
    rows = pd.DataFrame(scanner_rows(data, labels, truth, DIAGNOSIS, CFG, 1))
    told = rows[rows["part"] == "site"].set_index("size")
    assert told["expected"].tolist() == pytest.approx(norm.cdf([0.0, 0.5, 1.0]), abs=0.02)
    assert ((told["ci_low"] <= told["expected"]) & (told["expected"] <= told["ci_high"])).all()
    assert told["p"][2.0] < 0.05 < told["p"][0.0]
    gone = rows[rows["part"] == "harmonised"]
    assert (gone["ci_low"] <= 0.5).all() and (gone["value"] < 0.55).all()
    cost = rows[rows["part"] == "diagnosis"]
    assert (cost["ci_low"] > -0.02).all() and (cost["ci_high"] < 0.02).all()
    assert set(rows.loc[rows["planted"] == "skewed", "part"]) == {"gain", "harmonised gain"}


def test_what_combat_cannot_tell_from_the_site_is_measured_before_it_alone():
    truth, codes = people(120)
    truth.loc[truth["split"] == "train", "sex"] = "M"  # women among the test people alone
    labels = sites(truth, np.random.default_rng(4))
    data = ProbeData(truth, {"ldae": codes})
    rows = pd.DataFrame(scanner_rows(data, labels, truth, DIAGNOSIS, CFG, 1))
    after = rows["part"].isin(["harmonised", "diagnosis", "harmonised gain"])
    assert (rows.loc[after, "note"] == INSEPARABLE).all()
    assert rows.loc[after, "value"].isna().all() and rows.loc[~after, "value"].notna().all()
    assert set(rows.loc[~after, "part"]) == {"site", "gain"}


def test_skewed_site_alone_is_flagged_with_the_planted_association():
    truth, _ = people(700)
    labels = sites(truth, np.random.default_rng(4))
    rows = {
        row["planted"]: row
        for row in confounding_of_sites(truth, labels, truth, DIAGNOSIS, CFG, seed=1)
    }
    assert rows["even"]["flag"] == "no" and rows["even"]["expected"] == 0
    assert rows["skewed"]["flag"] == "yes"
    assert rows["skewed"]["expected"] == pytest.approx(0.4, abs=0.01)
    assert rows["skewed"]["value"] == pytest.approx(0.4, abs=0.08)
    classes = np.array(["CN", "CN", "AD", "AD"], dtype=object)
    share = np.array([0.0, 0.0, 1.0, 1.0])
    assert association(np.arange(4), classes, share) == pytest.approx(1.0)


def test_planted_association_is_of_the_people_in_whom_it_is_looked_for():
    """A person counts at the first scan with a class, not at the first scan."""
    classes = np.array([None, "CN", "CN", "AD", "AD", "AD"], dtype=object)
    share = np.array([0.5, 0.5, 0.0, 1.0, 1.0, 0.5])
    people = np.array(["a", "a", "b", "c", "c", "d"])  # CN: 0.5 of 2 at B, AD: 1.5 of 2
    assert association(people, classes, share) == pytest.approx(0.5)
    assert np.isnan(association(people[1:3], classes[1:3], share[1:3]))


def test_a_cohort_of_one_diagnosis_has_no_association_and_says_so():
    truth, _ = people(40)
    truth["diagnosis"] = "CN"
    labels = sites(truth, np.random.default_rng(4))
    rows = pd.DataFrame(confounding_of_sites(truth, labels, truth, DIAGNOSIS, CFG, seed=1))
    assert rows[["value", "expected", "p"]].isna().all(axis=None)
    assert rows["note"].tolist() == ["one class of the target among the people with both"] * 2


def test_written_labels_are_read_as_targets_of_their_kinds(tmp_path):
    truth, _ = people(50)
    write_table(truth, tmp_path / "truth.tsv")
    write_planted_labels([tmp_path / "truth.tsv"], tmp_path / "planted.tsv", 21)
    again = tmp_path / "again.tsv"
    write_planted_labels([tmp_path / "truth.tsv"], again, 21)
    assert again.read_bytes() == (tmp_path / "planted.tsv").read_bytes()
    labels = read_table(tmp_path / "planted.tsv")
    for name, (kind, columns, _) in {**RELATED, **NOISE}.items():
        about = {"kind": kind, "column": columns[0], "table": "planted.tsv"}
        if kind == "binary":
            about["positive"] = "> 0.5"
        if kind == "survival":
            about["time"] = columns[1]
        found = labels_of(make_target(name, about), truth, truth, labels)
        assert found.known.all()


def test_thresholds_are_met_by_what_was_planted_and_by_nothing_else():
    table = planted_table()
    met = planted_thresholds(table)
    assert len(met) == 30
    assert [one.text for one in met if not one.met] == []
    nothing = planted_thresholds(table[:0])
    assert len(nothing) == 30 and not any(one.met for one in nothing)
    changes = [
        ("target", {"value": 0.9, "ci_low": 0.88, "ci_high": 0.99}, 10),  # more than is possible
        ("target", {"p_holm": 0.2}, 5),
        ("noise", {"p_holm": 0.01}, 4),
        ("null", {"value": 0.2}, 2),
        ("null", {"p": 0.001}, 2),
        ("site", {"ci_low": 0.6, "ci_high": 0.7}, 3),
        ("harmonised", {"ci_low": 0.6}, 2),
        ("diagnosis", {"ci_low": -0.1}, 2),
        ("confounding", {"flag": "yes"}, 1),
        ("confounding", {"value": 0.2}, 2),
    ]
    for part, change, lost in changes:
        changed = table.copy()
        for column, value in change.items():
            changed.loc[changed["part"] == part, column] = value
        assert sum(not one.met for one in planted_thresholds(changed)) == lost, (part, change)


def test_report_prints_planted_targets_and_sites():
    targets, places = PRINTERS["planted"](planted_table())
    assert targets.rows[0][0] == "number" and targets.rows[0][2] == "True volumes (oracle)"
    assert targets.rows[0][-3:] == ["0.300", "0.300 [0.200, 0.400]", "0.020"]
    assert places.rows[-1][-3:-1] == ["0.400", "0.400 (confounded: yes)"]


def test_a_refused_target_has_its_note_and_meets_no_threshold():
    table = planted_summary()
    refused = table["target"] == "planted_event"
    table.loc[refused, ["value", "note"]] = [None, "too few subjects: 1 event in test"]
    expected = {system: dict.fromkeys(RELATED, 0.8) for system in ("oracle", "ldae")}
    rows = pd.DataFrame(target_rows(table, expected)).reindex(columns=COLUMNS)
    (printed, _) = PRINTERS["planted"](rows)
    assert [row[-2] for row in printed.rows if row[0] == "event"] == [
        "too few subjects: 1 event in test"
    ]
    met = [one.met for one in planted_thresholds(rows) if one.text.startswith("event")]
    assert met == [False] * 3


def evaluated(folder, monkeypatch, count, systems=("ldae",)):
    """The table of planted truths of so many simulated people."""
    truth, codes = people(count)
    write_table(truth, folder / "truth.tsv")
    write_planted_labels([folder / "truth.tsv"], folder / "labels.tsv", 1)
    write_table(planted_summary(), folder / "targets.tsv")
    features = {"ldae": codes, "oracle": codes[:, :2], "volumes": codes[:, :3]}
    monkeypatch.setattr(planted, "load_probe_data", lambda *_, **__: ProbeData(truth, features))
    monkeypatch.setattr(planted_targets, "NULL_DRAWS", 4)
    monkeypatch.setattr(planted_targets, "REDRAWS", 2)
    names = ("latents", "pca", "volumes", "oracle")
    sources = dict.fromkeys(names, "") | {"embeddings": {}, "visits": folder / "truth.tsv"}
    sources |= {"labels": folder / "labels.tsv", "targets": folder / "targets.tsv"}
    cfg = CFG | {"planted": {"seed": 1}, "scanner": CFG["scanner"] | {"systems": systems}}
    planted.evaluate_planted(sources, folder / "planted.tsv", cfg, ("CN", "AD"), 0)
    return read_table(folder / "planted.tsv")


def test_table_has_every_target_site_and_check(tmp_path, monkeypatch):
    table = evaluated(tmp_path, monkeypatch, 80)
    assert list(table) == COLUMNS
    assert table["part"].value_counts().to_dict() == {
        "target": 10, "noise": 6, "null": 2, "site": 3, "harmonised": 3, "diagnosis": 3,
        "gain": 1, "harmonised gain": 1, "confounding": 2,
    }  # fmt: skip
    more = evaluated(tmp_path, monkeypatch, 80, ["volumes"])
    assert set(more.loc[more["part"] == "site", "system"]) == {"ldae", "volumes"}
    monkeypatch.setattr(planted, "read_table", lambda path, *_: read_table(path)[1:])
    with pytest.raises(UserError, match=r"labels\.tsv lacks 1 scan\(s\)"):
        evaluated(tmp_path, monkeypatch, 80)


def test_too_few_test_people_make_one_row_that_says_so(tmp_path, monkeypatch):
    table = evaluated(tmp_path, monkeypatch, 24)
    assert table["note"].tolist() == ["too few test people: 12, and 20 are needed"]
    (printed,) = PRINTERS["planted"](table)
    assert printed.rows == [table["note"].tolist()]
    assert not any(one.met for one in planted_thresholds(table))


def test_too_few_training_people_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(planted, "TRAINING", ("val",))
    table = evaluated(tmp_path, monkeypatch, 80)
    assert table["note"].tolist() == ["too few training people: 0, and 20 are needed"]


def test_a_planted_target_that_is_not_asked_for_is_named():
    table = planted_summary()
    expected = {system: dict.fromkeys(RELATED, 0.8) for system in ("oracle", "ldae")}
    with pytest.raises(UserError, match=r"no score of ldae, oracle for planted_level"):
        list(target_rows(table[table["target"] != "planted_level"], expected))
    with pytest.raises(UserError, match=r"no score of ldae for planted_coin"):
        list(target_rows(table[table["target"] != "planted_coin"], expected))


def test_a_planted_target_of_another_kind_or_column_is_refused_before_the_run():
    def asked(**change):
        about = {
            name: {"kind": kind, "column": columns[0], "table": "labels.tsv"}
            | ({"positive": "> 0.5"} if kind == "binary" else {})
            | ({"time": columns[1]} if len(columns) > 1 else {})
            for name, (kind, columns, _) in {**RELATED, **NOISE}.items()
        }
        return {one: make_target(one, each | change.get(one, {})) for one, each in about.items()}

    require_planted(asked(), "labels.tsv")
    for name, change, named in (
        ("planted_level", {"kind": "continuous"}, "kind: ordinal, table: labels.tsv"),
        ("planted_coin", {"column": "case"}, "column: coin"),
        ("planted_event", {"time": "number"}, "column: event and time: months"),
        ("planted_noise", {"table": "mine.tsv"}, "table: labels.tsv"),
    ):
        with pytest.raises(UserError, match=rf"evaluation\.targets\.{name} with .*{named}"):
            require_planted(asked(**{name: change}), "labels.tsv")
    with pytest.raises(UserError, match=r"needs evaluation\.targets\.planted_number with"):
        require_planted({}, "labels.tsv")


def test_a_table_of_the_user_is_not_overwritten_by_labels(tmp_path):
    mine = tmp_path / "labels.tsv"
    require_own_labels(mine)
    mine.write_text("participant_id\tsession_id\tamyloid\n")
    with pytest.raises(UserError, match=r'not planted: it begins with "participant'):
        require_own_labels(mine)
    write_table(people(6)[0].drop(columns="scan_id"), tmp_path / "truth.tsv")
    write_planted_labels([tmp_path / "truth.tsv"], mine, 3)
    require_own_labels(mine)


def test_labels_are_planted_only_where_there_is_a_truth(tmp_path):
    _, config = make_results(tmp_path)
    evaluation = config["evaluation"] | {"planted": {"labels": "x.tsv", "seed": 1}, "truth": None}
    with pytest.raises(UserError, match=r"evaluation\.planted needs evaluation\.truth, which"):
        check_planted(evaluation)
    check_planted(evaluation | {"truth": "truth.tsv"})
    check_planted(evaluation | {"planted": None})
