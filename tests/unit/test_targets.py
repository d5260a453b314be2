"""Targets of the probes: labels by kind, tables of the user's, planted truths, noise, splits."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.models import CFG, make_index, run_target
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap
from ldae.evaluation.metrics.classification import auroc, pearson
from ldae.evaluation.metrics.concordance import concordance
from ldae.evaluation.probes.all_targets import corrected
from ldae.evaluation.probes.features import ProbeData
from ldae.evaluation.probes.labels import labels_of
from ldae.evaluation.probes.scores import Drawn, score_table
from ldae.evaluation.probes.splits import asked_splits, split_rows
from ldae.evaluation.probes.statistics import DISCRIMINATION
from ldae.evaluation.probes.summary import SUMMARY, summarise
from ldae.evaluation.probes.target_table import make_target
from ldae.evaluation.probes.targets import regularised
from ldae.files import read_table, write_table

KINDS = {
    "binary": {"kind": "binary", "positive": "> 0"},
    "multiclass": {"kind": "multiclass"},
    "ordinal": {"kind": "ordinal"},
    "continuous": {"kind": "continuous"},
    "survival": {"kind": "survival", "time": "months"},
}


def cohort(people: int, seed: int, signal: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Two scans a person, half of the people for training; a code and columns that follow it."""
    draw = np.random.default_rng(seed)
    latent = np.repeat(draw.normal(size=people), 2)
    own = np.repeat(draw.normal(size=people), 2)  # a person's labels keep together
    value = signal * latent + (1 - signal) * own
    hazard = np.repeat(draw.exponential(size=people), 2)
    scans = pd.DataFrame(
        {
            "scan_id": [
                f"sub-ADNI{i // 2 % 7:03d}S{i // 2:04d}_ses-M{i % 2}" for i in range(2 * people)
            ],
            "participant_id": [f"sub-ADNI{i // 2 % 7:03d}S{i // 2:04d}" for i in range(2 * people)],
            "session_id": [f"ses-M{i % 2}" for i in range(2 * people)],
            "months": np.arange(2 * people) % 2 * 12,
            "diagnosis": "CN",
            "split": np.where(np.arange(2 * people) < people, "train", "test"),
            "binary": value,
            "multiclass": np.select([value < -0.4, value < 0.4], ["low", "mid"], "high"),
            "ordinal": np.digitize(value, [-0.6, 0.0, 0.6]),
            "continuous": value,
            "survival": (hazard * np.exp(-2 * value) < 3).astype(int),
        }
    )
    scans["months_to"] = np.minimum(hazard * np.exp(-2 * value), 3)
    codes = draw.normal(size=(2 * people, 6))
    codes[:, 0] = latent + 0.1 * codes[:, 0]
    return scans, codes


