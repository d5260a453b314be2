"""Scanner and fairness on simulated codes: planted sites, null columns, confounding, groups."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from helpers.models import CFG, make_index
from helpers.scanner import SETTINGS, cohort
from ldae.errors import UserError
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap
from ldae.evaluation.probes.features import ProbeData, write_latents_pca
from ldae.evaluation.probes.target_table import make_target
from ldae.evaluation.scanner.confounding import (
    chi_square,
    confounding_rows,
    cramers_v,
    evaluate_confounding,
    flagged,
    label_classes,
)
from ldae.evaluation.scanner.evaluate import (
    COST,
    TOLD,
    balanced_accuracy,
    evaluate_scanner,
    scanner_rows,
)
from ldae.evaluation.scanner.fairness import TABLE, evaluate_fairness, fairness_rows
from ldae.evaluation.scanner.groups import column_of, large_groups, named_groups
from ldae.evaluation.scanner.permutation import SubjectPermutations, permutation_p
from ldae.files import read_table, write_table

EVALUATION = CFG | {"scanner": SETTINGS, "bootstrap": 200}
CLASSES = ("CN", "AD")


def rows_of(scans, codes, cfg=EVALUATION, column="site"):
    """Rows of a column: of each form of the code, and of the cost by target."""
    data = ProbeData(scans, {"ldae": codes})
    visits = scans[["participant_id", "months", "diagnosis"]]
    ((told, cost),) = scanner_rows(column, scans[column], data, visits, cfg, CLASSES, 0)
    return {row.get("harmonised"): row for row in told}, {row.get("target"): row for row in cost}


# --- what codes tell ------------------------------------------------------------------------------


def test_planted_site_is_found_and_harmonisation_removes_it():
    told, cost = rows_of(*cohort(300, 1, 1.0))
    before, after = told["none"], told["combat"]
    assert before["value"] > 0.7 and before["p"] == pytest.approx(1 / 201)
    assert before["ci_low"] > before["null_high"] > before["chance"] == pytest.approx(1 / 3)
    assert after["ci_low"] < 1 / 3 + 0.1 and after["p"] > 0.02
    assert cost["site"]["difference"] == pytest.approx(after["value"] - before["value"])
    assert cost["site"]["ci_high"] < -0.2
    assert before["n_training"] == before["n_subjects"] == 150 and before["n_unknown"] == 0


def test_harmonisation_of_sites_alike_costs_nothing():
    _, cost = rows_of(*cohort(300, 2, 1.0))
    assert cost["diagnosis"]["metric"] == "auroc" and cost["age"]["metric"] == "mae"
    assert cost["diagnosis"]["before"] > 0.75
    assert abs(cost["diagnosis"]["difference"]) < 0.06
    assert abs(cost["age"]["difference"]) < 0.6


def test_harmonisation_costs_the_diagnosis_where_sites_differ_in_it():
    _, alike = rows_of(*cohort(300, 3, 1.0))
    _, cost = rows_of(*cohort(300, 3, 1.0, confounded=0.9))
    assert cost["diagnosis"]["ci_high"] < 0 and cost["diagnosis"]["p"] < 0.05
    assert cost["diagnosis"]["difference"] < alike["diagnosis"]["difference"] - 0.03


def test_p_values_of_null_columns_are_uniform():
    """60 cohorts whose codes have no site in them; the probe, the test set, the permutations."""
    cfg = EVALUATION | {"bootstrap": 2, "scanner": SETTINGS | {"harmonise": None}}
    p, values = [], []
    for seed in range(60):
        told, _ = rows_of(*cohort(60, 100 + seed, 0.0), cfg)
        p.append(told["none"]["p"])
        values.append(told["none"]["value"])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.05) <= 0.15
    assert np.mean(values) == pytest.approx(1 / 3, abs=0.03)


def test_intervals_of_the_balanced_accuracy_cover_the_truth():
    """200 cohorts of 80 people with two scans each, told right with a probability of their own."""
    draw = np.random.default_rng(4)

    def simulate(people: int):
        truth = np.repeat(draw.choice(3, people, p=[0.5, 0.3, 0.2]), 2)
        right = draw.random(2 * people) < np.repeat(draw.beta(2, 1, people), 2)
        return truth, np.where(right, truth, (truth + draw.integers(1, 3, 2 * people)) % 3)

    truth, told = simulate(100_000)
    real = balanced_accuracy(truth, told, (0, 1, 2))(np.ones((1, len(truth))))[0]
    assert real == pytest.approx(2 / 3, abs=0.01)
    covered = 0
    for seed in range(200):
        truth, told = simulate(80)
        score = balanced_accuracy(truth, told, (0, 1, 2))
        found = ClusterBootstrap(np.arange(160) // 2, 300, seed).interval(score)
        covered += found.low <= real <= found.high
    assert 0.90 <= covered / 200 <= 0.98, covered


def test_balanced_accuracy_is_scikit_learns_and_leaves_absent_classes_out():
    draw = np.random.default_rng(5)
    truth, told = draw.choice(list("abc"), 80), draw.choice(list("abc"), 80)
    found = balanced_accuracy(truth, told, ("a", "b", "c"))
    assert found(np.ones((1, 80)))[0] == pytest.approx(balanced_accuracy_score(truth, told))
    weights = (truth != "c").astype(float)[None]
    kept = truth != "c"
    recall = [(told[kept] == one)[truth[kept] == one].mean() for one in "ab"]
    assert found(weights)[0] == pytest.approx(np.mean(recall))


def test_large_site_is_not_always_told():
    """With a site of 90 % a code without signal must not be told as that site each time."""
    scans, codes = cohort(200, 6, 0.0)
    rare = np.random.default_rng(6).random(200) < 0.15
    scans["site"] = np.where(np.repeat(rare, 2), "small", "large")
    codes[:, 3] += 1.0 * np.repeat(rare, 2)
    told, _ = rows_of(scans, codes)
    assert told["none"]["value"] > 0.6 and told["none"]["p"] < 0.02


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.nan, "no scan has a known site"),
        ("one", "the site is one in 80 scans"),
        (None, "too small"),
    ],
)
def test_columns_that_cannot_be_told_say_why(value, says):
    scans, codes = cohort(40, 7, 0.0)
    scans["site"] = scans["participant_id"] if value is None else value
    told, cost = rows_of(scans, codes)
    assert says in told[None]["note"] and says in cost[None]["note"]
    assert "value" not in told[None]


def test_column_that_a_covariate_tells_is_not_harmonised():
    scans, codes = cohort(60, 20, 1.0)
    told, cost = rows_of(scans.assign(site=scans["sex"]), codes)
    assert list(told) == ["none"] and list(cost) == [None]
    assert cost[None]["note"].startswith("not harmonised: in training a covariate tells")
    told, cost = rows_of(scans.assign(sex="F"), codes)  # no covariate: it never varies
    assert list(told) == ["none", "combat"] and list(cost) == ["site", "diagnosis", "age"]


def test_scans_without_a_value_and_small_sites_are_left_out_and_counted():
    scans, codes = cohort(120, 8, 1.0)
    people = scans["participant_id"].unique()
    scans.loc[scans["participant_id"].isin(people[:4]), "site"] = np.nan
    scans.loc[scans["participant_id"].isin(people[4:6]), "site"] = "tiny"
    told, _ = rows_of(scans, codes)
    row = told["none"]
    assert (row["n_unknown"], row["n_classes"], row["n_training"]) == (8, 3, 54)
    assert row["note"] == "4 scans of 1 value(s) with too few people left out"


def test_whole_tables_of_the_scanner(project, tmp_path):
    index = make_index()
    site = index["participant_id"].str[4:].astype(int) // 2 % 2
    about = index[["scan_id"]].assign(site=site.map({0: "a", 1: "b"}), vendor="GE")
    write_table(about, tmp_path / "acquisitions.tsv")
    write_table(index, tmp_path / "scans.tsv")
    write_latents_pca(project / "latents", tmp_path / "pca.npz", 0)
    out = {name: tmp_path / f"{name}.tsv" for name in ("scanner", "cost")}
    sources = {
        "embeddings": {"ldae": project / "ldae.npz"},
        "latents": project / "latents",
        "pca": tmp_path / "pca.npz",
        "volumes": project / "tissue_volumes.tsv",
        "visits": tmp_path / "scans.tsv",
        "acquisitions": tmp_path / "acquisitions.tsv",
    }
    settings = SETTINGS | {"columns": ["site", "vendor"], "systems": ["ldae", "volumes"]}
    cfg = EVALUATION | {"bootstrap": 20, "scanner": settings | {"min_subjects": 2}}
    evaluate_scanner(sources, out, cfg, CLASSES, 0)
    told, cost = (read_table(out[name]) for name in ("scanner", "cost"))
    assert list(told.columns) == TOLD and list(cost.columns) == COST
    keys = told[["column", "system", "harmonised"]].fillna("-")
    rows = list(keys.itertuples(index=False, name=None))
    assert rows == [
        ("site", "ldae", "none"), ("site", "ldae", "combat"), ("site", "volumes", "none"),
        ("site", "volumes", "combat"), ("vendor", "-", "-"),
    ]  # fmt: skip
    assert told["note"].iloc[-1].startswith("the vendor is GE in")
    assert cost["target"].tolist()[:3] == ["site", "diagnosis", "age"]
    assert np.allclose(
        cost["after"] - cost["before"], cost["difference"], atol=1e-4, equal_nan=True
    )
    alone = cfg | {"scanner": cfg["scanner"] | {"harmonise": None}}
    evaluate_scanner(sources, out, alone, CLASSES, 0)
    assert set(read_table(out["scanner"])["harmonised"].dropna()) == {"none"}
    wrong = cfg | {"scanner": settings | {"systems": ["dae"]}}
    with pytest.raises(UserError, match=r"scanner\.systems: there is no dae; there are ldae"):
        evaluate_scanner(sources, out, wrong, CLASSES, 0)


# --- permutations ---------------------------------------------------------------------------------


def test_labels_are_permuted_between_subjects_not_scans():
    subjects = ["a", "a", "b", "b", "b", "c"]
    labels = np.array(["x1", "x2", "y1", "y2", "y3", "z1"])
    made = SubjectPermutations(subjects, 200, 0)
    seen = {tuple(labels[row]) for row in made.taken}
    assert len(seen) == 6  # of three subjects
    for row in seen:
        for first, second in (("a", slice(0, 2)), ("b", slice(2, 5))):
            assert len({one[0] for one in row[second]}) == 1, (first, row)  # of one subject
    assert ("y1", "y2", "x1", "x2", "x1", "z1") in seen  # its scans in turn
    again = SubjectPermutations(subjects, 200, 0)
    assert (again.taken == made.taken).all()


def test_permutation_p_counts_ties_and_is_never_zero():
    assert permutation_p(1.0, np.array([0.0, 1.0, 0.5])) == 0.5
    assert permutation_p(2.0, np.zeros(99)) == 0.01
    assert np.isnan(permutation_p(np.nan, np.zeros(3)))


# --- confounding ----------------------------------------------------------------------------------


def confounded(scans: pd.DataFrame, column: str = "site", seed: int = 0):
    classes = scans["diagnosis"].to_numpy(dtype=object)
    return confounding_rows(scans, classes, scans[column].to_numpy(dtype=object), 500, seed)


def test_site_confounded_with_the_diagnosis_is_flagged_and_others_are_not():
    rows = [
        {"target": "diagnosis", "column": str(share)} | confounded(cohort(200, 9, 0.0, share)[0])[0]
        for share in (0.0, 0.6)
    ]
    found = flagged(pd.DataFrame(rows))
    assert found["confounded"].tolist() == ["no", "yes"]
    assert found["cramers_v"][1] > 0.3 and found["p_holm"][1] < 0.02
    assert found["n_subjects"].tolist() == [200, 200]


def test_p_values_of_the_association_are_uniform_without_one():
    p = [confounded(cohort(60, 200 + seed, 0.0)[0], seed=seed)[0]["p"] for seed in range(80)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_chi_square_and_cramers_v_are_those_of_scipy_and_corrected():
    draw = np.random.default_rng(10)
    one, other = draw.integers(0, 3, 400), draw.integers(0, 4, 400)
    other = np.where(draw.random(400) < 0.4, one, other)
    table = np.bincount(one * 4 + other, minlength=12).reshape(3, 4)
    expected = stats.chi2_contingency(table, correction=False).statistic
    assert chi_square(one, other) == pytest.approx(expected)
    raw = stats.contingency.association(table, method="cramer")
    assert 0.25 < cramers_v(one, other) < raw
    free = [
        cramers_v(*(pd.factorize(draw.integers(0, most, 50))[0] for most in (2, 20)))
        for _ in range(200)
    ]
    assert np.mean(free) < 0.15  # uncorrected some 0.6: 20 sites of 50 people
    assert cramers_v(one, one) == pytest.approx(1.0, abs=0.01)


def test_each_person_counts_once():
    scans, _ = cohort(50, 11, 0.0)
    row, counts = confounded(scans)
    assert row["n_subjects"] == 50 == sum(one["n_subjects"] for one in counts)
    assert sum(one["n_scans"] for one in counts) == 100
    alone, _ = confounding_rows(
        scans, scans["diagnosis"].to_numpy(object), np.full(100, "one", object), 10, 0
    )
    assert alone["note"] == "one value of the column among the people with both"


def test_association_is_not_claimed_where_each_person_has_a_value_of_their_own():
    scans, _ = cohort(20, 21, 0.0)
    row, _ = confounded(scans, "participant_id")
    assert row["note"] == "too few people for so many classes and values"
    found = flagged(pd.DataFrame([row | {"cramers_v": np.nan, "p": np.nan}]))
    assert "p" not in row and found["confounded"].isna().all()


def test_classes_of_continuous_and_ordinal_targets_are_words():
    from ldae.evaluation.probes.labels import labels_of

    scans, _ = cohort(30, 12, 0.0)
    for kind, count in (("continuous", 3), ("ordinal", 2)):
        about = {"kind": kind, "column": "age" if kind == "continuous" else "months"}
        target = make_target("mine", about)
        found = label_classes(target, labels_of(target, scans, scans), scans)
        assert len(set(found)) == count and all(isinstance(one, str) for one in found)


# --- groups and fairness --------------------------------------------------------------------------


def test_numbers_are_cut_at_the_terciles_of_training_people():
    scans, _ = cohort(90, 13, 0.0)
    value, names = named_groups("age", scans["age"], scans)
    first = scans["split"].eq("train") & ~scans.duplicated("participant_id")
    assert [sum(value[first] == one) for one in names] == [15, 15, 15]
    assert names[0].startswith("up to") and names[2].endswith("years")
    value, names = named_groups("field_strength", pd.Series([3.0, 1.5, np.nan]), scans[:3])
    assert names == ["1.5 T", "3 T"] and list(value) == ["3 T", "1.5 T", None]
    value, names = named_groups("education", pd.Series([16, 16, 16.0]), scans[:3])
    assert names == ["16 years"]


def test_terciles_of_small_numbers_have_names_that_tell_them_apart():
    scans, _ = cohort(90, 13, 0.0)
    ratio = pd.Series(np.linspace(0.010, 0.016, len(scans)))
    _, names = named_groups("ratio", ratio, scans)
    assert names == ["up to 0.01098", "0.01098 to 0.01197", "over 0.01197"]


def test_column_that_no_table_has_is_refused():
    scans, _ = cohort(3, 14, 0.0)
    assert column_of("sex", scans, scans).tolist() == scans["sex"].tolist()
    with pytest.raises(UserError, match=r"column coil, which no table of scans has; .*site"):
        column_of("coil", scans, scans)
    with pytest.raises(UserError, match="have no row"):
        column_of("sex", scans, scans[:2])


def predictions(people: int, seed: int, worse: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test scans, and predictions of the diagnosis that are worse by noise for women."""
    scans, _ = cohort(people, seed, 0.0)
    scans = scans.assign(split="test")
    draw = np.random.default_rng(seed)
    noise = np.repeat(draw.normal(size=people), 2) * (1 + worse * (scans["sex"] == "F"))
    logit = 2 * (scans["diagnosis"] == "AD") - 1 + 1.2 * noise
    frame = scans[["scan_id", "participant_id", "diagnosis"]].assign(
        predicted=np.where(logit > 0, "AD", "CN"), probability=1 / (1 + np.exp(-logit))
    )
    return scans, frame


