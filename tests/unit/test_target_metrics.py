"""Metrics of targets: concordance, Cox regression, calibration, net benefit."""

import numpy as np
import pytest
from sklearn import metrics as reference
from statsmodels.duration.hazard_regression import PHReg

from ldae.evaluation.metrics import calibration
from ldae.evaluation.metrics.concordance import concordance, survival_concordance
from ldae.evaluation.probes.cox import CoxRidge, partial_log_likelihood
from ldae.evaluation.probes.linear import INVERSE_PENALTIES, least


def test_concordance_counts_every_pair_and_weights_are_copies():
    draw = np.random.default_rng(4)
    time = draw.integers(1, 9, 40).astype(float)
    event, risk = draw.integers(0, 2, 40), draw.integers(0, 5, 40).astype(float)
    right = total = 0.0
    for i in range(40):
        for j in range(40):
            later = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if event[i] and later:
                total += 1
                right += (risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])
    statistic = survival_concordance(time, event, risk)
    assert statistic(np.ones((1, 40)))[0] == pytest.approx(right / total)
    weights = draw.integers(0, 3, 40)
    rows = np.repeat(np.arange(40), weights)
    copied = survival_concordance(time[rows], event[rows], risk[rows])(np.ones((1, len(rows))))[0]
    assert statistic(weights[None, :].astype(float))[0] == pytest.approx(copied)
    truth = draw.integers(0, 2, 40)
    assert concordance(truth, risk)(np.ones((1, 40)))[0] == pytest.approx(
        reference.roc_auc_score(truth, risk)
    )
    assert np.isnan(concordance(np.ones(40), risk)(np.ones((1, 40)))[0])
    assert np.isnan(survival_concordance(time, 0 * event, risk)(np.ones((1, 40)))[0])


def test_cox_regression_equals_that_of_statsmodels():
    draw = np.random.default_rng(5)
    x = draw.normal(size=(150, 3))
    time = np.ceil(10 * draw.exponential(size=150) * np.exp(-x @ [0.8, -0.5, 0.0]))  # with ties
    event = (draw.random(150) < 0.7).astype(float)
    y = np.column_stack([time, event])
    expected = PHReg(time, x, status=event, ties="breslow")
    fitted = expected.fit()
    found = CoxRidge(1e-8).fit(x, y)
    np.testing.assert_allclose(found.coef_, fitted.params, atol=2e-3)
    assert partial_log_likelihood(x @ fitted.params, y) == pytest.approx(fitted.llf)
    assert np.abs(CoxRidge(1e4).fit(x, y).coef_).max() < 0.02


def test_calibration_of_known_probabilities():
    draw = np.random.default_rng(6)
    logit = draw.normal(size=4000)
    truth = draw.random(4000) < 1 / (1 + np.exp(-logit))
    right, extreme = (1 / (1 + np.exp(-k * logit)) for k in (1, 2))
    ones = np.ones((1, 4000))
    assert calibration.calibration_slope(truth, right)(ones)[0] == pytest.approx(1, abs=0.12)
    assert calibration.calibration_slope(truth, extreme)(ones)[0] == pytest.approx(0.5, abs=0.06)
    assert abs(calibration.calibration_intercept(truth, right)(ones)[0]) < 0.02
    brier = calibration.brier(truth, right)(ones)[0]
    assert brier == pytest.approx(reference.brier_score_loss(truth, right))
    separated = np.where(truth, 0.6, 0.4)
    assert np.isnan(calibration.calibration_slope(truth, separated)(ones)[0])
    assert np.isnan(calibration.calibration_slope(truth, np.full(4000, 0.5))(ones)[0])
    bins = calibration.calibration_bins(right, 10)
    assert sum(bins).tolist() == [1] * 4000 and len(bins) == 10
    for inside in bins:
        assert truth[inside].mean() == pytest.approx(right[inside].mean(), abs=0.09)
    assert len(calibration.calibration_bins(np.full(9, 0.3), 10)) == 1


def test_net_benefit_by_hand():
    truth, probability = np.array([1, 1, 0, 0, 0], bool), np.array([0.9, 0.2, 0.8, 0.1, 0.3])
    benefit = calibration.net_benefit(truth, probability, 0.25)(np.ones((1, 5)))[0]
    assert benefit == pytest.approx(1 / 5 - 2 / 5 * (0.25 / 0.75))  # 3 treated, 1 of them positive


def test_search_of_the_penalty_ends_after_two_worse_ones():
    losses = dict(zip(INVERSE_PENALTIES, (3.0, 2.0, 2.5, 1.0, 1.5, 0.0), strict=True))
    asked = []
    chosen = least(INVERSE_PENALTIES, lambda one: asked.append(one) or losses[one])
    assert chosen == INVERSE_PENALTIES[5] and len(asked) == 6
    losses[INVERSE_PENALTIES[3]], asked[:] = 2.2, []
    chosen = least(INVERSE_PENALTIES, lambda one: asked.append(one) or losses[one])
    assert chosen == INVERSE_PENALTIES[1] and len(asked) == 4
