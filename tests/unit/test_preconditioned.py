"""Regressions in well-scaled coordinates: the optimum that slower solvers reach, in few passes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ldae.errors import UserError
from ldae.evaluation.probes import preconditioned
from ldae.evaluation.probes.cox import CoxRidge, fit_cox, partial_log_likelihood
from ldae.evaluation.probes.linear import (
    fit_classifier,
    fit_with_held_out,
    held_out_predictions,
    standardised,
)
from ldae.evaluation.probes.preconditioned import Coordinates, PreconditionedLogistic


def codes(scans, numbers, seed=0):
    """Standardised codes whose numbers are correlated, and a value that they follow."""
    draw = np.random.default_rng(seed)
    mixed = draw.normal(size=(numbers, numbers)) * np.exp(-np.arange(numbers) / 8)[:, None]
    x = StandardScaler().fit_transform(draw.normal(size=(scans, numbers)) @ mixed)
    return x, x[:, 0] + draw.normal(size=scans)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("scans", "numbers"), [(400, 30), (40, 60)])
@pytest.mark.parametrize("inverse_penalty", [1e-4, 1e-2, 10.0])
def test_logistic_regression_has_the_exact_optimum(classes, scans, numbers, inverse_penalty):
    x, value = codes(scans, numbers)
    labels = np.array(["c", "a", "b"])[np.digitize(value, [0.0, 1.0][: classes - 1])]
    found = PreconditionedLogistic(inverse_penalty).fit(x, labels)
    exact = LogisticRegression(C=inverse_penalty, solver="newton-cholesky", tol=1e-12)
    exact.fit(x, labels)
    assert found.coef_.shape == exact.coef_.shape
    assert found.classes_.tolist() == exact.classes_.tolist()
    assert np.allclose(found.predict_proba(x), exact.predict_proba(x), atol=2e-4)
    assert (found.predict(x) == exact.predict(x)).mean() > 0.99


def test_few_passes_reach_the_optimum_from_coordinates_of_other_scans(monkeypatch):
    x, value = codes(1500, 200)
    asked = []
    minimise = preconditioned.minimize

    def counted(*given, **more):
        found = minimise(*given, **more)
        asked.append(found.nfev)
        return found

    monkeypatch.setattr(preconditioned, "minimize", counted)
    coordinates = Coordinates(x)
    for penalty in (1e-4, 1.0):
        PreconditionedLogistic(penalty, coordinates).fit(x[:1200], value[:1200] > 0)
    plain = LogisticRegression(C=1.0, max_iter=5000).fit(x[:1200], value[:1200] > 0)
    assert max(asked) < 30 < plain.n_iter_[0]


def test_warm_start_ends_where_a_cold_one_does():
    x, value = codes(300, 20)
    warm = PreconditionedLogistic(1e-3, warm_start=True).fit(x, value > 0)
    warm.set_params(C=1.0).fit(x, value > 0)
    cold = PreconditionedLogistic(1.0).fit(x, value > 0)
    assert np.allclose(warm.predict_proba(x), cold.predict_proba(x), atol=2e-4)


@pytest.mark.parametrize("penalty", [1e4, 10.0, 0.1])
def test_cox_regression_has_no_better_weights_nearby(penalty):
    x, value = codes(300, 40)
    draw = np.random.default_rng(1)
    y = np.column_stack([draw.exponential(np.exp(-value)), draw.random(300) < 0.6]).astype(float)
    weights = CoxRidge(penalty).fit(x, y).coef_

    def loss(w):
        return 0.5 * penalty * w @ w - partial_log_likelihood(x @ w, y)

    step = 1e-4
    slope = [
        (loss(weights + step * one) - loss(weights - step * one)) / (2 * step) for one in np.eye(40)
    ]
    assert np.abs(slope).max() < 5e-3
    assert CoxRidge(penalty).fit(x, y).intercept_ == 0.0


def test_standardised_features_are_those_of_the_scaler():
    x, _ = codes(50, 6)
    x = x * np.array([1, 10, 1e-3, 1, 1, 1]) + np.array([0, 1e3, 0, 5, 0, 0])
    x[:, 4] = 3.0
    found, mean, scale = standardised(x)
    scaler = StandardScaler().fit(x)
    assert np.allclose(found, scaler.transform(x)) and not found[:, 4].any()
    assert np.allclose(mean, scaler.mean_) and np.allclose(scale, scaler.scale_)


def test_held_out_predictions_come_with_the_model():
    x, value = codes(120, 15)
    groups = np.repeat([f"s{k}" for k in range(40)], 3)
    model, held_out = fit_with_held_out(x, value, groups, 5)
    assert np.allclose(held_out, held_out_predictions(model, x, value, groups, 5), atol=1e-8)


def test_fitted_classifier_keeps_no_products_of_the_features():
    x, value = codes(60, 5)
    model = fit_classifier(x, value > 0, np.arange(60).astype(str), 3, 0)
    assert model[-1].coordinates is None
    assert model.predict_proba(x).shape == (60, 2)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_regression_that_ends_before_its_optimum_fails(monkeypatch):
    x, value = codes(80, 6)
    people, y = np.arange(80).astype(str), np.column_stack([np.exp(-value), np.ones(80)])
    endless = np.where(np.arange(480).reshape(80, 6) == 100, np.inf, x)
    with pytest.raises(RuntimeError, match=r"80 scans of 6 features .* that are not finite"):
        PreconditionedLogistic().fit(endless, value > 0)
    with pytest.raises(RuntimeError, match="did not reach its optimum"):
        fit_cox(endless, y, people, 4)
    monkeypatch.setattr(preconditioned, "MAX_ITERATIONS", 1)
    with pytest.raises(RuntimeError, match="did not reach its optimum in 1 iterations"):
        fit_classifier(x, value > 0, people, 4, 0)


def test_no_model_is_fitted_without_one_of_the_classes():
    """Two of five people have class a, one of them c as well."""
    with pytest.raises(ValueError, match="needs two classes"):
        PreconditionedLogistic().fit(np.eye(3), np.array(["a", "a", "a"]))
    people = np.repeat(np.arange(5), [3, 2, 1, 1, 2]).astype(str)
    labels = np.array(list("cbcbbabca"))
    with pytest.raises(UserError, match="All training scans of one class are in one of 2 inner"):
        fit_classifier(codes(9, 3)[0], labels, people, 5, 0)