DIAGNOSIS = make_target("diagnosis", {"kind": "binary", "classes": ["CN", "AD"]})


def fair(scans, frame, column, target=DIAGNOSIS, resamples=300, seed=0):
    groups = large_groups(column, scans[column], scans, 1, [["test"]])
    member = pd.Series(groups.value, scans["scan_id"])
    frame = frame.sort_values("scan_id", ignore_index=True)
    return fairness_rows(target, "ldae", frame, groups, member, resamples, seed, 3)


def test_planted_gap_between_groups_is_found():
    women, men = fair(*predictions(300, 15, 3.0), "sex")
    assert (women["group"], women["reference"], men["group"]) == ("F", "M", "M")
    assert women["value"] < men["value"] - 0.1
    assert women["difference"] == pytest.approx(women["value"] - men["value"])
    assert women["difference_high"] < 0 and women["p"] < 0.02
    assert women["n_subjects"] + men["n_subjects"] == 300 and "difference" not in men


def test_p_values_of_gaps_are_uniform_without_one():
    p = [fair(*predictions(80, 300 + seed, 0.0), "sex", seed=seed)[0]["p"] for seed in range(80)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.05) <= 0.14


def test_more_than_two_groups_are_compared_with_all_others():
    scans, frame = predictions(150, 16, 0.0)
    rows = fair(scans, frame, "site")
    assert [row["group"] for row in rows] == ["s0", "s1", "s2"]
    assert {row["reference"] for row in rows} == {"all others"}
    ages = fair(scans, frame.assign(age=scans["age"], corrected=np.nan,
                                    predicted=scans["age"] + (scans["site"] == "s1") * 5),
                "site", make_target("age", {"kind": "continuous"}))  # fmt: skip
    assert ages[1]["value"] == pytest.approx(5) and ages[1]["difference_low"] > 4.9


