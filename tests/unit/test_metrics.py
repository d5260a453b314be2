"""Image metrics, bootstrap intervals, classification scores and selection of test scans."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from skimage.metrics import structural_similarity
from sklearn import metrics as reference

from ldae.errors import UserError
from ldae.evaluation import interpolation
from ldae.evaluation.examples import example_scans
from ldae.evaluation.metrics import classification
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, difference_of
from ldae.evaluation.metrics.image import ImageMetrics, SliceLpips, mse
from ldae.evaluation.test_scans import spread_over_subjects, wrong_scans
from ldae.seeds import fixed_noise
from ldae.ssim import ssim, ssim_map, ssim_window
from ldae.training.validation import mean_ssim

SHAPE = (16, 16, 16)


# --- metrics -------------------------------------------------------------------------------------


def _pair(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    a = np.clip(np.exp(-3 * sum(g**2 for g in grid)) + 0.05 * rng.normal(size=shape), 0, 1)
    return a, np.clip(a + 0.1 * rng.normal(size=shape), 0, 1)


def _volume(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).float()[None, None]


def test_ssim_equals_skimage_in_volume_and_in_brain():
    a, b = _pair((44, 46, 45))
    overall, local = structural_similarity(
        a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert ssim_window(a.shape) == 11
    inner = (slice(5, -5),) * 3
    ours = ssim_map(_volume(a), _volume(b))[0, 0].numpy()
    np.testing.assert_allclose(ours[inner], local[inner], atol=1e-4)
    brain = a > 0.5
    assert not brain[:5].any()  # where borders do not matter
    ours_overall, within = ssim(_volume(a), _volume(b), _volume(brain).bool())
    assert ours_overall.item() == pytest.approx(overall, abs=1e-4)
    assert within.item() == pytest.approx(local[brain].mean(), abs=1e-4)


def test_ssim_equals_mean_ssim_of_the_training_validation():
    a, b = (_volume(x) for x in _pair((32, 40, 32)))
    assert ssim(a, b, a > 0.3)[0].item() == pytest.approx(mean_ssim(b, a, "unclamped"), abs=1e-4)


def test_ssim_window_shrinks_for_tiny_volumes():
    assert [ssim_window((n, 99, 99)) for n in (128, 32, 22, 20, 16, 6)] == [11, 11, 11, 9, 7, 3]
    with pytest.raises(ValueError, match="does not fit"):
        ssim_map(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8), 11)


def test_ssim_is_one_and_mse_zero_for_equal_volumes():
    a, b = (_volume(x) for x in _pair(SHAPE))
    overall, within = ssim(a, a, a > 0.3)
    assert overall.item() == pytest.approx(1, abs=1e-5)
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
    given = {"net": "alex", "weights": tmp_path / "alex.safetensors", "protocol": "fixed_slices"}
    ours = ImageMetrics(given)
    a, b = (_volume(x) for x in _pair((40, 40, 8)))
    found = ours(torch.cat([a, a]), torch.cat([a, b]))
    assert list(found) == ours.columns == ["ssim", "ssim_brain", "mse", "lpips_alex"]
    assert found["lpips_alex"][0].item() == 0
    one = [
        net(a[..., z].expand(1, 3, 40, 40), b[..., z].expand(1, 3, 40, 40), normalize=True).item()
        for z in SliceLpips.slices(8)
    ]
    assert found["lpips_alex"][1].item() == pytest.approx(np.mean(one), rel=1e-4)
    a, b = (_volume(x) for x in _pair((40, 40, 40)))
    planes = ImageMetrics(given | {"protocol": "fake_3d"})
    every = planes(torch.cat([a, a]), torch.cat([a, b]))["lpips_alex_fake3d"]
    assert every[0].item() == 0
    expected = 0.0
    for axis in (2, 3, 4):  # half of the slices of a plane, intensities as they are
        count = round(0.5 * a.shape[axis])
        index = ((torch.arange(count) + 0.5) * a.shape[axis] / count).long()
        pair = (x.index_select(axis, index).movedim(axis, 0)[:, 0] for x in (a, b))
        expected += net(*(x.expand(-1, 3, -1, -1) for x in pair)).mean().item()
    assert every[1].item() == pytest.approx(expected, rel=1e-3)


# --- bootstrap and scores ------------------------------------------------------------------------


def test_bootstrap_resamples_subjects_and_is_deterministic():
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
    assert naive / 200 < 0.8  # ignoring the clusters gives intervals far too narrow


def test_bootstrap_of_one_subject_has_no_interval():
    found = ClusterBootstrap(["a", "a"], 100, 0).mean([1.0, 3.0])
    assert found.estimate == 2
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_bootstrap_paired_difference_is_narrower_than_a_mean():
    rng = np.random.default_rng(1)
    a = rng.normal(size=60)
    b = a + 0.1 + 0.01 * rng.normal(size=60)
    bootstrap = ClusterBootstrap(np.arange(60), 500, 0)
    found = bootstrap.difference(b, a)
    assert found.low < 0.1 < found.high
    assert found.high - found.low < 0.02 < bootstrap.mean(a).high - bootstrap.mean(a).low


def test_classification_scores_equal_sklearn_on_resamples():
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
            ours = classification.confusion_score(name, truth_, predicted)(row[None])
            assert ours[0] == pytest.approx(value), name
        assert classification.auroc(truth_, score)(row[None])[0] == pytest.approx(
            reference.roc_auc_score(t, s)
        )
        assert classification.average_precision(truth_, score)(row[None])[0] == pytest.approx(
            reference.average_precision_score(t, s)
        )
        x, y = score[picked] * 10, truth_[picked] + score[picked]
        full = truth_ + score
        for name, value in {
            "mae": reference.mean_absolute_error(y, x),
            "rmse": reference.root_mean_squared_error(y, x),
            "r2": reference.r2_score(y, x),
        }.items():
            ours = classification.error_score(name, full, score * 10)(row[None])[0]
            assert ours == pytest.approx(value), name
        assert classification.pearson(full, score)(row[None])[0] == pytest.approx(
            np.corrcoef(y, x)[0, 1]
        )


def test_classification_scores_are_nan_where_undefined():
    one_class = np.ones(4, bool)
    weights = np.ones((1, 4))
    assert np.isnan(classification.auroc(one_class, np.arange(4.0))(weights)[0])
    assert np.isnan(classification.pearson(np.full(4, 0.1), np.arange(4.0))(weights)[0])
    assert np.isnan(classification.confusion_score("precision", one_class, ~one_class)(weights)[0])
    same = classification.auroc(np.array([1, 0, 1, 0], bool), np.arange(4.0))
    assert difference_of(same, same)(weights)[0] == 0


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


def test_spread_over_subjects_distributes_the_limit():
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


def test_example_scans_refuses_unknown_subject_or_diagnosis():
    table = _scan_table({"a": 1}).assign(diagnosis="CN")
    assert example_scans(table, {"CN": None})["participant_id"].tolist() == ["a"]
    with pytest.raises(UserError, match="no CN scan of z"):
        example_scans(table, {"CN": "z"})
    with pytest.raises(UserError, match="no AD scan of any"):
        example_scans(table, {"AD": None})


def test_interpolation_triplets_are_every_three_visits_in_order():
    found = interpolation.triplets([0, 6, 6, 24], first=10)
    assert [t.places for t in found] == [(10, 11, 13), (10, 12, 13)]
    assert found[0].alpha == 0.25
    assert len(interpolation.triplets([0, 6, 12, 24, 36])) == 10
    assert interpolation.triplets([0, 12, 24])[0].nearest == 0  # a tie: the earlier visit
    assert interpolation.triplets([0, 18, 24])[0].nearest == 2
