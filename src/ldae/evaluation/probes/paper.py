"""Linear probes of section 4.2: one layer on frozen codes, trained for a number of epochs.

Classifier: binary cross-entropy, Adam. Regressor: squared error, stochastic gradient descent. The
paper states no more. These choices are ours:

- Features are standardised on the training scans; otherwise features in ml or years diverge at the
  paper's learning rate.
- Scans come in batches of ``batch_size``.
- The regressor's bias starts at the mean age; otherwise plain descent would spend its epochs on it.
- Training subjects are split 70/30 by subject. The 30 % choose the epoch whose loss on them is the
  lowest (``epoch: best``), or nothing (``last``), and serve to correct the bias of predicted ages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ldae.errors import require
from ldae.seeds import derive_seed, generator

EPOCHS = ("best", "last")
HeldOut = tuple[np.ndarray, np.ndarray]  # features (N, d) and targets (N,) of held-out scans


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
    x: np.ndarray, positive: np.ndarray, held_out: HeldOut, cfg: dict[str, Any], seed: int
) -> LinearProbe:
    """Train a classifier: binary cross-entropy, Adam.

    Args:
        x: (N, d) features.
        positive: (N,) bool, the scan is of the positive class.
        held_out: The same of the scans by which the best epoch is chosen.
        cfg: ``evaluation.probes.paper``: classifier_epochs, learning_rate, batch_size, epoch.
        seed: Seed of the initial weights and the order of the scans.
    """
    epochs = cfg["classifier_epochs"]
    return _train(x, positive, held_out, 0.0, cfg, epochs, torch.optim.Adam, seed)


def train_regressor(
    x: np.ndarray, target: np.ndarray, held_out: HeldOut, cfg: dict[str, Any], seed: int
) -> LinearProbe:
    """Train a regressor: squared error, stochastic gradient descent.

    Args:
        x: (N, d) features.
        target: (N,) values, such as years.
        held_out: As in :func:`train_classifier`.
        cfg: ``evaluation.probes.paper``: regressor_epochs, learning_rate, batch_size, epoch.
        seed: Seed of the initial weights and the order of the scans.
    """
    epochs, start = cfg["regressor_epochs"], target.mean()
    return _train(x, target, held_out, start, cfg, epochs, torch.optim.SGD, seed)


def _train(
    x: np.ndarray,
    target: np.ndarray,
    held_out: HeldOut,
    start: float,
    cfg: dict[str, Any],
    epochs: int,
    optimiser: type[torch.optim.Optimizer],
    seed: int,
) -> LinearProbe:
    require(
        cfg["epoch"] in EPOCHS,
        f"evaluation.probes.paper.epoch is {cfg['epoch']!r}; allowed are {', '.join(EPOCHS)}.",
    )
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
    judges = torch.from_numpy((held_out[0] - mean) / std).float()
    truth = torch.from_numpy(np.asarray(held_out[1], dtype=np.float32))
    chooses = cfg["epoch"] == "best" and len(truth) > 0
    lowest, best = np.inf, None
    for _ in range(epochs):
        for part in torch.randperm(len(inputs), generator=draw).split(cfg["batch_size"]):
            descent.zero_grad()
            loss(inputs[part] @ w + b, labels[part]).backward()
            descent.step()
        if chooses:
            with torch.no_grad():
                score = float(loss(judges @ w + b, truth))
            if score < lowest:
                lowest, best = score, (w.detach().clone(), b.detach().clone())
    w, b = best or (w.detach(), b.detach())
    return LinearProbe(mean, std, w.double().numpy(), float(b))


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
