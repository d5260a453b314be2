"""Linear probes of section 4.2: one layer on frozen codes, trained for a number of epochs.

Classifier: binary cross-entropy, Adam. Regressor: squared error, stochastic gradient descent. The
paper states no more. These choices are ours:

- Features are standardised on the training scans; otherwise features in ml or years diverge at the
  paper's learning rate.
- Scans come in batches of ``batch_size``.
- The regressor's bias starts at the mean age; otherwise plain descent would spend its epochs on it.
- Training subjects are split 70/30 by subject. As in the paper the last epoch is used, so the 30 %
  choose nothing; they only serve to correct the bias of predicted ages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ldae.seeds import derive_seed, generator


@dataclass(frozen=True)
class LinearProbe:
    """A trained linear layer on standardised features.

    Attributes:
        mean, std: (d,) standardisation of the features.
        w, b: Weights (d,) and bias.
    """

    mean: np.ndarray
    std: np.ndarray
    w: np.ndarray
    b: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Logit or years (N,) for features (N, d)."""
        return (x - self.mean) / self.std @ self.w + self.b


def train_classifier(
    x: np.ndarray, positive: np.ndarray, cfg: dict[str, Any], seed: int
) -> LinearProbe:
    """Train a classifier: binary cross-entropy, Adam.

    Args:
        x: (N, d) features.
        positive: (N,) bool, the scan is of the positive class.
        cfg: ``evaluation.probes.paper``: classifier_epochs, learning_rate, batch_size.
        seed: Seed of the initial weights and the order of the scans.
    """
    return _train(x, positive, 0.0, cfg, cfg["classifier_epochs"], torch.optim.Adam, seed)


def train_regressor(
    x: np.ndarray, target: np.ndarray, cfg: dict[str, Any], seed: int
) -> LinearProbe:
    """Train a regressor: squared error, stochastic gradient descent.

    Args:
        x: (N, d) features.
        target: (N,) values, such as years.
        cfg: ``evaluation.probes.paper``: regressor_epochs, learning_rate, batch_size.
        seed: Seed of the initial weights and the order of the scans.
    """
    return _train(x, target, target.mean(), cfg, cfg["regressor_epochs"], torch.optim.SGD, seed)


def _train(
    x: np.ndarray,
    target: np.ndarray,
    start: float,
    cfg: dict[str, Any],
    epochs: int,
    optimiser: type[torch.optim.Optimizer],
    seed: int,
) -> LinearProbe:
    loss = (
        functional.binary_cross_entropy_with_logits if target.dtype == bool else functional.mse_loss
    )
    mean, std = x.mean(0), x.std(0)
    std = np.where(std > 0, std, 1.0)
    inputs = torch.from_numpy((x - mean) / std).float()
    labels = torch.from_numpy(np.asarray(target, dtype=np.float32))
    draw = generator(seed, "probe")
    bound = inputs.shape[1] ** -0.5  # torch's initialisation of a linear layer
    w = (2 * torch.rand(inputs.shape[1], generator=draw) - 1) * bound
    w.requires_grad_()
    b = torch.tensor(float(start), requires_grad=True)
    descent = optimiser([w, b], lr=cfg["learning_rate"])
    for _ in range(epochs):
        for part in torch.randperm(len(inputs), generator=draw).split(cfg["batch_size"]):
            descent.zero_grad()
            loss(inputs[part] @ w + b, labels[part]).backward()
            descent.step()
    return LinearProbe(mean, std, w.detach().double().numpy(), float(b.detach()))


def subject_split(
    groups: Sequence[str], labels: Sequence, fraction: float, seed: int
) -> np.ndarray:
    """Draw the subjects to train on: (N,) bool, False for rows of held-out subjects.

    Subjects are drawn within each label (that of their first row), at least one of each.

    Args:
        groups: Subject of each row.
        labels: Class of each row; a single value for no strata.
        fraction: ``evaluation.probes.paper.train_fraction``.
        seed: Seed of the draw.
    """
    groups, labels = np.asarray(groups), np.asarray(labels)
    names, first = np.unique(groups, return_index=True)
    draw = np.random.default_rng(derive_seed(seed, "probe split"))
    chosen = []
    for label in np.unique(labels[first]):
        mine = names[labels[first] == label]
        count = max(1, round(fraction * len(mine)))
        chosen += draw.permutation(mine)[:count].tolist()
    return np.isin(groups, chosen)
