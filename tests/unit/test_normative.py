"""Normative view: curves of known quantiles, what they refuse, calibration, and one head."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from helpers.normative_tables import CLASSES, SETTINGS, simulated_people
from ldae.application.inputs import HEAD, find_scans
from ldae.application.normative import Person, normative_findings, percentile_columns
from ldae.errors import UserError
from ldae.evaluation.metrics import volumes
from ldae.evaluation.normative.curves import NormativeCurves, age_of, sex_of
from ldae.evaluation.normative.evaluate import NormativeSources, evaluate_normative, people_seen
from ldae.evaluation.normative.fit import fit_curves
from ldae.evaluation.normative.measures import LOGIT, MEASURES, PREDICTED_AGE, VOLUMES
from ldae.evaluation.normative.readings import readings
from ldae.evaluation.normative.tables import normative_table
from ldae.files import read_json, read_table, write_table
from ldae.report.tables.normative import normative

NAME = "ventricle_ml"


@pytest.fixture(scope="module")
def curves() -> NormativeCurves:
    people = simulated_people(1500, 0)
    return fit_curves(people, [NAME], "CN", SETTINGS, {"classifier.npz": "0" * 64})


def true_centiles(ages, male: bool) -> np.ndarray:
    """Centiles (N, C) that the simulation has."""
    ages = np.asarray(ages)[:, None]
    z = norm.ppf(np.array(SETTINGS["centiles"]) / 100)
    return 0.5 * ages + 5 * male + 0.05 * ages * z


def test_measures_are_those_of_the_table_of_volumes_in_its_order():
    assert volumes.COLUMNS == VOLUMES
    assert set(MEASURES) == {*VOLUMES, LOGIT, PREDICTED_AGE}


def test_known_quantiles_along_age_are_recovered_for_both_sexes(curves):
    ages = np.linspace(*curves.ages, 9)
    for sex in "FM":
        found = curves.at(NAME, ages, [sex] * len(ages))
        error = found - true_centiles(ages, sex == "M")
        assert np.abs(error[1:-1]).max() < 2.0  # half an SD
        assert np.sqrt((error**2).mean()) < 0.6
    # Curves without age would miss the ends by 7, those without sex all by 2.5.


def test_deviation_is_the_normal_quantile_of_the_place_beyond_the_outer_centiles_too(curves):
    ages = np.full(7, 75.0)
    z = np.array([-3, -1.5, -0.5, 0, 0.5, 1.5, 3.0])
    values = 0.5 * 75 + 0.05 * 75 * z
    found = curves.deviations(NAME, values, ages, ["F"] * 7)
    np.testing.assert_allclose(found, z, rtol=0.2, atol=0.1)
    percent = curves.percentiles(found)
    assert percent[[0, -1]].tolist() == [5, 95]  # no further than was fitted
    np.testing.assert_allclose(percent[2:5], 100 * norm.cdf(z[2:5]), atol=5)


def test_curves_that_cross_are_sorted():
    crossing = {NAME: np.array([[3.0, 1.0, 0.0], [2.0, 2.0, 0.0], [1.0, 3.0, 0.0]])}
    found = NormativeCurves("CN", (5.0, 50.0, 95.0), 1, (60.0, 80.0), crossing, {}, {})
    ages = np.linspace(60, 80, 11)
    levels = found.at(NAME, ages, ["F"] * 11)
    assert (np.diff(levels, axis=1) >= 0).all()
    assert levels[0].tolist() == levels[-1].tolist() == [1, 2, 3]
    steps = found.deviations(NAME, np.linspace(0, 4, 21), np.full(21, 62.0), ["F"] * 21)
    assert (np.diff(steps) > 0).all()
    # Where they all meet there is no spread; none of these is infinite or missing next to it.
    assert np.isfinite(found.deviations(NAME, [5.0], [69.0], ["F"])).all()


def test_fitted_curves_do_not_cross_with_few_people():
    few = fit_curves(simulated_people(60, 3), [NAME], "CN", SETTINGS, {})
    levels = few.at(NAME, np.linspace(*few.ages, 50), ["M"] * 50)
    assert (np.diff(levels, axis=1) >= 0).all()


def test_outside_the_range_of_ages_nothing_is_said(curves):
    low, high = curves.ages
    assert low == int(low) and high == int(high) and 60 < low < 62 and 88 < high < 90
    with pytest.raises(UserError, match=f"hold from {low:g} to {high:g} years"):
        curves.at(NAME, [95.0], ["F"])
    assert np.isnan(curves.deviations(NAME, [30.0, 30.0], [59.0, 95.0], ["F", "M"])).all()
    found = normative_findings(curves, Person(95.0, "F"), {NAME: 30.0})
    assert "measures" not in found
    assert found["reading"].startswith("There are no percentiles at 95 years")


def test_each_person_counts_once():
    one = simulated_people(300, 4)
    copies = one[one[NAME] > one[NAME].median()]
    more = [copies.assign(scan_id=copies["scan_id"] + f"-{k}") for k in range(9)]
    weighted = fit_curves(pd.concat([one, *more]), [NAME], "CN", SETTINGS, {})
    single = fit_curves(one, [NAME], "CN", SETTINGS, {})
    ages = np.linspace(65, 85, 5)
    a, b = (each.at(NAME, ages, ["F"] * 5) for each in (weighted, single))
    np.testing.assert_allclose(a, b, atol=0.1)
    assert weighted.counts["subjects"] == single.counts["subjects"]
    assert weighted.counts["scans"] > 3 * single.counts["scans"]


def test_file_holds_no_person_and_gives_the_same_curves(curves, tmp_path):
    curves.save(tmp_path / "normative.json")
    content = read_json(tmp_path / "normative.json")
    assert content.keys() == {
        "version", "notice", "reference", "centiles", "degree", "knots", "counts", "probes", "note",
        "coefficients",
    }  # fmt: skip
    assert "train0" not in json.dumps(content)
    assert content["counts"].keys() == {"subjects", "scans", "F", "M"}
    assert all(knot == int(knot) for knot in content["knots"])
    again = NormativeCurves.load(tmp_path / "normative.json")
    ages = np.linspace(*curves.ages, 5)
    levels = (one.at(NAME, ages, ["M"] * 5) for one in (curves, again))
    np.testing.assert_array_equal(*levels)
    content["version"] = 0
    (tmp_path / "normative.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="another version: run the target `normative`"):
        NormativeCurves.load(tmp_path / "normative.json")


@pytest.mark.parametrize("sex", ["X", "", "other", "0"])
def test_unknown_sex_says_what_where_and_how(sex):
    with pytest.raises(UserError, match=r"table\.csv: the sex .* is not known\. Write F or M"):
        sex_of(sex, "table.csv")


@pytest.mark.parametrize("age", ["old", "-3", "200", "nan"])
def test_unknown_age_says_what_where_and_how(age):
    with pytest.raises(UserError, match=r"--age: the age .* Write it like 74"):
        age_of(age, "--age")


def test_person_needs_both_or_none():
    assert Person.of(None, None, "x") is None
    assert Person.of("74.5", "female", "x") == Person(74.5, "F")
    for given, missing in ((("74", None), "sex"), ((None, "F"), "age")):
        with pytest.raises(UserError, match=f"x: the {missing} is missing"):
            Person.of(*given, "x")


def test_too_few_people_give_no_curves_and_say_so(tmp_path):
    people = simulated_people(200, 5)
    found = fit_curves(people[people["sex"] == "F"], [NAME], "CN", SETTINGS, {})
    assert not found.coefficients and "0 male; 20 of each are needed" in found.note
    assert not found.covers([70.0]).any()
    seen = people_seen(found, people)
    table = normative_table(found, seen, CLASSES, 20, 0)
    write_table(table, tmp_path / "normative.tsv")
    (shown,) = normative(read_table(tmp_path / "normative.tsv"))
    assert "20 of each are needed" in shown.note
    assert "20 of each are needed" in normative_findings(found, Person(70, "F"), {})["reading"]


def test_measure_without_spread_has_no_curves():
    people = simulated_people(100, 6).assign(csf_ml=3.0)
    found = fit_curves(people, [NAME, "csf_ml"], "CN", SETTINGS, {})
    assert set(found.coefficients) == {NAME} and "no spread of fluid" in found.note
    seen = people_seen(found, simulated_people(30, 16, "test"))
    table = normative_table(found, seen, CLASSES, 20, 0)
    for shown in normative(table):
        assert "No spread of fluid among the CN people." in shown.note
        assert "No test scan of AD in the range of ages." in shown.note


def test_report_says_that_no_healthy_test_person_is_there(curves):
    seen = people_seen(curves, simulated_people(30, 15, "test", 1.0))
    calibration, _ = normative(normative_table(curves, seen, CLASSES, 20, 0))
    assert "test people: none." in calibration.note
    assert "No test scan of CN in the range of ages." in calibration.note


@pytest.mark.parametrize("centiles", [[5, 5, 95], [60, 95], [5, 40]])
def test_centiles_lie_on_both_sides_of_the_median(centiles):
    with pytest.raises(UserError, match=r"evaluation\.normative\.centiles"):
        fit_curves(simulated_people(100, 7), [NAME], "CN", SETTINGS | {"centiles": centiles}, {})


def test_table_finds_calibrated_curves_and_moved_patients(curves):
    held_out = simulated_people(400, 8, "test")
    patients = simulated_people(300, 9, "test", 1.5)
    # Visits of a person do not count more: the second half of them has three scans.
    more = held_out[200:].assign(scan_id=lambda t: t["scan_id"] + "b")
    seen = people_seen(curves, pd.concat([held_out, more, patients], ignore_index=True))
    table = normative_table(curves, seen, CLASSES, 200, 0)
    below = table[table["quantity"] == "below"]
    own = below[below["diagnosis"] == "CN"]
    assert (np.abs(own["value"] - own["expected"]) < 0.07).all()
    assert ((own["ci_low"] <= own["expected"]) & (own["expected"] <= own["ci_high"])).sum() >= 4
    moved = below[below["diagnosis"] == "AD"].set_index("centile")["value"]
    np.testing.assert_allclose(moved[95], norm.cdf(norm.ppf(0.95) - 1.5), atol=0.08)
    assert below[below["diagnosis"] == "AD"]["expected"].isna().all()
    gap = table[table["quantity"] == "deviation_difference"].iloc[0]
    assert 1.2 < gap["value"] < 1.8 and gap["ci_low"] > 1
    counted = own.iloc[0]
    outside = int((~curves.covers(held_out["age"])).sum())
    assert counted["n_subjects"] == 400 - outside
    assert counted["n_outside"] == int((~curves.covers(pd.concat([held_out, more])["age"])).sum())
    calibration, deviations = normative(table)
    assert "95th: 0.95 expected" in calibration.columns and "AD less CN" in deviations.columns
    assert "not a clinical reference" in calibration.note


def test_training_people_are_read_by_probes_that_have_not_seen_them(tmp_path):
    draw = np.random.default_rng(0)
    count, width = 60, 80  # more numbers than people: any labels can be told apart
    y = draw.normal(size=(count, width))
    scans = pd.DataFrame({"participant_id": [f"p{i // 2}" for i in range(count)]})
    scans["diagnosis"] = np.where(draw.random(count // 2).repeat(2) < 0.5, "AD", "CN")
    scans["age"] = draw.uniform(60, 90, count // 2).repeat(2)
    scans["split"] = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    files = {}
    for name in ("diagnosis", "age"):
        files[name] = tmp_path / f"{name}.npz"
        np.savez(files[name], mean=np.zeros(width), std=np.ones(width), w=np.ones(width), b=2.0)
    penalty = {"diagnosis": 10.0, "age": 0.1}
    found = readings(y, scans, files, penalty, CLASSES, 5, 0)
    test = (scans["split"] == "test").to_numpy()
    expected = y[test].sum(axis=1) + 2
    for name in (LOGIT, PREDICTED_AGE):
        np.testing.assert_allclose(found.loc[test, name], expected)
        assert not np.isclose(found.loc[~test, name], y[~test].sum(axis=1) + 2).any()
    # Noise tells nothing of people who were not fitted: the two classes have the same logits.
    known = found[~test].assign(ill=scans["diagnosis"] == "AD")
    means, sd = known.groupby("ill")[LOGIT].mean(), known[LOGIT].std()
    assert abs(means[True] - means[False]) < sd


def test_job_fits_on_healthy_training_people_alone(tmp_path):
    draw = np.random.default_rng(1)
    parts = [
        simulated_people(80, 10),
        simulated_people(60, 11, "train", 3.0),
        simulated_people(40, 12, "val", 0.0),
        simulated_people(40, 13, "test"),
        simulated_people(30, 14, "test", 1.5),
    ]
    scans = pd.concat(parts, ignore_index=True)
    columns = ["scan_id", "participant_id", "diagnosis", "age", "sex", "split"]
    write_table(scans[columns], tmp_path / "index.tsv")
    write_table(scans[["scan_id", *VOLUMES]], tmp_path / "volumes.tsv")
    y = draw.normal(size=(len(scans), 6)).astype(np.float32)
    np.savez(tmp_path / "ldae.npz", scan_id=scans["scan_id"].to_numpy(str), y_sem=y)
    for name in ("classifier", "age_regressor"):
        weights = {"mean": np.zeros(6), "std": np.ones(6), "w": np.ones(6), "b": 0.0}
        np.savez(tmp_path / f"{name}.npz", **weights)
    probes = pd.DataFrame(
        [("diagnosis", "ldae", "regularised", 1.0), ("age", "ldae", "regularised", 100.0)],
        columns=["target", "system", "probe", "penalty"],
    )
    write_table(probes, tmp_path / "probes.tsv")
    files = {name: tmp_path / f"{name}.tsv" for name in ("index", "volumes", "probes")}
    files |= {name: tmp_path / f"{name}.npz" for name in ("classifier", "age_regressor")}
    sources = NormativeSources(embeddings=tmp_path / "ldae.npz", **files)
    cfg = {
        "normative": SETTINGS | {"centiles": [10, 50, 90]},
        "bootstrap": 20,
        "probes": {"cv_folds": 3},
        "targets": {"diagnosis": {"classes": list(CLASSES)}},
    }

    def job(name: str) -> dict:
        out = {"curves": f"{name}.json", "people": f"{name}_people.tsv", "table": f"{name}.tsv"}
        out = {key: tmp_path / path for key, path in out.items()}
        evaluate_normative(sources, out, cfg, 0)
        return out

    first = job("first")
    curves = NormativeCurves.load(first["curves"])
    assert curves.counts["subjects"] <= 80 and set(curves.coefficients) == set(MEASURES)
    people = read_table(first["people"])
    assert set(people["scan_id"]) == set(scans.loc[scans["split"] == "test", "scan_id"])
    # Other test and validation people and other patients leave the volumes' curves as they are.
    rest = (scans["split"] != "train") | (scans["diagnosis"] == "AD")
    other = scans[["scan_id", *VOLUMES]].copy()
    other.loc[rest, list(VOLUMES)] += 100
    write_table(other, tmp_path / "volumes.tsv")
    again = NormativeCurves.load(job("second")["curves"])
    for name in VOLUMES:
        np.testing.assert_array_equal(again.coefficients[name], curves.coefficients[name])
    other.loc[~rest, list(VOLUMES)] += 100
    write_table(other, tmp_path / "volumes.tsv")
    moved = NormativeCurves.load(job("third")["curves"])
    assert (moved.coefficients[NAME] != curves.coefficients[NAME]).any()


def test_findings_of_a_head_name_value_place_and_limits(curves):
    value = 0.5 * 75 + 5 + 0.05 * 75 * 3
    found = normative_findings(curves, Person(75.0, "M"), {NAME: value})
    shown = found["measures"][NAME]
    assert shown["percentile"] == 95 and 2.5 < shown["deviation"] < 3.5
    assert "Ventricles 53.8 ml, at or above the 95th percentile" in found["reading"]
    assert f"Against {curves.counts['subjects']} CN people" in found["reading"]
    assert "Not a clinical reference" in found["notice"]
    columns = percentile_columns({"normative": found})
    assert columns == {"given_age": 75.0, "given_sex": "M", f"{NAME}_percentile": 95}
    assert percentile_columns({}) == {}


def test_table_of_heads_gives_age_and_sex(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    table = tmp_path / "heads.csv"
    table.write_text("path,age,sex\na.nii.gz,74,F\nb.nii.gz,,\nc.nii.gz,n/a,M\n")
    scans = find_scans([table], HEAD)
    assert [(scan.age, scan.sex) for scan in scans] == [("74", "F"), (None, None), (None, "M")]
    shutil.copy(table, tmp_path / "plain.csv")
    (tmp_path / "plain.csv").write_text("path\na.nii.gz\n")
    assert find_scans([tmp_path / "plain.csv"], HEAD)[0].age is None
