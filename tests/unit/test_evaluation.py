"""Probes and every stage of the evaluation on tiny random models."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as reference
from small_models import (
    AUTOENCODER,
    CFG,
    DIM,
    SHAPE,
    make_index,
    make_project,
    make_volumes,
    write_store,
)

from ldae.data.embeddings import save_embeddings
from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.evaluation import (
    guidance,
    interpolation,
    manipulation,
    probes,
    reconstruct,
    truth,
)
from ldae.evaluation.direction import MODES, Direction, LinearModel
from ldae.evaluation.features import load_probe_data
from ldae.evaluation.systems import LdaeSystem
from ldae.files import read_table, write_table
from ldae.modelfile import save_model
from ldae.nets.autoencoder import build_autoencoder


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return make_project(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def system(project) -> LdaeSystem:
    folders = (project / name for name in ("autoencoder", "ldm", "ldae"))
    return LdaeSystem.load(*folders, CFG, "cpu", 1)


@pytest.fixture(scope="module")
def probed(project) -> Path:
    """Folder with the probes' outputs."""
    out = project / "probes"
    probes.evaluate_probes(
        {name: project / f"{name}.npz" for name in ("ldae", "untrained")},
        project / "latents",
        out,
        out / "probes.tsv",
        out / "probes_differences.tsv",
        CFG,
        0,
    )
    return out


def test_probe_metrics_equal_sklearn_on_the_stored_predictions(probed):
    table = read_table(probed / "probes.tsv").set_index(["target", "system", "metric"])["value"]
    for system_, rows in read_table(probed / "predictions_diagnosis.tsv").groupby("system"):
        ill, said = rows["diagnosis"] == "AD", rows["predicted"] == "AD"
        expected = {
            "accuracy": reference.accuracy_score(ill, said),
            "auroc": reference.roc_auc_score(ill, rows["probability"]),
            "recall_cn": reference.recall_score(~ill, ~said),
            "sensitivity": reference.recall_score(ill, said),
        }
        for name, value in expected.items():
            assert table["diagnosis", system_, name] == pytest.approx(value, abs=1e-5), name
    for system_, rows in read_table(probed / "predictions_age.tsv").groupby("system"):
        error = reference.mean_absolute_error(rows["age"], rows["predicted"])
        assert table["age", system_, "mae"] == pytest.approx(error, rel=1e-4)


def test_probes_use_test_subjects_and_all_systems(project, probed):
    rows = read_table(probed / "predictions_diagnosis.tsv")
    assert set(rows["system"]) == {"ldae", "untrained", "latents_pca", "age_sex"}
    index = read_table(project / "volumes" / "index.tsv")
    test = index[(index["split"] == "test") & (index["diagnosis"] != "MCI")]
    assert set(rows["scan_id"]) == set(test["scan_id"])
    table = read_table(probed / "probes.tsv")
    assert set(table.loc[table["target"] == "age", "system"]) == {
        "ldae", "untrained", "latents_pca", "sex", "mean_age",
    }  # fmt: skip
    ours = table[table["system"] == "ldae"].set_index("metric")
    assert ours.loc["recall_cn", "paper"] == 0.9102  # the paper's positive class is CN
    assert pd.isna(ours.loc["recall_ad", "paper"])
    assert (ours["n_subjects"] == [4] * 13 + [6] * 3).all()
    assert ours.loc["auroc", "value"] == 1.0  # the planted signal


def test_saved_direction_gives_the_classifiers_logit(project, probed):
    direction = Direction.load(probed / "classifier.npz")
    rows = read_table(probed / "predictions_diagnosis.tsv")
    rows = rows[rows["system"] == "ldae"]
    with np.load(project / "ldae.npz") as file:
        place = {name: i for i, name in enumerate(file["scan_id"].tolist())}
        y = torch.from_numpy(file["y_sem"][[place[name] for name in rows["scan_id"]]])
    with np.load(probed / "classifier.npz") as file:
        raw = y.double() @ torch.from_numpy(file["w_raw"]) + float(file["b_raw"])
    logit = direction(y)
    np.testing.assert_allclose(torch.sigmoid(logit), rows["probability"], atol=1e-5)
    np.testing.assert_allclose(raw, logit, atol=1e-8)


