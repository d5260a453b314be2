"""Cox regression with a ridge penalty, for times to an event.

statsmodels' Cox regression loops over event times in Python for its Hessian of d x d numbers, which
768 features make too slow; its tests give the reference for this one. Ties are Breslow's.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ldae.errors import require
from ldae.evaluation.probes.linear import Fold, least, standardised
from ldae.evaluation.probes.preconditioned import Coordinates, minimised

PENALTIES = tuple(10.0**k for k in range(5, -2, -1))  # from strong to weak


class CoxRidge(BaseEstimator):
    """Proportional hazards: log hazard = x . coef_, up to a baseline that stays free.

    Args:
        alpha: Penalty: the partial log-likelihood less alpha |coef|^2 / 2 is maximised.
        coordinates: Of these features, or of features that hold them; None: made at the fit.
        warm_start: Whether a second fit starts from the weights of the first.

    Attributes:
        coef_: (d,) weights; intercept_: 0, since a hazard's level is in the baseline.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        coordinates: Coordinates | None = None,
        warm_start: bool = False,
    ):
        self.alpha, self.coordinates, self.warm_start = alpha, coordinates, warm_start

    def fit(self, x: np.ndarray, y: np.ndarray) -> "CoxRidge":
        """Fit to features (N, d) and times with events (N, 2)."""
        order = np.argsort(-y[:, 0], kind="stable")  # the latest first: each risk set is a start
        x, time, event = x[order], y[order, 0], y[order, 1]
        ends = np.searchsorted(-time, -time, side="right") - 1  # last row of an equal time

        def loss(risk: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = _loss(risk[:, 0], event, ends)
            return value, slope[:, None]

        coordinates = self.coordinates or Coordinates(x)
        factor = coordinates.factor(float(event.sum()), self.alpha)
        start = np.zeros((x.shape[1] + 1, 1))
        if self.warm_start and hasattr(self, "coef_"):
            start[:-1, 0] = self.coef_
        found = minimised(loss, x, factor, self.alpha, start, 0.0)
        self.coef_, self.intercept_ = found[:-1, 0].copy(), 0.0
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Log hazard (N,) relative to features of 0."""
        return x @ self.coef_


def partial_log_likelihood(risk: np.ndarray, y: np.ndarray) -> float:
    """Breslow's partial log-likelihood of log hazards (N,) for times with events (N, 2)."""
    order = np.argsort(-y[:, 0], kind="stable")
    time = y[order, 0]
    ends = np.searchsorted(-time, -time, side="right") - 1
    return -_loss(risk[order], y[order, 1], ends)[0]


def _loss(risk: np.ndarray, event: np.ndarray, ends: np.ndarray) -> tuple[float, np.ndarray]:
    """Negative partial log-likelihood and its slope in ``risk``; rows from the latest time on."""
    top = risk.max()
    hazard = np.exp(risk - top)
    at_risk = np.cumsum(hazard)[ends]
    value = -np.sum(event * (risk - top - np.log(at_risk)))
    # A row is at risk at all events that are not later than its own time: those from the first row
    # of its time on.
    share = np.bincount(ends, weights=event, minlength=len(risk)) / np.cumsum(hazard)
    following = np.cumsum(share[::-1])[::-1]
    return float(value), hazard * following - event


def fit_cox(x: np.ndarray, y: np.ndarray, groups: Sequence[str], folds: int) -> Pipeline:
    """Fit a standardisation and a Cox regression, penalty chosen by cross-validation.

    The criterion is the partial likelihood of all scans less that of the fitted ones, at weights
    that were not fitted on the left-out ones (Verweij and van Houwelingen, Stat Med 1993).

    Args:
        x: (N, d) features.
        y: (N, 2) months, and 1 for an event.
        groups: Participant of each row; folds hold whole participants.
        folds: Number of inner folds (``evaluation.probes.cv_folds``).

    Raises:
        UserError: fewer than two training subjects have an event.
    """
    groups = np.asarray(groups)
    events = len(set(groups[y[:, 1] == 1]))
    require(
        events >= 2, f"A survival probe needs at least two training subjects with an event; "
        f"there are {events}.",
    )  # fmt: skip
    inner = GroupKFold(min(folds, len(set(groups))))
    splits = list(inner.split(x, groups=groups))

    parts = [Fold(x, training, rest) for training, rest in splits]
    coordinates = Coordinates(standardised(x)[0])  # those of all scans do for the folds, too
    models = [CoxRidge(1.0, coordinates, warm_start=True) for _ in parts]

    def loss(penalty: float) -> float:
        total = 0.0
        for part, model in zip(parts, models, strict=True):
            model.set_params(alpha=penalty).fit(part.fitted, y[part.training])
            risk = np.empty(len(y))
            risk[part.training] = model.predict(part.fitted)
            risk[part.rest] = model.predict(part.left_out)
            total -= partial_log_likelihood(risk, y)
            total += partial_log_likelihood(risk[part.training], y[part.training])
        return total

    chosen = least(PENALTIES, loss)
    final = CoxRidge(chosen, coordinates)
    model = make_pipeline(StandardScaler(), final).fit(x, y)
    final.coordinates = None  # of the fit alone
    return model
