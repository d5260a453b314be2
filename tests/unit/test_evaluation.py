"""Evaluation: metrics, intervals, probes, and every stage on tiny random models."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from skimage.metrics import structural_similarity
from sklearn import metrics as reference

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
    scores,
    truth,
)
from ldae.evaluation.bootstrap import ClusterBootstrap, minus
from ldae.evaluation.metrics import ImageMetrics, SliceLpips, mse, ssim, ssim_map, ssim_window
from ldae.evaluation.scans import example_scans, fixed_noise, spread_over_subjects, wrong_scans
from ldae.evaluation.systems import LdaeSystem
from ldae.files import digest, read_table, sha256, write_json, write_table
from ldae.modelfile import ldae_state, save_model
from ldae.nets.autoencoder import build_autoencoder
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.unet import build_unet
from ldae.training.validation import mean_ssim

SHAPE, SPACING, DIM = (16, 16, 16), 12.0, 512
AUTOENCODER = {
    "channels": [4, 4],
    "num_res_blocks": 1,
    "latent_channels": 3,
    "norm_num_groups": 2,
    "pretrained": None,
}
LDM = {
    "base_channels": 8,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_factors": [],
    "num_heads": 1,
    "dropout": 0.0,
    "norm_num_groups": 2,
    "resample": "isotropic",
}
ENCODER = {
    "backbone": "resnet10t",
    "pretrained": None,
    "plane": "axial",
    "num_heads": 2,
    "attention_dropout": 0.0,
    "position": "none",
    "standardize": False,
}
DIFFUSION = {"timesteps": 1000, "beta_start": 1e-4, "beta_end": 2e-2, "gamma": 0.1}
CFG = {
    "ddim_steps": [2, 4],
    "guidance": "c_t",
    "batch_size": 5,
    "noise_seed": 7,
    "max_scans": None,
    "bootstrap": 50,
    "lpips": None,
    "probes": {"classes": ["CN", "AD"], "cv_folds": 3},
    "manipulation": {
        "alphas": [0, 1],
        "alpha": 1.5,
        "mode": "normalised",
        "ddim_steps": 3,
        "max_scans": 2,
    },
    "interpolation": {"subjects": 3, "min_visits": 3, "ddim_steps": 3},
}


# --- metrics -------------------------------------------------------------------------------------


def _pair(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    a = np.clip(np.exp(-3 * sum(g**2 for g in grid)) + 0.05 * rng.normal(size=shape), 0, 1)
    return a, np.clip(a + 0.1 * rng.normal(size=shape), 0, 1)


def _volume(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).float()[None, None]


def test_ssim_equals_skimage_whole_and_in_brain():
    a, b = _pair((44, 46, 45))
    whole, local = structural_similarity(
        a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert ssim_window(a.shape) == 11
    inner = (slice(5, -5),) * 3
    ours = ssim_map(_volume(a), _volume(b))[0, 0].numpy()
    np.testing.assert_allclose(ours[inner], local[inner], atol=1e-4)
    brain = a > 0.5
    assert not brain[:5].any()  # where borders do not matter
    whole_, within = ssim(_volume(a), _volume(b), _volume(brain).bool())
    assert whole_.item() == pytest.approx(whole, abs=1e-4)
    assert within.item() == pytest.approx(local[brain].mean(), abs=1e-4)


def test_ssim_equals_the_validation_measure_of_training():
    a, b = (_volume(x) for x in _pair((32, 40, 32)))
    assert ssim(a, b, a > 0.3)[0].item() == pytest.approx(mean_ssim(b, a), abs=1e-4)


def test_ssim_window_shrinks_for_tiny_volumes():
    assert [ssim_window((n, 99, 99)) for n in (128, 32, 22, 20, 16, 6)] == [11, 11, 11, 9, 7, 3]
    with pytest.raises(ValueError, match="does not fit"):
        ssim_map(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8), 11)


def test_a_perfect_reconstruction_has_ssim_one_and_mse_zero():
    a, b = (_volume(x) for x in _pair(SHAPE))
    whole, within = ssim(a, a, a > 0.3)
    assert whole.item() == pytest.approx(1, abs=1e-5)
    assert within.item() == pytest.approx(1, abs=1e-5)
    assert mse(a, a).item() == 0
    assert mse(a, b).item() == pytest.approx(((a - b) ** 2).mean().item(), rel=1e-6)


def test_lpips_slices_are_fixed_and_central():
    assert SliceLpips.slices(128) == SliceLpips.slices(128)
    assert len(SliceLpips.slices(128)) == 16
    assert min(SliceLpips.slices(128)) == 25
    assert max(SliceLpips.slices(128)) == 102
    assert SliceLpips.slices(8) == [1, 2, 3, 4, 5, 6]


def test_lpips_is_the_mean_over_its_slices(tmp_path):
    import lpips

    torch.manual_seed(0)
    net = lpips.LPIPS(pretrained=False, net="alex", pnet_rand=True, verbose=False).eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}  # some are shared
    save_file(state, tmp_path / "alex.safetensors")
    ours = ImageMetrics({"net": "alex", "weights": tmp_path / "alex.safetensors"})
    a, b = (_volume(x) for x in _pair((40, 40, 8)))
    found = ours(torch.cat([a, a]), torch.cat([a, b]))
    assert list(found) == ours.columns == ["ssim", "ssim_brain", "mse", "lpips_alex"]
    assert found["lpips_alex"][0].item() == 0
    one = [
        net(a[..., z].expand(1, 3, 40, 40), b[..., z].expand(1, 3, 40, 40), normalize=True).item()
        for z in SliceLpips.slices(8)
    ]
    assert found["lpips_alex"][1].item() == pytest.approx(np.mean(one), rel=1e-4)


# --- bootstrap and scores ------------------------------------------------------------------------


def test_bootstrap_resamples_whole_subjects_and_is_deterministic():
    clusters = ["a", "a", "b", "c", "c", "c"]
    first, second = ClusterBootstrap(clusters, 200, 1), ClusterBootstrap(clusters, 200, 1)
    assert (first.weights == second.weights).all()
    assert (first.weights[:, 0] == first.weights[:, 1]).all()
    assert (first.weights[:, 3] == first.weights[:, 5]).all()
    assert (ClusterBootstrap(clusters, 200, 2).weights != first.weights).any()


def test_bootstrap_interval_covers_the_mean_of_clustered_data():
    rng = np.random.default_rng(0)
    covered, naive = 0, 0
    for trial in range(200):
        subject = np.repeat(np.arange(40), 5)
        values = rng.normal(size=40)[subject] + 0.2 * rng.normal(size=200)
        found = ClusterBootstrap(subject, 300, trial).mean(values)
        covered += found.low <= 0 <= found.high
        alone = ClusterBootstrap(np.arange(200), 300, trial).mean(values)
        naive += alone.low <= 0 <= alone.high
    assert 0.88 <= covered / 200 <= 0.99
    assert naive / 200 < 0.8  # ignoring the clusters would be far too sure


def test_one_subject_gives_no_interval():
    found = ClusterBootstrap(["a", "a"], 100, 0).mean([1.0, 3.0])
    assert found.estimate == 2
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_paired_difference_is_tighter_than_two_means():
    rng = np.random.default_rng(1)
    a = rng.normal(size=60)
    b = a + 0.1 + 0.01 * rng.normal(size=60)
    bootstrap = ClusterBootstrap(np.arange(60), 500, 0)
    found = bootstrap.difference(b, a)
    assert found.low < 0.1 < found.high
    assert found.high - found.low < 0.02 < bootstrap.mean(a).high - bootstrap.mean(a).low


def test_scores_equal_sklearn_also_on_resamples():
    rng = np.random.default_rng(2)
    truth_, score = rng.random(80) < 0.4, np.round(rng.random(80), 1)  # rounded: with ties
    predicted = score > 0.5
    weights = ClusterBootstrap(np.arange(80) // 2, 20, 0).weights
    for row in (np.ones(80), *weights[:5]):
        picked = np.repeat(np.arange(80), row.astype(int))
        t, p, s = truth_[picked], predicted[picked], score[picked]
        expected = {
            "accuracy": reference.accuracy_score(t, p),
            "balanced_accuracy": reference.balanced_accuracy_score(t, p),
            "precision": reference.precision_score(t, p),
            "recall": reference.recall_score(t, p),
            "f1": reference.f1_score(t, p),
            "mcc": reference.matthews_corrcoef(t, p),
            "specificity": reference.recall_score(~t, ~p),
        }
        for name, value in expected.items():
            ours = scores.confusion_score(name, truth_, predicted)(row[None])
            assert ours[0] == pytest.approx(value), name
        assert scores.auroc(truth_, score)(row[None])[0] == pytest.approx(
            reference.roc_auc_score(t, s)
        )
        assert scores.average_precision(truth_, score)(row[None])[0] == pytest.approx(
            reference.average_precision_score(t, s)
        )
        x, y = score[picked] * 10, truth_[picked] + score[picked]
        full = truth_ + score
        for name, value in {
            "mae": reference.mean_absolute_error(y, x),
            "rmse": reference.root_mean_squared_error(y, x),
            "r2": reference.r2_score(y, x),
        }.items():
            ours = scores.error_score(name, full, score * 10)(row[None])[0]
            assert ours == pytest.approx(value), name
        assert scores.pearson(full, score)(row[None])[0] == pytest.approx(np.corrcoef(y, x)[0, 1])


def test_scores_are_nan_where_undefined():
    one_class = np.ones(4, bool)
    weights = np.ones((1, 4))
    assert np.isnan(scores.auroc(one_class, np.arange(4.0))(weights)[0])
    assert np.isnan(scores.pearson(np.full(4, 0.1), np.arange(4.0))(weights)[0])
    assert np.isnan(scores.confusion_score("precision", one_class, ~one_class)(weights)[0])
    same = scores.auroc(np.array([1, 0, 1, 0], bool), np.arange(4.0))
    assert minus(same, same)(weights)[0] == 0


# --- choice of scans -----------------------------------------------------------------------------


def _scan_table(visits: dict[str, int]) -> pd.DataFrame:
    rows = [(f"{s}_ses-M{12 * v:03d}", s, 12 * v) for s, n in visits.items() for v in range(n)]
    return pd.DataFrame(rows, columns=["scan_id", "participant_id", "months"])


@pytest.mark.parametrize("seed", range(5))
def test_wrong_scans_never_pair_a_subject_with_itself(seed):
    table = _scan_table({"a": 1, "b": 4, "c": 2, "d": 3})
    wrong = wrong_scans(table.sample(frac=1, random_state=seed), seed)
    own = table.sample(frac=1, random_state=seed)["participant_id"]
    donors = [scan.split("_")[0] for scan in wrong]
    assert all(a != b for a, b in zip(own, donors, strict=True))
    assert set(donors) == set("abcd")
    with pytest.raises(UserError, match="two subjects"):
        wrong_scans(_scan_table({"a": 3}), 0)


def test_a_cap_spreads_scans_over_subjects():
    table = _scan_table({"a": 5, "b": 1, "c": 3})
    assert set(spread_over_subjects(table, 3)["participant_id"]) == set("abc")
    assert spread_over_subjects(table, 2)["participant_id"].tolist() == ["a", "b"]
    assert len(spread_over_subjects(table, 5)) == 5
    assert len(spread_over_subjects(table, None)) == 9
    again = spread_over_subjects(table.sample(frac=1, random_state=0), 5)
    assert again["scan_id"].tolist() == spread_over_subjects(table, 5)["scan_id"].tolist()


def test_fixed_noise_depends_on_the_scan_not_on_the_batch():
    both = fixed_noise(["a", "b"], (2, 3), 1)
    assert torch.equal(both[1:], fixed_noise(["b"], (2, 3), 1))
    assert not torch.equal(both[1:], fixed_noise(["b"], (2, 3), 1, sample=1))
    assert not torch.equal(both[0], both[1])


def test_an_unknown_example_subject_is_a_clear_error():
    table = _scan_table({"a": 1}).assign(diagnosis="CN")
    assert example_scans(table, {"CN": None})["participant_id"].tolist() == ["a"]
    with pytest.raises(UserError, match="no CN scan of z"):
        example_scans(table, {"CN": "z"})
    with pytest.raises(UserError, match="no AD scan of any"):
        example_scans(table, {"AD": None})


def test_triplets_are_all_and_only_those_in_order_of_time():
    found = interpolation.triplets([0, 6, 6, 24], first=10)
    assert [t.places for t in found] == [(10, 11, 13), (10, 12, 13)]
    assert found[0].alpha == 0.25
    assert len(interpolation.triplets([0, 6, 12, 24, 36])) == 10
    assert interpolation.triplets([0, 12, 24])[0].nearest == 0  # a tie: the earlier visit
    assert interpolation.triplets([0, 18, 24])[0].nearest == 2


# --- the stages on tiny random models ------------------------------------------------------------


def _store(folder: Path, index: pd.DataFrame, card: dict, **arrays: np.ndarray) -> None:
    folder.mkdir()
    write_table(index, folder / "index.tsv")
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    first = next(iter(arrays.values()))
    shared = {
        "shape": list(first.shape),
        "dtype": str(first.dtype),
        "sha256": digest([sha256(folder / f"{name}.npy") for name in arrays]),
        "index_sha256": sha256(folder / "index.tsv"),
    }
    write_json(card | shared, folder / "store.json")


def _index() -> pd.DataFrame:
    """24 subjects; 6 of them, with three visits each, are the test split."""
    rows = []
    for subject in range(24):
        for visit in range(3 if subject < 6 else 1):
            rows.append(
                {
                    "scan_id": f"sub-{subject:02d}_ses-M{12 * visit:03d}",
                    "participant_id": f"sub-{subject:02d}",
                    "session_id": f"ses-M{12 * visit:03d}",
                    "months": 12 * visit,
                    "diagnosis": ("CN", "AD", "MCI")[subject % 3],
                    "age": 60 + subject + visit,
                    "sex": "MF"[subject % 2],
                    "split": "test" if subject < 6 else "val" if subject < 8 else "train",
                }
            )
    table = pd.DataFrame(rows)
    table.insert(0, "row", np.arange(len(table)))
    return table


def _volumes(count: int) -> np.ndarray:
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt(sum(g**2 for g in grid))
    rng = np.random.default_rng(3)
    brain = (radius < 0.8) * (0.7 + 0.1 * rng.random((count, 1, *SHAPE)))
    return np.where(radius < 0.2 + 0.1 * rng.random((count, 1, 1, 1, 1)), 0.1, brain)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with stores, models and embeddings."""
    root, index = tmp_path_factory.mktemp("evaluation"), _index()
    rng = np.random.default_rng(4)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = -SPACING * (np.array(SHAPE) - 1) / 2
    grid = {"kind": "volumes", "spacing": SPACING, "affine": affine.tolist()}
    _store(root / "volumes", index, grid, volumes=_volumes(len(index)).astype(np.float16))
    torch.manual_seed(0)
    autoencoder = save_model(
        root / "autoencoder",
        build_autoencoder(AUTOENCODER).state_dict(),
        {"kind": "autoencoder", "architecture": AUTOENCODER},
    )
    latents = rng.normal(size=(len(index), 3, 8, 8, 8)).astype(np.float32)
    data = VolumeStore(root / "volumes").sum
    card = {"kind": "latents", "scale": 1.0, "source": "mean", "volumes": data}
    card["autoencoder"] = autoencoder["sha256"]
    _store(root / "latents", index, card, mean=latents, std=0 * latents)
    unet = build_unet(LDM, 3)
    ldm = save_model(
        root / "ldm",
        unet.state_dict(),
        {"kind": "ldm", "architecture": LDM, "latent_channels": 3},
    )
    encoder = build_encoder(ENCODER)
    guided = build_guided_unet(unet, LDM, encoder.dim)
    for parameter in guided.estimator.parameters():  # a new estimator is zero
        torch.nn.init.normal_(parameter, std=0.05)
    save_model(
        root / "ldae",
        ldae_state(encoder, guided.estimator),
        {
            "kind": "ldae",
            "architecture": ENCODER,
            "ldm_sha256": ldm["sha256"],
            "autoencoder_sha256": autoencoder["sha256"],
            "data": data,
            "diffusion": DIFFUSION,
            "latent_scale": 2.0,
        },
    )
    y = rng.normal(size=(len(index), DIM))
    save_embeddings(root / "untrained.npz", index["scan_id"].tolist(), y)
    y[:, :40] += 3 * (index["diagnosis"] == "AD").to_numpy()[:, None]
    y[:, 40:80] += 0.3 * (index["age"].to_numpy() - 70)[:, None]
    save_embeddings(root / "ldae.npz", index["scan_id"].tolist(), y)
    write_table(
        index[["participant_id", "session_id", "age", "diagnosis"]].assign(
            atrophy=y[:, :40].mean(1),
            ventricle_ml=30 + y[:, :40].mean(1),
            hippocampus_ml=7 - y[:, :40].mean(1),
        ),
        root / "truth.tsv",
    )
    return root


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
    direction = manipulation.Direction.load(probed / "classifier.npz")
    rows = read_table(probed / "predictions_diagnosis.tsv")
    rows = rows[rows["system"] == "ldae"]
    with np.load(project / "ldae.npz") as file:
        place = {name: i for i, name in enumerate(file["scan_id"].tolist())}
        y = torch.from_numpy(file["y_sem"][[place[name] for name in rows["scan_id"]]])
    with np.load(probed / "classifier.npz") as file:
        raw = y.double() @ torch.from_numpy(file["w_raw"]) + float(file["b_raw"])
    logit = direction.logit(y)
    np.testing.assert_allclose(torch.sigmoid(logit), rows["probability"], atol=1e-5)
    np.testing.assert_allclose(raw, logit, atol=1e-8)


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
        card = {"kind": "latents", "scale": 1.0, "source": "mean", "volumes": "", "autoencoder": ""}
        noise = np.random.default_rng(6).normal(size=(len(index), 3, 2, 2, 2)).astype(np.float32)
        _store(tmp_path / name, index, card, mean=noise, std=0 * noise)
        out = tmp_path / "out"
        tables = (out / "a.tsv", out / "b.tsv")
        probes.evaluate_probes(embeddings, tmp_path / name, out, *tables, CFG, 0)

    leak = _index()
    leak.loc[0, "split"] = "train"  # another visit of this participant stays in the test split
    with pytest.raises(UserError, match="two sides"):
        run(leak, "leak")
    healthy = _index()
    healthy.loc[(healthy["split"] == "test") & (healthy["diagnosis"] == "AD"), "diagnosis"] = "MCI"
    with pytest.raises(UserError, match="has the diagnosis AD"):
        run(healthy, "healthy")
    stranger = _index()
    stranger.loc[len(stranger) - 1, "scan_id"] = "sub-99_ses-M000"
    with pytest.raises(UserError, match="lack 1 scan"):
        run(stranger, "stranger")