def test_saved_age_regressor_gives_the_predicted_ages(project, probed):
    rows = read_table(probed / "predictions_age.tsv")
    rows = rows[rows["system"] == "ldae"]
    with np.load(project / "ldae.npz") as file:
        place = {name: i for i, name in enumerate(file["scan_id"].tolist())}
        y = torch.from_numpy(file["y_sem"][[place[name] for name in rows["scan_id"]]])
    age = LinearModel.load(probed / "age_regressor.npz")(y)
    np.testing.assert_allclose(age, rows["predicted"], rtol=1e-4)


def test_lda_projection_separates_what_it_was_fitted_on(probed):
    rows = read_table(probed / "lda_projection.tsv")
    train = rows[rows["split"] == "train"].groupby("diagnosis")["ld1"].mean()
    assert abs(train["AD"] - train["CN"]) > 1
    assert abs(rows["ld1"].corr(rows["ld2"])) < 0.9


def test_shuffled_labels_give_chance():
    rng = np.random.default_rng(5)
    n, d = 300, 8
    table = pd.DataFrame(
        {
            "scan_id": [f"s{i:03d}" for i in range(n)],
            "participant_id": [f"p{i // 2:03d}" for i in range(n)],
            "split": np.where(np.arange(n) < 150, "train", "test"),
            "diagnosis": rng.permutation(np.repeat(["AD", "CN"], n // 2)),
        }
    )
    data = probes.ProbeData(table, {"ldae": rng.normal(size=(n, d))})
    _, predictions = probes.probe_diagnosis(data, "AD", CFG["probes"], 0)
    rows, _ = probes.score_table("diagnosis", predictions, ("CN", "AD"), 500, 0)
    auroc = next(row for row in rows if row["metric"] == "auroc")
    assert auroc["ci_low"] < 0.5 < auroc["ci_high"]
    assert auroc["ci_high"] - auroc["ci_low"] > 0.1


def test_a_leak_or_a_missing_class_is_refused(project, tmp_path):
    embeddings = {name: project / f"{name}.npz" for name in ("ldae", "untrained")}

    def run(index: pd.DataFrame, name: str) -> None:
        card = LatentStore(project / "latents").card
        noise = np.random.default_rng(6).normal(size=(len(index), 3, 2, 2, 2)).astype(np.float32)
        write_store(tmp_path / name, index, card, mean=noise, std=0 * noise)
        out = tmp_path / "out"
        tables = (out / "a.tsv", out / "b.tsv")
        probes.evaluate_probes(embeddings, tmp_path / name, out, *tables, CFG, 0)

    leak = make_index()
    leak.loc[0, "split"] = "train"  # another visit of this participant stays in the test split
    with pytest.raises(UserError, match="two sides"):
        run(leak, "leak")
    healthy = make_index()
    healthy.loc[(healthy["split"] == "test") & (healthy["diagnosis"] == "AD"), "diagnosis"] = "MCI"
    with pytest.raises(UserError, match="has the diagnosis AD"):
        run(healthy, "healthy")
    stranger = make_index()
    stranger.loc[len(stranger) - 1, "scan_id"] = "sub-99_ses-M000"
    with pytest.raises(UserError, match="lack 1 scan"):
        run(stranger, "stranger")


def test_manipulation_by_zero_is_the_identity_and_moves_the_logit_linearly(probed):
    direction = Direction.load(probed / "classifier.npz")
    y = torch.randn(3, DIM, generator=torch.Generator().manual_seed(0))
    for mode in MODES:
        assert torch.equal(direction.move(y, 0.0, mode), y)
    one, two = (direction(direction.move(y, a, "normalised")) - direction(y) for a in (1, 2))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-3)
    np.testing.assert_allclose(one, direction.w.norm().item() * DIM**0.5, rtol=1e-3)
    step = ((direction.move(y, 1.0, "normalised") - y) / direction.std).norm(dim=1)
    np.testing.assert_allclose(step, DIM**0.5, rtol=1e-4)
    assert (direction(direction.move(y, -1.0, "raw")) < direction(y)).all()
    with pytest.raises(UserError, match="mode"):
        direction.move(y, 1.0, "other")


def test_ventricle_box_follows_the_affine():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-90, -120, -70)
    box = manipulation.ventricle_box(affine, (96, 120, 96))
    for axis, part in enumerate(box):
        low, high = (affine[axis, axis] * i + affine[axis, 3] for i in (part.start, part.stop - 1))
        assert low == pytest.approx(manipulation.VENTRICLES[axis][0], abs=2)
        assert high == pytest.approx(manipulation.VENTRICLES[axis][1], abs=2)
    with pytest.raises(UserError, match="do not lie in the volumes"):
        manipulation.ventricle_box(affine, (30, 30, 30))


