"""ComBat: numbers of neuroCombat, planted effects removed, covariates kept, test sites."""

import numpy as np
import pytest

from ldae.errors import UserError
from ldae.evaluation.scanner.combat import ComBat, is_estimable

SITE = list("AAAABBBBBCCC")
AGE = [76.4, 63.6, 72.7, 67.3, 69.1, 80.0, 60.0, 65.5, 70.9, 78.2, 74.5, 61.8]
X = np.array(
    [[3.195, 3.86, 1.493, 3.599, 2.572], [2.45, 2.638, 2.866, 3.593, 4.224],
     [3.508, 5.003, 2.971, 3.988, 4.54], [3.458, 2.62, 2.442, 2.906, 3.584],
     [4.445, 5.245, 5.295, 5.995, 5.669], [6.355, 5.346, 5.87, 6.784, 7.493],
     [3.741, 6.514, 6.346, 5.781, 5.264], [4.959, 6.731, 7.233, 7.074, 6.588],
     [5.903, 4.337, 5.541, 6.202, 4.257], [4.304, 5.339, 6.605, 5.725, 7.247],
     [3.291, 3.557, 7.467, 6.231, 8.056], [2.832, 5.674, 6.411, 6.724, 4.887]]
)  # fmt: skip
# Of neuroCombat 0.2.12: neuroCombat(X.T, covars, "batch", continuous_cols=["age", "sex"]).
NEUROCOMBAT = np.array(
    [[4.1439, 5.1535, 4.0822, 5.3689, 4.5224], [3.3923, 4.1891, 5.3411, 5.3836, 5.8757],
     [4.3605, 6.1276, 5.3684, 5.6961, 6.1642], [4.3109, 4.1593, 4.963, 4.8031, 5.3712],
     [3.4, 4.2607, 4.3179, 5.0302, 4.8863], [5.2702, 4.3504, 4.8562, 5.7977, 6.6993],
     [2.6694, 5.4913, 5.3204, 4.8228, 4.4688], [3.8663, 5.6977, 6.1603, 6.0718, 5.7839],
     [4.6977, 3.3845, 4.5467, 5.229, 3.531], [5.0143, 5.0584, 4.9595, 5.0639, 6.188],
     [4.0127, 3.5221, 5.6419, 5.4497, 6.6702], [3.5281, 5.4031, 4.8749, 5.8842, 4.0181]]
)  # fmt: skip


def test_numbers_are_those_of_neurocombat():
    covariates = np.column_stack([AGE, np.arange(12) % 2])
    found = ComBat.fit(X, SITE, covariates).apply(X, SITE, covariates)
    assert np.abs(found - NEUROCOMBAT).max() < 1e-4 < np.abs(found - X).max()


def planted(people: int, seed: int):
    """Features of three sites with offsets and scales, an age effect, and what there is without."""
    draw = np.random.default_rng(seed)
    site = draw.choice(list("ABC"), people)
    age = draw.normal(70, 7, people) + 4 * (site == "B")  # sites differ in age, too
    clean = draw.normal(size=(people, 40)) + 0.1 * (age - 70)[:, None]
    place = np.searchsorted(["A", "B", "C"], site)
    offset, scale = draw.normal(0, 1.5, (3, 40)), np.exp(draw.normal(0, 0.2, (3, 40)))
    noise = clean - 0.1 * (age - 70)[:, None]
    x = 0.1 * (age - 70)[:, None] + noise * scale[place] + offset[place]
    return x, site, age[:, None], clean


def test_planted_offsets_and_scales_are_removed_from_scans_that_were_not_fitted():
    x, site, age, clean = planted(400, 1)
    fitted = ComBat.fit(x[:300], site[:300], age[:300])
    found = fitted.apply(x[300:], site[300:], age[300:])

    def error(y):
        return np.abs((y - y.mean(0)) - (clean[300:] - clean[300:].mean(0))).mean()

    assert error(found) < 0.25 * error(x[300:])
    slope = np.polyfit(age[300:, 0], found.mean(1), 1)[0]
    assert slope == pytest.approx(0.1, abs=0.02)  # the effect of age is left


def test_scans_of_one_site_are_left_as_they_are():
    x = np.random.default_rng(2).normal(3, 2, (30, 6))
    nothing = np.empty((30, 0))
    found = ComBat.fit(x, ["A"] * 30, nothing).apply(x, ["A"] * 30, nothing)
    assert np.abs(found - x).max() < 0.25 * x.std()


def test_constant_features_and_single_features_stay_finite():
    x, site, age, _ = planted(60, 3)
    x[:, 0] = 5.0
    found = ComBat.fit(x, site, age).apply(x, site, age)
    assert np.isfinite(found).all() and (found[:, 0] == 5).all()
    alone = ComBat.fit(x[:, 1:2], site, age).apply(x[:, 1:2], site, age)
    means = [alone[site == one].mean() - 0.1 * (age[site == one].mean() - 70) for one in "ABC"]
    assert np.ptp(means) < 0.5


def test_sites_without_training_scans_are_refused():
    x, site, age, _ = planted(40, 4)
    fitted = ComBat.fit(x, site, age)
    with pytest.raises(UserError, match="not fitted to D"):
        fitted.apply(x[:1], ["D"], age[:1])
    with pytest.raises(UserError, match="A has 1"):
        ComBat.fit(x[:3], ["A", "B", "B"], age[:3])


def test_covariate_that_tells_the_site_is_refused():
    x, site, age, _ = planted(40, 5)
    inside = (site == "A").astype(float)[:, None]
    assert is_estimable(site, age) and is_estimable(site, np.empty((40, 0)))
    assert not is_estimable(site, inside) and not is_estimable(site, np.ones((40, 1)))
    with pytest.raises(UserError, match="tell the site of every training scan"):
        ComBat.fit(x, site, np.hstack([age, inside]))