def test_manipulation_by_zero_is_the_identity_and_moves_the_logit_linearly(probed):
    direction = manipulation.Direction.load(probed / "classifier.npz")
    y = torch.randn(3, DIM, generator=torch.Generator().manual_seed(0))
    for mode in manipulation.MODES:
        assert torch.equal(direction.move(y, 0.0, mode), y)
    one, two = (
        direction.logit(direction.move(y, a, "normalised")) - direction.logit(y) for a in (1, 2)
    )
    np.testing.assert_allclose(two, 2 * one, rtol=1e-3)
    np.testing.assert_allclose(one, direction.w.norm().item() * DIM**0.5, rtol=1e-3)
    step = ((direction.move(y, 1.0, "normalised") - y) / direction.std).norm(dim=1)
    np.testing.assert_allclose(step, DIM**0.5, rtol=1e-4)
    assert (direction.logit(direction.move(y, -1.0, "raw")) < direction.logit(y)).all()
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
    index = _index()
    index.loc[index["participant_id"] == "sub-20", "split"] = "test"  # seen in training
    card = VolumeStore(project / "volumes").card
    volumes = _volumes(len(index)).astype(np.float16)
    _store(tmp_path / "volumes", index, card, volumes=volumes)
    with pytest.raises(UserError, match="another volume store"):
        system.volume_store(tmp_path / "volumes")
    latents = np.zeros((len(index), 3, 8, 8, 8), np.float32)
    card = LatentStore(project / "latents").card | {"volumes": "other"}
    _store(tmp_path / "latents", index, card, mean=latents, std=latents)
    with pytest.raises(UserError, match="not of the volumes"):
        system.latent_store(tmp_path / "latents")


def test_pca_is_fitted_on_training_scans_alone(project):
    from ldae.evaluation.features import latents_pca

    store = LatentStore(project / "latents")
    table = store.index.copy()
    plain = latents_pca(store, table, 0)
    training = table["split"].isin(["train", "val"]).to_numpy()
    assert plain.shape == (len(table), min(64, training.sum() - 1))
    np.testing.assert_allclose(plain[training].mean(0), 0, atol=1e-4)
    assert np.abs(plain[~training].mean(0)).max() > 1e-2