def test_measure_sees_growing_ventricles():
    base = torch.full((1, 1, *SHAPE), 0.8)
    wider = base.clone()
    box = (slice(6, 10),) * 3
    wider[(..., *box)] = 0.1
    before, after = (manipulation.measure(x, base, box, 2.0) for x in (base, wider))
    assert before["ventricle_dark_ml"].item() == 0
    assert after["ventricle_dark_ml"].item() == 64 * 2.0
    assert after["ventricle_mean"].item() == pytest.approx(0.1)
    assert after["ssim_to_unmanipulated"].item() < before["ssim_to_unmanipulated"].item() == 1


def test_reconstruction_tables(system, project):
    out = project / "reconstruction"
    paths = [out / name for name in ("scans.tsv", "table.tsv", "controls.tsv")]
    inputs = (system, project / "volumes", project / "ldae.npz")
    reconstruct.evaluate_reconstruction(*inputs, *paths, CFG, 0)
    first = [path.read_bytes() for path in paths]
    again = CFG | {"batch_size": 18}
    reconstruct.evaluate_reconstruction(*inputs, *paths, again, 0)
    scans, table, controls = (read_table(path) for path in paths)
    assert len(scans) == 18 * (1 + 2 * 3 + 2)
    autoencoder = scans[scans["system"] == "autoencoder"]
    np.testing.assert_allclose(autoencoder["ssim_to_ae"], 1, atol=1e-5)
    assert (autoencoder["mse_to_ae"] == 0).all()
    row = table[(table["system"] == "autoencoder") & (table["metric"] == "mse")].iloc[0]
    assert row["value"] == pytest.approx(autoencoder["mse"].mean(), rel=1e-4)
    assert (row["n_scans"], row["n_subjects"], row["paper"]) == (18, 6, 0.001)
    mine = scans[(scans["system"] == "ldae") & (scans["T"] == 4)].pivot(
        index="scan_id", columns="variant", values="mse"
    )
    gap = controls[
        (controls["comparison"] == "y_sem - wrong_y_sem") & (controls["metric"] == "mse")
    ].iloc[0]
    expected = (mine["y_sem"] - mine["wrong_y_sem"]).mean()
    assert gap["difference"] == pytest.approx(expected, rel=1e-2)
    assert gap["n_better"] == (mine["y_sem"] < mine["wrong_y_sem"]).sum()
    assert (mine["y_sem"] - mine["wrong_y_sem"]).abs().max() > 1e-6  # G answers to y_sem
    before = pd.read_csv(BytesIO(first[0]), sep="\t")
    np.testing.assert_allclose(before["mse"], scans["mse"], rtol=1e-3)  # whatever the batches


def test_latents_are_scaled_by_the_card_both_ways(system, project):
    x = system.volume_store(project / "volumes").volumes(np.arange(2))
    raw = system.autoencoder.encode(x)[0]
    torch.testing.assert_close(system.encode_z(x), 2.0 * raw)
    torch.testing.assert_close(
        system.image(system.encode_z(x)), system.autoencoder.decode(raw).clamp(0, 1)
    )


def test_guided_estimate_subtracts_c_t_times_g(system):
    z = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    t, y = torch.tensor([9, 500]), torch.randn(2, DIM)
    frozen, (guided,) = system.estimates(z, t, y)
    eps, g = system.guided(z, t, y)
    torch.testing.assert_close(frozen, eps)
    c_t = system.schedule.guidance[t].float().view(2, 1, 1, 1, 1)
    torch.testing.assert_close(guided, eps - c_t * g)


def test_ddim_round_trip_returns_to_the_latent(system):
    z_0 = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.randn(2, DIM, generator=torch.Generator().manual_seed(1))
    for code in (None, y):
        back = system.decode(system.encode_zT(z_0, code, 50), code, 50)
        assert (back - z_0).pow(2).mean().sqrt() < 0.1


