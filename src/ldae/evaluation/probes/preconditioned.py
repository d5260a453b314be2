"""Logistic and Cox regressions with a ridge penalty, in coordinates in which they are well scaled.

Numbers of a code are correlated, so that plain L-BFGS needs hundreds of passes over the features
where the penalty is weak, and stops early. The curvature of either loss is near that of a sum of
squares, weight times X'X, which does not depend on the labels: in the coordinates that make it one
(its Cholesky factor), some ten passes reach the optimum whatever the penalty.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from sklearn.linear_model import LogisticRegression

MAX_ITERATIONS = 5000
TOLERANCE = 1e-5  # of the gradient in those coordinates, times the root of the number of scans
Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]


class Coordinates:
    """Coordinates of weights in which the curvature of a penalised loss is near one.

    Args:
        x: (N, d) standardised features.

    Attributes:
        products: (d, d) mean product of the features, X'X/N.
    """

    def __init__(self, x: np.ndarray):
        self.products = x.T @ x / len(x)

    def factor(self, weight: float, penalty: float) -> np.ndarray:
        """Upper triangular R (d, d) with R'R = weight X'X/N + penalty.

        Args:
            weight: Curvature of the loss in the linear predictor, summed over the scans.
            penalty: That of the weights' squares, halved.
        """
        curvature = weight * self.products
        curvature[np.diag_indices_from(curvature)] += penalty
        return cholesky(curvature, overwrite_a=True, check_finite=False)


def minimised(
    loss: Loss, x: np.ndarray, factor: np.ndarray, penalty: float, start: np.ndarray, flat: float
) -> np.ndarray:
    """Weights that minimise a loss of linear predictors and a ridge penalty, by L-BFGS.

    Args:
        loss: Of linear predictors (N, k): its value, and its slope (N, k) in them.
        x: (N, d) features.
        factor: From :meth:`Coordinates.factor`.
        penalty: Of half the squared weights.
        start: (d + 1, k) weights, the last row intercepts, which are not penalised.
        flat: Curvature of the loss in an intercept; 0: there is no intercept, and it stays 0.

    Returns:
        (d + 1, k) weights.

    Raises:
        RuntimeError: the optimum is not reached, such as of features that are not finite.
    """
    shape, root = start.shape, np.sqrt(flat)

    def weights_of(flattened: np.ndarray) -> np.ndarray:
        inner = flattened.reshape(shape)
        found = np.zeros(shape)
        found[:-1] = solve_triangular(factor, inner[:-1], check_finite=False)
        found[-1] = inner[-1] / root if root else 0.0
        return found

    def value(flattened: np.ndarray) -> tuple[float, np.ndarray]:
        weights = weights_of(flattened)
        found, slope = loss(x @ weights[:-1] + weights[-1])
        gradient = x.T @ slope + penalty * weights[:-1]
        inner = np.zeros(shape)
        inner[:-1] = solve_triangular(factor, gradient, trans="T", check_finite=False)
        inner[-1] = slope.sum(axis=0) / root if root else 0.0
        return found + 0.5 * penalty * float((weights[:-1] ** 2).sum()), inner.ravel()

    inner = np.vstack([factor @ start[:-1], start[-1:] * root])
    options = {"maxiter": MAX_ITERATIONS, "ftol": 0.0, "gtol": TOLERANCE * np.sqrt(len(x))}
    found = minimize(value, inner.ravel(), jac=True, method="L-BFGS-B", options=options)
    if not found.success:
        raise RuntimeError(
            f"A regression on {len(x)} scans of {x.shape[1]} features did not reach its optimum in "
            f"{found.nit} iterations ({found.message.strip(' :')}). Look for features that are not "
            "finite, or beyond 1e100."
        )
    return weights_of(found.x)


class PreconditionedLogistic(LogisticRegression):
    """scikit-learn's logistic regression, fitted in :class:`Coordinates`.

    Args:
        C: Inverse penalty: the sum of log losses plus |coef|^2/(2 C) is minimised.
        coordinates: Of these features, or of features that hold them; None: made at the fit.
        warm_start: Whether a second fit starts from the weights of the first.
    """

    def __init__(
        self, C: float = 1.0, coordinates: Coordinates | None = None, warm_start: bool = False
    ):
        super().__init__(C=C, max_iter=MAX_ITERATIONS, warm_start=warm_start)
        self.coordinates = coordinates

    def fit(self, x: np.ndarray, labels: np.ndarray) -> "PreconditionedLogistic":
        """Fit to features (N, d) and classes (N,).

        Raises:
            ValueError: there are fewer than two classes.
        """
        classes, member = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"a classifier needs two classes, and all labels are {classes}")
        coordinates = self.coordinates or Coordinates(x)
        penalty, share = 1 / self.C, np.bincount(member) / len(member)
        weight = len(x) * float(np.mean(share * (1 - share)))
        factor = coordinates.factor(weight, penalty)
        binary = len(classes) == 2
        start = np.zeros((x.shape[1] + 1, 1 if binary else len(classes)))
        if self.warm_start and hasattr(self, "coef_"):
            start[:-1], start[-1] = self.coef_.T, self.intercept_
        loss = _two(member) if binary else _many(member, len(classes))
        found = minimised(loss, x, factor, penalty, start, weight)
        self.classes_, self.n_features_in_ = classes, x.shape[1]
        self.coef_, self.intercept_ = found[:-1].T.copy(), found[-1].copy()
        return self


def _two(member: np.ndarray) -> Loss:
    """Log loss of the second of two classes."""
    sign = np.where(member == 1, 1.0, -1.0)[:, None]

    def loss(predictor: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * predictor
        return float(np.logaddexp(0.0, -margin).sum()), -sign * expit(-margin)

    return loss


def _many(member: np.ndarray, classes: int) -> Loss:
    """Log loss of the softmax over several classes."""
    one_hot = np.eye(classes)[member]

    def loss(predictor: np.ndarray) -> tuple[float, np.ndarray]:
        total = logsumexp(predictor, axis=1, keepdims=True)
        return float((total[:, 0] - (one_hot * predictor).sum(1)).sum()), np.exp(
            predictor - total
        ) - one_hot

    return loss
