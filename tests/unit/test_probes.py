"""Linear probes: fits, scores, conversion labels, comparisons, and refused inputs."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as reference

from helpers.models import CFG, make_index, run_probes, write_store
from ldae.data.latent_store import LatentStore
from ldae.errors import UserError
from ldae.evaluation.metrics import volumes
from ldae.evaluation.metrics.bootstrap import (
    ClusterBootstrap,
    difference_of,
    holm,
    weighted_mean,
)
from ldae.evaluation.probes import paper
from ldae.evaluation.probes.direction import Direction, LinearModel
from ldae.evaluation.probes.features import ProbeData
from ldae.evaluation.probes.labels import conversion_labels
from ldae.evaluation.probes.linear import corrected_age
from ldae.evaluation.probes.scores import Drawn, score_table
from ldae.evaluation.probes.target_table import target_table
from ldae.evaluation.probes.targets import paper_probes, regularised
from ldae.evaluation.published_values import paper_tables
from ldae.files import read_table, write_table

SYSTEMS = {"ldae", "untrained", "latents_pca", "volumes"}
TARGETS = target_table(CFG["targets"])
GROUPS = TARGETS["groups"].classes


def _binary(truth, predicted, probability) -> dict[str, float]:
    return {
        "accuracy": reference.accuracy_score(truth, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, predicted),
        "mcc": reference.matthews_corrcoef(truth, predicted),
        "sensitivity": reference.recall_score(truth, predicted),
        "specificity": reference.recall_score(~truth, ~predicted),
        "auroc": reference.roc_auc_score(truth, probability),
        "average_precision": reference.average_precision_score(truth, probability),
    }


def _expected(target: str, rows: pd.DataFrame) -> dict[str, float]:
    if target == "diagnosis":
        ill, predicted = rows["diagnosis"] == "AD", rows["predicted"] == "AD"
        more = {"recall_cn": reference.recall_score(~ill, ~predicted)}
        return more | _binary(ill, predicted, rows["probability"])
    if target == "age":
        age, predicted = rows["age"], rows["predicted"]
        scores = {
            "mae": reference.mean_absolute_error(age, predicted),
            "rmse": reference.root_mean_squared_error(age, predicted),
            "r2": reference.r2_score(age, predicted),
        }
        if rows["corrected"].notna().all():
            scores["mae_corrected"] = reference.mean_absolute_error(age, rows["corrected"])
        return scores
    groups = GROUPS
    probabilities = rows[[f"probability_{one.lower()}" for one in groups]].to_numpy()
    truth, predicted = rows["diagnosis"], rows["predicted"]
    one_hot = np.column_stack([truth == one for one in groups])
    return {
        "accuracy": reference.accuracy_score(truth, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, predicted),
        "macro_f1": reference.f1_score(truth, predicted, average="macro"),
        "macro_auroc": reference.roc_auc_score(one_hot, probabilities, average="macro"),
    }


@pytest.mark.parametrize("target", ["diagnosis", "age", "groups"])
def test_probe_scores_equal_sklearn_on_stored_predictions(probe_outputs, target):
    keys = ["target", "probe", "system", "metric"]
    table = read_table(probe_outputs / "probes.tsv").set_index(keys)["value"]
    predictions = read_table(probe_outputs / f"predictions_{target}.tsv")
    checked = 0
    for (probe, system), rows in predictions.groupby(["probe", "system"]):
        seeds = [_expected(target, one) for _, one in rows.groupby("seed", dropna=False)]
        for name in seeds[0]:
            value = np.mean([one[name] for one in seeds if name in one])
            if len(seeds) == sum(name in one for one in seeds):
                found = table[target, probe, system, name]
                if not np.isnan(found):  # sklearn returns 0 where a score is undefined
                    assert found == pytest.approx(value, rel=1e-4, abs=1e-5), (probe, system, name)
                    checked += 1
    assert checked > 15


def test_probes_use_test_subjects_and_all_systems(project, probe_outputs):
    rows = read_table(probe_outputs / "predictions_diagnosis.tsv")
    assert set(rows["system"]) == SYSTEMS | {"age_sex"}
    assert set(rows["probe"]) == {"regularised", "paper"}
    assert set(rows.loc[rows["probe"] == "paper", "seed"]) == {1, 2}
    index = read_table(project / "volumes" / "index.tsv")
    test = index[(index["split"] == "test") & (index["diagnosis"] != "MCI")]
    assert set(rows["scan_id"]) == set(test["scan_id"])
    table = read_table(probe_outputs / "probes.tsv")
    assert set(table.loc[table["target"] == "age", "system"]) == SYSTEMS | {"sex", "mean_age"}
    ours = table[(table["system"] == "ldae") & (table["probe"] == "regularised")]
    of = {target: part.set_index("metric") for target, part in ours.groupby("target")}
    assert of["diagnosis"].loc["recall_cn", "paper"] == 0.9102  # the paper's positive class is CN
    assert pd.isna(of["diagnosis"].loc["recall_ad", "paper"])
    assert {name: part["n_subjects"].tolist()[0] for name, part in of.items()} == {
        "diagnosis": 4, "age": 6, "groups": 6, "conversion": 0,
    }  # fmt: skip
    assert of["diagnosis"].loc["auroc", "value"] == 1.0  # the planted signal


def test_probe_with_too_few_subjects_has_a_row_with_a_note(project, probe_outputs, tmp_path):
    table = read_table(probe_outputs / "probes.tsv")
    row = table[table["target"] == "conversion"].squeeze()
    assert pd.isna(row["value"]) and "too few subjects: 0 stays MCI in training" in row["note"]
    cfg = CFG | {"probes": CFG["probes"] | {"min_subjects": 3}}
    table = read_table(run_probes(project, tmp_path, cfg=cfg) / "probes.tsv")
    row = table[table["target"] == "groups"].squeeze()
    assert "2 CN in test, 2 MCI in test, 2 AD in test; 3 of each" in row["note"]
    assert row["n_subjects"] == 6


def test_probe_outputs_of_same_inputs_have_the_same_bytes(project, probe_outputs, tmp_path):
    again = run_probes(project, tmp_path)
    for path in sorted(probe_outputs.iterdir()):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_saved_direction_equals_the_classifier_logit(project, probe_outputs):
    direction = Direction.load(probe_outputs / "classifier.npz")
    rows = read_table(probe_outputs / "predictions_diagnosis.tsv")
    rows = rows[(rows["system"] == "ldae") & (rows["probe"] == "regularised")]
    y = _codes(project, rows["scan_id"])
    with np.load(probe_outputs / "classifier.npz") as file:
        raw = y.double() @ torch.from_numpy(file["w_raw"]) + float(file["b_raw"])
    logit = direction(y)
    np.testing.assert_allclose(torch.sigmoid(logit), rows["probability"], atol=1e-5)
    np.testing.assert_allclose(raw, logit, atol=1e-8)


def test_saved_age_regressor_equals_the_predicted_ages(project, probe_outputs):
    rows = read_table(probe_outputs / "predictions_age.tsv")
    rows = rows[(rows["system"] == "ldae") & (rows["probe"] == "regularised")]
    age = LinearModel.load(probe_outputs / "age_regressor.npz")(_codes(project, rows["scan_id"]))
    np.testing.assert_allclose(age, rows["predicted"], rtol=1e-4)


def _codes(project, scans: pd.Series) -> torch.Tensor:
    with np.load(project / "ldae.npz") as file:
        place = {name: i for i, name in enumerate(file["scan_id"].tolist())}
        return torch.from_numpy(file["y_sem"][[place[name] for name in scans]])


def test_lda_projection_separates_diagnoses_of_training_scans(probe_outputs):
    rows = read_table(probe_outputs / "lda_projection.tsv")
    train = rows[rows["split"] == "train"].groupby("diagnosis")["ld1"].mean()
    assert abs(train["AD"] - train["CN"]) > 1
    assert abs(rows["ld1"].corr(rows["ld2"])) < 0.9


def _data(n: int, d: int, seed: int, **columns) -> ProbeData:
    """Two scans a subject, the first half of the subjects for training."""
    table = pd.DataFrame(
        {
            "scan_id": [f"s{i:03d}" for i in range(n)],
            "participant_id": [f"p{i // 2:03d}" for i in range(n)],
            "split": np.where(np.arange(n) < n // 2, "train", "test"),
            **columns,
        }
    )
    return ProbeData(table, {"ldae": np.random.default_rng(seed).normal(size=(n, d))})


@pytest.mark.parametrize("probe", ["regularised", "paper"])
def test_diagnosis_probe_of_shuffled_labels_is_at_chance(probe):
    n = 300
    labels = np.random.default_rng(5).permutation(np.repeat(["AD", "CN"], n // 2))
    data = _data(n, 8, 6, diagnosis=labels)
    target, truth = TARGETS["diagnosis"], labels == "AD"
    if probe == "regularised":
        _, predictions = regularised(target, data, truth, ("CN", "AD"), CFG["probes"], 0)
    else:
        predictions = paper_probes(target, data, truth, ("CN", "AD"), CFG["probes"])
        predictions["probe"] = "regularised"  # the probe whose scans are counted
    rows, _ = score_table(Drawn.of(target, predictions, ("CN", "AD"), 500, 0))
    auroc = next(row for row in rows if row["metric"] == "auroc")
    assert auroc["ci_low"] < 0.5 < auroc["ci_high"]
    assert 0.05 < auroc["ci_high"] - auroc["ci_low"] < 0.3


def test_groups_probe_of_shuffled_labels_is_at_chance():
    labels = np.random.default_rng(7).permutation(np.repeat(["AD", "CN", "MCI"], 100))
    data = _data(300, 6, 8, diagnosis=labels)
    _, predictions = regularised(TARGETS["groups"], data, labels, GROUPS, CFG["probes"], 0)
    rows, _ = score_table(Drawn.of(TARGETS["groups"], predictions, GROUPS, 500, 0))
    found = {row["metric"]: row for row in rows}
    assert found["balanced_accuracy"]["ci_low"] < 1 / 3 < found["balanced_accuracy"]["ci_high"]
    assert found["macro_auroc"]["ci_low"] < 0.5 < found["macro_auroc"]["ci_high"]


def test_conversion_probe_finds_planted_signal():
    converts = np.arange(200) % 4 < 2
    data = _data(200, 5, 9, diagnosis="MCI")
    data.features["ldae"][:, 0] += 4 * converts
    target = TARGETS["conversion"]
    _, predictions = regularised(target, data, converts, target.outcomes, CFG["probes"], 0)
    rows, gaps = score_table(Drawn.of(target, predictions, target.outcomes, 100, 0))
    found = {row["metric"]: row for row in rows}
    assert found["auroc"]["value"] > 0.97 and found["auroc"]["n_positive"] == 50
    ill, predicted = predictions["converts"] == 1, predictions["predicted"] == 1
    for name, value in _binary(ill, predicted, predictions["probability"]).items():
        assert found[name]["value"] == pytest.approx(value), name
    assert gaps == []


def test_conversion_labels_of_hand_made_histories():
    visits = {
        "converter": [(0, "MCI"), (12, "MCI"), (24, "AD")],
        "late": [(0, "MCI"), (12, "MCI"), (48, "AD")],  # at 48: not within 36 of 0, just of 12
        "stable": [(0, "MCI"), (36, "MCI"), (60, "MCI")],
        "short": [(0, "MCI"), (24, "MCI")],
        "healed": [(0, "MCI"), (36, "CN")],
        "back": [(0, "MCI"), (12, "AD"), (24, "MCI"), (72, "MCI")],
        "unsure": [(0, "MCI"), (36, None)],
        "well": [(0, "CN"), (12, "AD")],
    }
    table = pd.DataFrame(
        [(who, month, what) for who, all_ in visits.items() for month, what in all_],
        columns=["participant_id", "months", "diagnosis"],
    )
    shuffled = table.sample(frac=1, random_state=0)
    labels = conversion_labels(table, shuffled, 36)
    found = {who: labels[table["participant_id"] == who].tolist() for who in visits}
    unknown = pytest.approx(np.nan, nan_ok=True)
    assert found == {
        "converter": [1, 1, unknown],
        "late": [0, 1, unknown],
        "stable": [0, unknown, unknown],  # 24 months after the second one
        "short": [unknown, unknown],
        "healed": [0, unknown],
        "back": [1, unknown, unknown, unknown],  # MCI after AD is not a start
        "unsure": [unknown, unknown],
        "well": [unknown, unknown],
    }
    # A visit whose scan is not used counts as follow-up.
    used = table[table["months"] == 0].reset_index(drop=True)
    assert conversion_labels(used, table, 36)[0] == 1
    assert np.isnan(conversion_labels(used, used, 36)).all()


# --- the paper's probes --------------------------------------------------------------------------


def test_paper_probes_fit_linear_targets():
    draw = np.random.default_rng(1)
    x = draw.normal(3, [1, 5, 200], size=(400, 3))
    age = 70 + 4 * (x[:, 0] - 3) - 0.02 * (x[:, 2] - 3)
    cfg = CFG["probes"]["paper"] | {"learning_rate": 0.02, "regressor_epochs": 60}
    found = paper.train_regressor(x, age, (x, age), cfg, 0)
    assert np.abs(found(x) - age).max() < 0.1
    positive = x[:, 1] > 3
    logit = paper.train_classifier(x, positive, (x, positive), cfg, 0)(x)
    assert ((logit > 0) == positive).mean() > 0.97
    again = paper.train_classifier(x, positive, (x, positive), cfg, 0)(x)
    assert (logit == again).all()
    assert (logit != paper.train_classifier(x, positive, (x, positive), cfg, 1)(x)).any()


def test_paper_probe_keeps_the_epoch_that_is_best_on_the_held_out_scans():
    draw = np.random.default_rng(2)
    x = draw.normal(size=(12, 40))  # few scans of many features: it overfits
    positive = draw.random(12) > 0.5
    other = draw.normal(size=(200, 40)), draw.random(200) > 0.5
    cfg = CFG["probes"]["paper"] | {"learning_rate": 0.05, "classifier_epochs": 100}

    def loss(epoch: str, epochs: int = 100) -> float:
        own = cfg | {"epoch": epoch, "classifier_epochs": epochs}
        logit = paper.train_classifier(x, positive, other, own, 0)(other[0])
        return np.logaddexp(0, np.where(other[1], -logit, logit)).mean()

    every = [loss("last", epochs) for epochs in range(1, 101)]
    assert loss("best") == pytest.approx(min(every), rel=1e-5)
    assert min(every) < 0.9 * every[-1]
    with pytest.raises(UserError, match="epoch is 'first'"):
        loss("first")


def test_paper_probe_split_is_by_subject_with_both_classes():
    groups = [f"p{i // 3}" for i in range(60)]
    labels = np.arange(60) // 3 >= 18  # 2 of 20 subjects
    chosen = paper.subject_split(groups, labels, 0.7, 3)
    assert not set(np.array(groups)[chosen]) & set(np.array(groups)[~chosen])
    assert len(set(np.array(groups)[chosen])) == 13 + 1
    assert labels[chosen].any()
    assert (paper.subject_split(groups, labels, 0.7, 4) != chosen).any()


def test_corrected_age_does_not_use_ages_of_test_scans():
    age = np.linspace(55, 90, 30)
    held_out = 50 + 0.3 * age
    np.testing.assert_allclose(corrected_age(np.array([68.0, 74.0]), age, held_out), [60, 80])
    assert np.isnan(corrected_age(np.array([70.0]), age, np.full(30, 72.0))).all()
    assert np.isnan(corrected_age(np.array([70.0]), age[:1], held_out[:1])).all()


def test_paper_probe_scores_equal_those_of_its_confusion_matrices():
    probes = paper_tables()["probes"]
    for system, cells in probes["confusion"].items():
        healthy = np.repeat(
            [True, True, False, False], [cells[k] for k in ("tp", "fn", "fp", "tn")]
        )
        predicted = np.repeat(
            [True, False, True, False], [cells[k] for k in ("tp", "fn", "fp", "tn")]
        )
        row = probes["rows"][system]["diagnosis"]
        expected = {
            "accuracy": reference.accuracy_score(healthy, predicted),
            "precision_cn": reference.precision_score(healthy, predicted),
            "recall_cn": reference.recall_score(healthy, predicted),
            "f1_cn": reference.f1_score(healthy, predicted),
            "mcc": reference.matthews_corrcoef(healthy, predicted),
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, abs=1.5e-4), (system, name)
        derived = probes["derived"][system]["diagnosis"]
        assert derived["sensitivity"] == round(reference.recall_score(~healthy, ~predicted), 3)
        assert derived["specificity"] == round(expected["recall_cn"], 3)
        balanced = reference.balanced_accuracy_score(healthy, predicted)
        assert derived["balanced_accuracy"] == round(balanced, 3)


# --- comparisons ---------------------------------------------------------------------------------


def test_holm_correction_equals_hand_calculation():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.6, np.nan, 0.5]), [1, np.nan, 1])


def test_two_sided_p_agrees_with_interval_and_rarely_rejects_null():
    rejected, subject = 0, np.repeat(np.arange(40), 4)
    for trial in range(100):
        draw = np.random.default_rng(trial)
        values = draw.normal(size=40)[subject] + 0.2 * draw.normal(size=160)
        bootstrap = ClusterBootstrap(subject, 200, trial)
        p = bootstrap.draws(weighted_mean(values)).two_sided_p()
        found = bootstrap.mean(values)
        assert p < 0.07 or found.low <= 0 <= found.high  # in agreement with the interval
        rejected += p < 0.05
    assert rejected <= 12  # scans taken as independent would reject in half of the trials
    assert bootstrap.draws(weighted_mean(values + 5)).two_sided_p() == pytest.approx(2 / 201)
    same = weighted_mean(values)
    assert bootstrap.draws(difference_of(same, same)).two_sided_p() == 1
    assert np.isnan(ClusterBootstrap(["a", "a"], 10, 0).draws(weighted_mean([1, 2])).two_sided_p())


def test_probe_differences_have_p_values_of_every_other_system(probe_outputs):
    table = read_table(probe_outputs / "probes_differences.tsv")
    auroc = table[
        (table["target"] == "diagnosis")
        & (table["probe"] == "regularised")
        & (table["metric"] == "auroc")
    ]
    assert set(auroc["reference"]) == (SYSTEMS - {"ldae"}) | {"age_sex"}
    np.testing.assert_allclose(auroc["p_holm"], holm(auroc["p"]))
    scores = read_table(probe_outputs / "probes.tsv").set_index(
        ["target", "probe", "system", "metric"]
    )
    for row in auroc.to_dict("records"):
        other = scores.loc[("diagnosis", "regularised", row["reference"], "auroc"), "value"]
        assert row["difference"] == pytest.approx(1 - other, abs=1e-5)


# --- external predictions, refused inputs --------------------------------------------------------


def test_probes_score_external_predictions(project, tmp_path):
    index = read_table(project / "volumes" / "index.tsv")
    test = index[(index["split"] == "test") & index["diagnosis"].isin(["CN", "AD"])]
    known = test[["scan_id", "participant_id", "diagnosis"]].sample(frac=1, random_state=1)
    wrong = known["diagnosis"].map({"CN": "AD", "AD": "CN"})
    chance = (wrong == "AD").astype(float)
    made = known.assign(system="supervised", predicted=wrong, probability=chance)
    write_table(made, tmp_path / "made.tsv")
    given = {"diagnosis": [tmp_path / "made.tsv"]}
    out = run_probes(project, tmp_path / "out", predictions=given)
    table = read_table(out / "probes.tsv").set_index(["target", "probe", "system", "metric"])
    row = table.loc[("diagnosis", "none", "supervised", "auroc")]
    assert (row["value"], row["paper"]) == (0, 0.9067)
    gaps = read_table(out / "probes_differences.tsv")
    gap = gaps[(gaps["reference"] == "supervised") & (gaps["metric"] == "auroc")]
    assert gap["difference"].tolist() == [1]
    write_table(made[1:], tmp_path / "made.tsv")
    with pytest.raises(UserError, match="supervised for diagnosis are not for the test scans"):
        run_probes(project, tmp_path / "out", predictions=given)


def test_probes_refuse_leakage_missing_class_and_missing_scan(project, tmp_path):
    def run(index: pd.DataFrame, name: str) -> None:
        card = LatentStore(project / "latents").card
        noise = np.random.default_rng(6).normal(size=(len(index), 3, 2, 2, 2)).astype(np.float32)
        write_store(tmp_path / name, index, card, mean=noise, std=0 * noise)
        run_probes(project, tmp_path / "out", latents=tmp_path / name)

    leak = make_index()
    leak.loc[0, "split"] = "train"  # another visit of this participant stays in the test split
    with pytest.raises(UserError, match="two splits"):
        run(leak, "leak")
    healthy = make_index()
    healthy.loc[(healthy["split"] == "test") & (healthy["diagnosis"] == "AD"), "diagnosis"] = "MCI"
    with pytest.raises(UserError, match="has the diagnosis AD"):
        run(healthy, "healthy")
    stranger = make_index()
    stranger.loc[len(stranger) - 1, "scan_id"] = "sub-99_ses-M000"
    with pytest.raises(UserError, match="lack 1 scan"):
        run(stranger, "stranger")
    measured = read_table(project / "tissue_volumes.tsv")
    write_table(measured[1:], tmp_path / "measured.tsv")
    with pytest.raises(UserError, match="lacks 1 scan"):
        run_probes(project, tmp_path / "out", volumes=tmp_path / "measured.tsv")


def test_tissue_volumes_separate_three_intensities():
    draw = np.random.default_rng(0)
    volume = np.zeros((20, 20, 20))
    volume[2:18, 2:18, 2:18] = 0.55
    volume[5:15, 5:15, 5:15] = 0.9
    volume[8:12, 8:12, 8:12] = 0.15
    volume += (volume > 0) * draw.normal(0, 0.02, volume.shape)
    found = volumes.tissue_volumes(volume, 2.0)
    assert found == {
        "csf_ml": 2.0 * 4**3,
        "grey_ml": 2.0 * (16**3 - 10**3),
        "white_ml": 2.0 * (10**3 - 4**3),
        "brain_ml": 2.0 * 16**3,
    }