def test_groups_with_too_few_people_have_a_row_that_says_so():
    scans, frame = predictions(60, 17, 0.0)
    few = scans["participant_id"].isin(scans["participant_id"].unique()[:2])
    scans["site"] = np.where(few, "tiny", scans["site"])
    scans.loc[scans["site"] == "s1", "site"] = np.nan
    rows = {row["group"]: row for row in fair(scans, frame, "site")}
    assert "too few subjects" in rows["tiny"]["note"] and "value" not in rows["tiny"]
    assert rows["s0"]["n_unknown"] == int(scans["site"].isna().sum()) > 0
    (row,) = fair(scans, frame[:0], "site")
    assert row["note"].startswith("no predictions")
    (row,) = fair(scans.assign(site=np.nan), frame, "site")
    assert "no scan has a known site" in row["note"]


def test_small_groups_of_test_people_are_not_sought_in_training():
    scans, frame = predictions(20, 22, 0.0)
    scans["split"] = np.where(scans["site"] == "s0", "test", "train")
    (row,) = fair(scans, frame[scans["split"] == "test"], "site")
    assert row["note"] == "no two values have people enough in test; too small: s1, s2"


def test_classes_that_are_numbers_are_those_of_the_predictions():
    from ldae.evaluation.scanner.fairness import classes_of

    for kind, classes in (("binary", [0, 1.0]), ("multiclass", [0.0, 0.5, 1.0])):
        target = make_target("mine", {"kind": kind, "classes": classes})
        assert classes_of(target, pd.DataFrame()) == tuple(f"{one:g}" for one in classes)