def test_examples_hold_what_the_figures_read(system, project, probed):
    out = project / "examples"
    inputs = (system, project / "volumes", project / "ldae.npz")
    subjects = {"CN": None, "AD": "sub-04"}
    reconstruct.reconstruction_examples(*inputs, out / "rec.npz", CFG, subjects, 2)
    with np.load(out / "rec.npz") as file:
        assert file["samples"].shape == (2, 2, *SHAPE)
        assert file["participant_id"].tolist() == ["sub-00", "sub-04"]
        assert (file["samples"][0, 0] != file["samples"][0, 1]).any()
    files = [out / name for name in ("examples.npz", "to_cn.npz", "to_ad.npz")]
    classifier = probed / "classifier.npz"
    manipulation.manipulation_examples(*inputs, classifier, *files, CFG, subjects)
    with np.load(files[0]) as file:
        assert file["source"].tolist() == ["AD", "CN"]
        assert file["manipulated"].shape == (2, *SHAPE)
        assert (file["manipulated"] != file["reconstruction"]).any()
        plain = file["reconstruction"][0]
    with np.load(files[1]) as file:
        assert (file["volumes"][0] == plain).all()  # alpha = 0
        assert str(file["scan_id"]) == "sub-04_ses-M000"


def test_manipulation_table(system, project, probed):
    out = project / "manipulation"
    manipulation.evaluate_manipulation(
        system,
        project / "volumes",
        project / "ldae.npz",
        probed / "classifier.npz",
        out / "scans.tsv",
        out / "table.tsv",
        CFG,
        0,
    )
    scans = read_table(out / "scans.tsv")
    assert len(scans) == 2 * 2 * 2  # directions, scans, alphas
    still = scans[scans["alpha"] == 0]
    np.testing.assert_allclose(still["ssim_to_unmanipulated"], 1, atol=1e-5)
    asked = scans.pivot(index="scan_id", columns="alpha", values="logit_asked")
    towards = scans.groupby("scan_id")["direction"].first()
    up = asked[1.0] > asked[0.0]
    assert (up == (towards == "CN to AD")).all()
    table = read_table(out / "table.tsv")
    assert set(table["direction"]) == {"AD to CN", "CN to AD"}
    nothing = table[(table["alpha"] == 0) & table["metric"].str.startswith("change_")]
    assert (nothing["value"] == 0).all()


def test_guidance_tables(system, project):
    out = project / "guidance"
    guidance.evaluate_guidance(
        system,
        project / "latents",
        project / "ldae.npz",
        out / "scans.tsv",
        out / "table.tsv",
        out / "differences.tsv",
        CFG | {"max_scans": 4},
        0,
    )
    scans = read_table(out / "scans.tsv")
    assert len(scans) == 4 * 4 * 5
    parts = scans[scans["quartile"] != "all"].groupby(["scan_id", "system"])["loss"].mean()
    whole = scans[scans["quartile"] == "all"].set_index(["scan_id", "system"])["loss"]
    np.testing.assert_allclose(parts, whole.loc[parts.index], rtol=1e-4)
    assert (scans["weighted_loss"] < scans["loss"]).all()  # lambda_t < 1
    gaps = read_table(out / "differences.tsv")
    gap = gaps[
        (gaps["reference"] == "wrong_y_sem") & (gaps["quartile"] == "all")
    ].set_index("metric")  # fmt: skip
    expected = whole.unstack()["right_y_sem"] - whole.unstack()["wrong_y_sem"]
    assert gap.loc["loss", "difference"] == pytest.approx(expected.mean(), abs=3e-6)


def test_interpolation_tables(system, project):
    out = project / "interpolation"
    paths = [out / name for name in ("scans.tsv", "table.tsv", "differences.tsv", "example.npz")]
    inputs = (system, project / "volumes", project / "ldae.npz")
    interpolation.evaluate_interpolation(*inputs, *paths, CFG, None, 0)
    scans, table = read_table(paths[0]), read_table(paths[1])
    assert len(scans) == 3 * 4  # participants with one triplet each, methods
    assert (scans["alpha"] == 0.5).all()
    overall = table[(table["grouping"] == "overall") & (table["metric"] == "mse_to_ae")]
    for row in overall.itertuples():
        expected = scans.loc[scans["method"] == row.method, "mse_to_ae"].mean()
        assert row.value == pytest.approx(expected, rel=1e-4)
    assert set(table["grouping"]) == {
        "overall", "prediction_gap", "time_gap", "relative_position",
    }  # fmt: skip
    assert table.loc[table["grouping"] == "relative_position", "group"].unique() == ["0.4-0.6"]
    with np.load(paths[3]) as file:
        assert file["factor"].tolist() == [0, 0.5, 1]
        assert file["interpolated"].shape == file["original"].shape == (3, *SHAPE)
    few = CFG | {"interpolation": CFG["interpolation"] | {"min_visits": 4}}
    with pytest.raises(UserError, match="min_visits"):
        interpolation.evaluate_interpolation(*inputs, *paths, few, None, 0)