def probed(kind: str, people: int, seed: int, signal: float, resamples: int = 200):
    """A target of a kind: its rows of the summary, by metric; predictions; classes."""
    scans, codes = cohort(people, seed, signal)
    about = KINDS[kind] | {"column": kind} | ({"time": "months_to"} if kind == "survival" else {})
    target = make_target("mine", about)
    labels = labels_of(target, scans, scans[["participant_id", "months", "diagnosis"]])
    data = ProbeData(scans, {"ldae": codes}).where(labels.known)
    _, predicted = regularised(target, data, labels.values, labels.classes, CFG["probes"], 0)
    made = summarise(Drawn.of(target, predicted, labels.classes, resamples, seed), people // 2)
    ours = [row for row in made["summary"] if row["system"] == "ldae"]
    return {row["metric"]: row for row in ours}, made, target


@pytest.mark.parametrize("kind", KINDS)
def test_planted_target_of_every_kind_is_found(kind):
    found, made, _ = probed(kind, 160, 1, 0.8)
    tested = next(row for row in found.values() if "chance" in row)
    assert tested["ci_low"] > tested["chance"] + 0.1 and tested["p"] < 0.02
    assert tested["n_training"] == 80 and tested["n_subjects"] == 80
    assert set(made["summary"][0]) <= set(SUMMARY["summary"])
    assert bool(made["calibration"]) == (kind == "binary")


@pytest.mark.parametrize("kind", KINDS)
def test_target_of_pure_noise_is_not_found(kind):
    found, _, _ = probed(kind, 120, 2, 0.0)
    tested = next(row for row in found.values() if "chance" in row)
    assert tested["ci_low"] < tested["chance"] < tested["ci_high"] and tested["p"] > 0.05


def test_p_values_of_noise_targets_are_uniform():
    p = []
    for seed in range(100):
        found, _, _ = probed("continuous", 50, 100 + seed, 0.0)
        p.append(found["correlation"]["p"])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 0 <= np.mean(np.array(p) < 0.05) <= 0.12


@pytest.mark.parametrize("score", ["auroc", "correlation", "concordance"])
def test_intervals_cover_the_truth_of_simulated_cohorts(score):
    """200 cohorts of 90 people with two scans each, whose labels and codes hang together."""
    draw = np.random.default_rng(3)

    def simulate(people: int) -> tuple[np.ndarray, np.ndarray]:
        person = np.repeat(draw.normal(size=people), 2)
        truth = person + 0.5 * draw.normal(size=2 * people)
        return truth, 0.7 * person + draw.normal(size=2 * people)

    def statistic(truth: np.ndarray, code: np.ndarray):
        if score == "auroc":
            return auroc(truth > 0, code)
        return pearson(truth, code) if score == "correlation" else concordance(truth, code)

    many = simulate(1000 if score == "concordance" else 50_000)
    real = statistic(*many)(np.ones((1, len(many[0]))))[0]
    covered = 0
    for cohort_number in range(200):
        truth, code = simulate(90)
        found = ClusterBootstrap(np.arange(180) // 2, 300, cohort_number).interval(
            statistic(truth, code)
        )
        covered += found.low <= real <= found.high
    assert 0.90 <= covered / 200 <= 0.98, covered


# --- splits --------------------------------------------------------------------------------------

SPLITS = {"systems": ["ldae"], "repeats": 2, "folds": 4, "site": r"^sub-ADNI(\d{3})S",
          "people": [16, 5000]}  # fmt: skip


def test_no_subject_is_on_both_sides_of_any_split():
    scans, _ = cohort(60, 8, 0.5)
    target = make_target("binary", KINDS["binary"])
    found = labels_of(target, scans, scans)
    made = {splits.name: splits for splits in asked_splits(target, scans, found, SPLITS, 0)}
    assert list(made) == ["4-fold, 2 times", "leave one site out", "16 training people"]
    people = scans["participant_id"].to_numpy()
    for splits in made.values():
        for repeat in splits.repeats:
            for training, rest in repeat:
                assert not set(people[training]) & set(people[rest])
    for repeat in made["4-fold, 2 times"].repeats:
        assert sum(rest for _, rest in repeat).tolist() == [1] * len(scans)
    (sites,) = made["leave one site out"].repeats
    assert len(sites) == 7
    site = scans["participant_id"].str.slice(8, 11).to_numpy()
    assert all(
        len(set(site[rest])) == 1 and not set(site[rest]) & set(site[a]) for a, rest in sites
    )
    for ((training, rest),) in made["16 training people"].repeats:
        assert len(set(people[training])) == 16
        assert (rest == (scans["split"] == "test").to_numpy()).all()


@pytest.mark.parametrize("kind", ["binary", "continuous", "survival"])
def test_rows_of_splits_find_the_planted_signal(kind):
    scans, codes = cohort(60, 9, 0.9)
    about = KINDS[kind] | {"column": kind} | ({"time": "months_to"} if kind == "survival" else {})
    target = make_target("mine", about)
    found = labels_of(target, scans, scans)
    cfg = CFG | {"target_splits": SPLITS | {"repeats": 1, "folds": 3, "site": None}}
    rows = split_rows(target, ProbeData(scans, {"ldae": codes}), found, cfg, 0)
    tested = {row["split"]: row for row in rows if "chance" in row}
    assert list(tested) == ["3-fold", "16 training people"]
    assert tested["3-fold"]["ci_low"] > tested["3-fold"]["chance"]
    assert tested["3-fold"]["n_training"] == 40 and tested["3-fold"]["n_subjects"] == 60
    assert tested["16 training people"]["n_subjects"] == 30


def test_splits_that_the_scans_do_not_allow_say_why():
    scans, _ = cohort(40, 10, 0.5)
    rare = np.sort(scans["binary"].unique())[-3]  # three people are at or above it
    target = make_target("binary", KINDS["binary"] | {"positive": f">= {rare}"})
    found = labels_of(target, scans, scans)
    wanted = SPLITS | {"people": [8]}
    made = {splits.name: splits for splits in asked_splits(target, scans, found, wanted, 0)}
    assert "fewer than folds" in made["4-fold, 2 times"].note
    assert not list(asked_splits(target, scans, found, SPLITS | {"repeats": 0}, 0))


def test_site_of_one_class_tells_nothing():
    """Scored together, constant predictions of each site would be ordered against the truth."""
    scans, codes = cohort(60, 11, 0.9)
    site = scans["participant_id"].str.slice(8, 11).astype(int)
    target = make_target("mine", {"kind": "binary", "positive": "> 2"})
    found = labels_of(target, scans.assign(mine=site), scans)
    cfg = CFG | {"target_splits": SPLITS | {"repeats": 1, "people": []}}
    rows = split_rows(target, ProbeData(scans, {"ldae": codes}), found, cfg, 0)
    row = next(row for row in rows if row["split"] == "leave one site out")
    assert np.isnan(row["value"]) and np.isnan(row["p"])


# --- a whole job ---------------------------------------------------------------------------------


def test_target_of_a_table_of_the_users_own(project, tmp_path):
    index = make_index()
    burden = index["participant_id"].str[4:].astype(int) * 7 % 11
    rows = index[["participant_id"]].assign(burden=burden).drop_duplicates()
    write_table(rows, tmp_path / "mine.tsv")
    about = {"kind": "binary", "column": "burden", "positive": "> 4", "label": "Amyloid",
             "table": str(tmp_path / "mine.tsv")}  # fmt: skip
    files = run_target(project, tmp_path, "amyloid", about, table=tmp_path / "mine.tsv")
    predicted = read_table(files["predictions"])
    assert set(predicted["system"]) == {"ldae", "untrained", "latents_pca", "volumes", "age_sex"}
    assert set(predicted["probe"]) == {"regularised"}
    own = predicted[predicted["system"] == "ldae"].set_index("scan_id")
    expected = (burden > 4).to_numpy()[index.set_index("scan_id").index.get_indexer(own.index)]
    assert (own["truth"] == expected).all()
    scores = read_table(files["scores"])
    assert set(scores["target"]) == {"amyloid"} and scores["n_positive"].unique() == [
        expected.sum()
    ]
    summary = read_table(files["summary"])
    assert set(summary["split"]) == {"frozen", "5-fold"} and set(summary["label"]) == {"Amyloid"}
    curves = read_table(files["calibration"])
    assert {"brier", "observed", "net_benefit"} <= set(curves["quantity"])
    assert len(read_table(files["contrasts"])) == 4


OWN_COLUMNS = {
    "binary of diagnosis": ({"kind": "binary", "positive": ["AD"]}, "diagnosis", "truth"),
    "binary of age": ({"kind": "binary", "positive": "> 72"}, "age", "truth"),
    "named binary of diagnosis": (
        {"kind": "binary", "classes": ["CN", "MCI"]}, "diagnosis", "diagnosis",
    ),
    "multiclass of diagnosis": ({"kind": "multiclass"}, "diagnosis", "diagnosis"),
    "ordinal of diagnosis": (
        {"kind": "ordinal", "classes": ["CN", "MCI", "AD"]}, "diagnosis", "truth",
    ),
    "ordinal of age": ({"kind": "ordinal"}, "age", "truth"),
    "continuous of age": ({"kind": "continuous"}, "age", "age"),
    "survival of age": ({"kind": "survival", "time": "age", "column": "event"}, "event", "time"),
}  # fmt: skip


@pytest.mark.parametrize("case", OWN_COLUMNS)
def test_target_on_the_columns_of_diagnosis_and_age_is_scored(case):
    about, column, truth = OWN_COLUMNS[case]
    scans, codes = cohort(90, 12, 0.9)
    draw = np.random.default_rng(1)
    scans["diagnosis"] = np.select([codes[:, 0] < -0.4, codes[:, 0] < 0.4], ["CN", "MCI"], "AD")
    scans["age"] = np.round(72 + 4 * codes[:, 0]).astype(int)
    scans["event"] = draw.integers(0, 2, len(scans))
    target = make_target("mine", {"column": column} | about)
    found = labels_of(target, scans, scans)
    features = {"ldae": codes, "age_sex": draw.normal(size=(len(scans), 2))}
    part = ProbeData(scans, features).where(found.known)
    _, predicted = regularised(target, part, found.values, found.classes, CFG["probes"], 0)
    assert truth in predicted and (truth == "age" or "age" not in predicted)
    if "age" in predicted:
        own = predicted[predicted["system"] == "ldae"].set_index("scan_id")["age"]
        assert (own == scans.set_index("scan_id")["age"][own.index]).all()
    rows, _ = score_table(Drawn.of(target, predicted, found.classes, 50, 0))
    own = {row["metric"]: row for row in rows if row["system"] == "ldae"}
    name, chance = DISCRIMINATION[target.kind]
    row = own.get(name) or own["r2"]
    assert row["value"] > chance + 0.2 or target.kind == "survival"
    if target.kind == "binary":
        assert row["n_positive"] == found.values[(part.table["split"] == "test").to_numpy()].sum()


def test_splits_of_age_have_a_row_of_what_is_left_of_age_and_sex():
    scans, codes = cohort(60, 13, 0.9)
    scans["age"] = 70 + codes[:, 0]
    target = make_target("age", {"kind": "continuous"})
    found = labels_of(target, scans, scans)
    wanted = SPLITS | {"systems": ["ldae", "age_sex"], "repeats": 1, "folds": 3, "site": None,
                       "people": []}  # fmt: skip
    data = ProbeData(scans, {"ldae": codes, "age_sex": codes[:, :2]})
    rows = split_rows(target, data, found, CFG | {"target_splits": wanted}, 0)
    assert {row["system"] for row in rows} == {"ldae", "sex"}


def test_target_with_too_few_people_has_a_row_that_says_so(project, tmp_path):
    about = {"kind": "survival", "event": "AD", "among": ["MCI"]}
    files = run_target(project, tmp_path, "onset", about)
    row = read_table(files["summary"]).squeeze()
    assert pd.isna(row["value"]) and "0 event in training" in row["note"]
    assert read_table(files["contrasts"]).empty and read_table(files["calibration"]).empty
    assert len(read_table(files["scores"])) == 1


def test_holm_is_over_all_targets_within_a_system_on_the_frozen_split():
    table = pd.DataFrame(
        {
            "target": list("aabba"),
            "split": ["frozen", "folds", "frozen", "frozen", "frozen"],
            "system": ["ldae", "ldae", "ldae", "volumes", "volumes"],
            "p": [0.01, 0.001, 0.02, np.nan, 0.03],
        }
    )
    found = corrected(table, "system")["p_holm"]
    np.testing.assert_allclose(found, [0.02, np.nan, 0.02, np.nan, 0.03])