def test_whole_table_of_fairness(tmp_path):
    scans, frame = predictions(60, 18, 0.0)
    scans["education"] = 12 + np.arange(len(scans)) // 2 % 9
    whole = frame.assign(probe="regularised", system="ldae")
    ages = whole.assign(age=scans["age"], predicted=scans["age"] + 1, corrected=np.nan)
    baseline = [ages.assign(system="sex"), whole.assign(system="age_sex")]
    write_table(pd.concat([whole, baseline[1]]), tmp_path / "diagnosis.tsv")
    write_table(pd.concat([ages, baseline[0]]), tmp_path / "age.tsv")
    write_table(scans.drop(columns=["split", "education"]), tmp_path / "scans.tsv")
    write_table(scans[["scan_id", "education"]], tmp_path / "acquisitions.tsv")
    write_table(scans[["participant_id", "split"]].drop_duplicates(), tmp_path / "splits.tsv")
    cfg = CFG | {
        "bootstrap": 50,
        "targets": {"diagnosis": {"kind": "binary", "classes": ["CN", "AD"]},
                    "age": {"kind": "continuous"}},
        "fairness": {"columns": ["sex", "education"], "systems": ["ldae", "age_sex", "dae"]},
    }  # fmt: skip
    evaluate_fairness(
        {name: tmp_path / f"{name}.tsv" for name in cfg["targets"]},
        tmp_path / "scans.tsv",
        tmp_path / "acquisitions.tsv",
        tmp_path / "splits.tsv",
        tmp_path / "fairness.tsv",
        cfg,
        0,
    )
    found = read_table(tmp_path / "fairness.tsv")
    assert list(found.columns) == TABLE
    assert len(found[found["system"] == "ldae"]) == 2 * (2 + 3)  # terciles of education
    assert set(found.loc[found["target"] == "age", "system"]) == {"ldae", "age_sex", "dae"}
    assert (
        found.loc[found["system"] == "dae", "note"] == "no predictions: see the target's table"
    ).all()
    ours = found[(found["target"] == "age") & (found["system"] != "dae")]
    assert ours["value"].to_numpy() == pytest.approx(1.0)
    assert (found["p_holm"].dropna() >= found["p"].dropna()).all()