def test_voxel_average_and_nearest_visit_are_what_they_say(system, project):
    store = VolumeStore(project / "volumes")
    visits = store.index[store.index["participant_id"] == "sub-01"]
    codes = interpolation.Codes(system, store, project / "ldae.npz", visits, 2, 8)
    chosen = interpolation.triplets(visits["months"].tolist())
    images = dict(interpolation.predictions(system, codes, chosen, 2))
    mean = (codes.decoded[0] + codes.decoded[2]) / 2
    torch.testing.assert_close(images["voxel_average"][0], mean)
    assert torch.equal(images["nearest_visit"][0], codes.decoded[0])


def test_truth_correlations(project):
    out = project / "truth"
    embeddings = {name: project / f"{name}.npz" for name in ("ldae", "untrained")}
    arguments = (embeddings, project / "latents", out / "scans.tsv", out / "table.tsv", CFG, 0)
    truth.evaluate_truth(project / "truth.tsv", *arguments)
    table = read_table(out / "table.tsv")
    rows = table[table["reference"].isna() & (table["prediction"] == "atrophy_probe")]
    r = rows[rows["truth"] == "atrophy"].set_index("system")["r"]
    assert r["ldae"] > 0.8 > abs(r["untrained"])
    scans = read_table(out / "scans.tsv")
    mine = scans[(scans["system"] == "ldae") & (scans["prediction"] == "atrophy_probe")]
    assert r["ldae"] == pytest.approx(mine["output"].corr(mine["atrophy"]), abs=1e-4)
    assert "age_sex" not in set(table.loc[table["prediction"] == "age_probe", "system"])
    short = read_table(project / "truth.tsv").iloc[1:]
    write_table(short, out / "short.tsv")
    with pytest.raises(UserError, match="lacks 1 scan"):
        truth.evaluate_truth(out / "short.tsv", *arguments)


def test_models_that_do_not_belong_together_are_refused(project, tmp_path):
    torch.manual_seed(1)
    save_model(
        tmp_path / "autoencoder",
        build_autoencoder(AUTOENCODER).state_dict(),
        {"kind": "autoencoder", "architecture": AUTOENCODER},
    )
    with pytest.raises(UserError, match="another autoencoder"):
        LdaeSystem.load(tmp_path / "autoencoder", project / "ldm", project / "ldae", CFG, "cpu", 1)


def test_a_store_the_models_were_not_trained_on_is_refused(system, project, tmp_path):
    index = make_index()
    index.loc[index["participant_id"] == "sub-20", "split"] = "test"  # seen in training
    card = VolumeStore(project / "volumes").card
    volumes = make_volumes(len(index)).astype(np.float16)
    write_store(tmp_path / "volumes", index, card, volumes=volumes)
    with pytest.raises(UserError, match="another volume store"):
        system.volume_store(tmp_path / "volumes")
    latents = np.zeros((len(index), 3, 8, 8, 8), np.float32)
    card = LatentStore(project / "latents").card | {"volumes": "other"}
    write_store(tmp_path / "latents", index, card, mean=latents, std=latents)
    with pytest.raises(UserError, match="not of the volumes"):
        system.latent_store(tmp_path / "latents")


def test_embeddings_of_another_model_or_of_other_volumes_are_refused(system, project, tmp_path):
    scans = make_index()["scan_id"]
    codes = system.stored_codes(project / "ldae.npz", scans[:2])
    assert codes.shape == (2, DIM)
    made_of = {"model": system.card["sha256"], "volumes": system.card["data"]}
    for change, message in ({"model": "x"}, "another model"), ({"volumes": "x"}, "another volume"):
        path = tmp_path / "y.npz"
        save_embeddings(path, scans.tolist(), np.zeros((len(scans), DIM)), **made_of | change)
        with pytest.raises(UserError, match=message):
            system.stored_codes(path, scans[:2])
    with pytest.raises(UserError, match="another volume store"):
        load_probe_data(project / "latents", {"ldae": path}, 0)


def test_pca_is_fitted_on_training_scans_alone(project):
    from ldae.evaluation.features import latents_pca

    store = LatentStore(project / "latents")
    table = store.index.copy()
    plain = latents_pca(store, table, 0)
    training = table["split"].isin(["train", "val"]).to_numpy()
    assert plain.shape == (len(table), min(64, training.sum() - 1))
    np.testing.assert_allclose(plain[training].mean(0), 0, atol=1e-4)
    assert np.abs(plain[~training].mean(0)).max() > 1e-2