def test_whole_tables_of_confounding(tmp_path):
    scans, _ = cohort(90, 19, 0.0, confounded=0.9)
    write_table(scans, tmp_path / "index.tsv")
    write_table(scans.drop(columns=["split", "site"]), tmp_path / "scans.tsv")
    write_table(scans[["scan_id", "site"]].assign(vendor=np.nan), tmp_path / "acquisitions.tsv")
    cfg = {
        "scanner": {"columns": ["site", "vendor"], "permutations": 200},
        "targets": {"diagnosis": {"kind": "binary", "classes": ["CN", "AD"]},
                    "age": {"kind": "continuous"}, "mine": {"kind": "binary", "positive": "> 5",
                    "table": "mine.tsv"}},
    }  # fmt: skip
    mine = scans[["participant_id"]].drop_duplicates().assign(mine=range(90))
    write_table(mine, tmp_path / "mine.tsv")
    evaluate_confounding(
        tmp_path,
        tmp_path / "scans.tsv",
        tmp_path / "acquisitions.tsv",
        {"mine": {"table": tmp_path / "mine.tsv"}},
        {part: tmp_path / f"{part}.tsv" for part in ("table", "counts")},
        cfg,
        0,
    )
    found = read_table(tmp_path / "table.tsv").set_index(["target", "column"])
    assert found.loc[("diagnosis", "site"), "confounded"] == "yes"
    assert (
        found.loc[("age", "site"), "confounded"]
        == found.loc[("mine", "site"), "confounded"]
        == "no"
    )
    assert (found.xs("vendor", level=1)["note"].str.startswith("no value of the column")).all()
    counts = read_table(tmp_path / "counts.tsv")
    assert counts[counts["target"] == "mine"]["n_subjects"].sum() == 90
