"""The supervised baseline of Table 7: the semantic encoder trained end to end on labels."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch.utils.data import Dataset

from ldae.compute import Compute, Tensors, detached
from ldae.data.augmentation import augmented, seen
from ldae.data.datasets import labelled
from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.files import digest
from ldae.nets.semantic_encoder import build_supervised
from ldae.seeds import derive_seed
from ldae.training.objectives.base import CheckInterrupted, Group, Losses, Objective

AGE_LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss}
UNSELECTED = "no validation scan has a label: the weights of the last epoch are kept, not the best"


class SupervisedObjective(Objective):
    """A loss on the labels of labelled scans of the split ``train``.

    The weights with the lowest loss on labelled scans of ``val`` are kept. If ``val`` has none, the
    last weights are kept, with a flag. The split ``test`` is not read.

    Args:
        volumes: The volume store, whose index has the labels.
        cfg: Section ``supervised`` with the ``encoder`` of section ``ldae`` and the probes'
            ``classes``, the last of which is the positive one.
        compute: The device.
        seed: Seed of the initial weights and of every draw.

    Attributes:
        target: Column of the labels.

    Raises:
        UserError: too few labels in the training split (:meth:`read_labels`).
    """

    target: ClassVar[str]

    def __init__(self, volumes: VolumeStore, cfg: Mapping[str, Any], compute: Compute, seed: int):
        super().__init__(compute, seed)
        self.volumes, self.cfg = volumes, cfg
        self.classes: list[str] = list(cfg["classes"])
        has_label = labelled(volumes.index, self.target, self.classes)
        self.train_rows, self.val_rows = (
            rows[has_label[rows]] for rows in (volumes.rows("train"), volumes.rows("val"))
        )
        self.selects = "score" if len(self.val_rows) else None
        self.read_labels(volumes.index.loc[self.train_rows])
        torch.manual_seed(derive_seed(seed, self.stage, "weights"))
        self.model = compute.place(build_supervised(cfg, self.outputs))
        self.groups["main"] = Group({"model": self.model}, cfg["learning_rate"])

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number of outputs of the head."""

    @abstractmethod
    def read_labels(self, known: pd.DataFrame) -> None:
        """Read class weights or scaling from the labels of the training scans."""

    @abstractmethod
    def truth(self, rows: np.ndarray) -> torch.Tensor:
        """Targets of the network for rows: (B,)."""

    @abstractmethod
    def losses(self, predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Loss of each item (B,) for outputs of the head (B, outputs)."""

    def weighted(self, losses: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Losses (B,) with the weights of the training."""
        return losses

    @abstractmethod
    def scores(self, predicted: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
        """Further validation metrics, by name."""

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """Entries of the model's card that describe the prediction."""

    def dataset(self) -> Dataset:
        """Labelled training volumes: ``volume`` (1, X, Y, Z) and ``truth``; may be augmented."""
        scans = LabelledVolumes(self.volumes, self.train_rows, self.truth(self.train_rows))
        return augmented(scans, self.cfg, self.volumes, self.seed, self.stage)

    def draw(self, generator: torch.Generator, batch_size: int) -> Tensors:
        """No random draws."""
        return {}

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of the head (B, outputs), float32, for volumes (B, 1, X, Y, Z)."""
        with self.compute.autocast():
            return self.model(x).float()

    def backward(self, batch: Tensors, draws: Tensors, weight: float, epoch: int) -> Losses:
        """Gradient of the loss for encoder and head."""
        truth = batch["truth"]
        losses = self.weighted(self.losses(self.predict(seen(batch)), truth), truth)
        self.compute.backward(weight * losses.mean())
        return {"loss": losses.detach().mean()}

    @torch.inference_mode()
    def validate(self, check_interrupted: CheckInterrupted) -> dict[str, float]:
        """Unweighted loss, ``score`` (minus the loss) and :meth:`scores`; empty without labels."""
        parts, size = [], self.cfg["micro_batch"]
        for start in range(0, len(self.val_rows), size):
            check_interrupted()
            rows = self.val_rows[start : start + size]
            parts.append(self.predict(self.compute.move(self.volumes.volumes(rows))).cpu())
        if not parts:
            return {}
        predicted, truth = torch.cat(parts), self.truth(self.val_rows)
        loss = self.losses(predicted, truth).double().mean().item()
        return {"score": -loss, "loss": loss, **self.scores(predicted, truth)}

    def flags(self, metrics: dict[str, float]) -> list[str]:
        """A warning if no weights could be selected."""
        return [] if len(self.val_rows) else [UNSELECTED]

    def model_state(self) -> Tensors:
        """The weights; there is no EMA."""
        return detached(self.model.state_dict())

    def identity(self) -> dict[str, Any]:
        """Hashes of the training data, and of the labels in training and validation."""
        labelled_scans = self.volumes.index.loc[np.concatenate([self.train_rows, self.val_rows])]
        labels = labelled_scans[["scan_id", self.target]].astype(str).to_numpy().tolist()
        return {"data": self.volumes.training_hash, "labels": digest(labels)}


class DiagnosisObjective(SupervisedObjective):
    """Cross-entropy loss of the diagnosis."""

    stage = "supervised_diagnosis"
    target = "diagnosis"

    @property
    def outputs(self) -> int:
        """One for each class."""
        return len(self.classes)

    def read_labels(self, known: pd.DataFrame) -> None:
        """Set the class weights; None, as in the paper, if every scan counts the same.

        Raises:
            UserError: a class has no training scan.
        """
        counts = known["diagnosis"].value_counts().reindex(self.classes, fill_value=0)
        lacking = counts.index[counts == 0].tolist()
        require(
            not lacking,
            f"No training scan has the diagnosis {', '.join(lacking)}, so the supervised model "
            "cannot be trained. Use more subjects, or other classes of "
            "evaluation.targets.diagnosis, or leave supervised out of baselines.",
        )
        self.weights: torch.Tensor | None = None
        if self.cfg["class_weights"] == "balanced":
            weights = counts.sum() / (len(counts) * counts.to_numpy(dtype=np.float64))
            self.weights = self.compute.move(torch.from_numpy(weights).float())

    def truth(self, rows: np.ndarray) -> torch.Tensor:
        """Class numbers (B,), long."""
        names = self.volumes.index.loc[rows, "diagnosis"]
        return torch.tensor([self.classes.index(name) for name in names])

    def losses(self, predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Cross-entropy (B,)."""
        return F.cross_entropy(predicted, truth, reduction="none")

    def weighted(self, losses: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Losses (B,) times the weights of their classes, if ``class_weights`` is ``balanced``."""
        return losses if self.weights is None else losses * self.weights[truth]

    def scores(self, predicted: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
        """Accuracy; of two classes that both have scans, also the AUROC of the positive one."""
        accuracy = (predicted.argmax(1) == truth).double().mean().item()
        positive = (truth == len(self.classes) - 1).numpy()
        if len(self.classes) != 2 or positive.all() or not positive.any():
            return {"accuracy": accuracy}
        probability = predicted.softmax(1)[:, -1].numpy()
        return {"accuracy": accuracy, "auroc": float(roc_auc_score(positive, probability))}

    def card(self) -> dict[str, Any]:
        """The classes in the order of the outputs."""
        return {"target": self.target, "outputs": self.outputs, "classes": self.classes}


class AgeObjective(SupervisedObjective):
    """Error of the age, in standard deviations of the training ages (``age_loss``)."""

    stage = "supervised_age"
    target = "age"

    @property
    def outputs(self) -> int:
        """One."""
        return 1

    def read_labels(self, known: pd.DataFrame) -> None:
        """Set mean and standard deviation of the training ages; the network predicts z-scores.

        Raises:
            UserError: the training scans have fewer than two different ages.
        """
        ages = known["age"].to_numpy(dtype=np.float64)
        require(
            len(set(ages)) > 1,
            "The supervised age model needs training scans of different known ages. Use more "
            "subjects, or leave supervised out of baselines.",
        )
        self.mean, self.std = float(ages.mean()), float(ages.std())

    def truth(self, rows: np.ndarray) -> torch.Tensor:
        """z-scores of the age (B,)."""
        ages = self.volumes.index.loc[rows, "age"].to_numpy(dtype=np.float64)
        return torch.from_numpy((ages - self.mean) / self.std).float()

    def losses(self, predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Squared or absolute error (B,), of z-scores."""
        return AGE_LOSSES[self.cfg["age_loss"]](predicted[:, 0], truth, reduction="none")

    def scores(self, predicted: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
        """Mean absolute error in years."""
        return {"mae": (predicted[:, 0] - truth).abs().mean().item() * self.std}

    def card(self) -> dict[str, Any]:
        """Mean and standard deviation (years) that turn z-scores into ages."""
        scale = {"age_mean": self.mean, "age_std": self.std}
        return {"target": self.target, "outputs": self.outputs, **scale}


class LabelledVolumes(Dataset):
    """``volume`` (1, X, Y, Z) and ``truth`` of the given rows."""

    def __init__(self, volumes: VolumeStore, rows: np.ndarray, truth: torch.Tensor):
        self.volumes, self.rows, self.truth = volumes, rows, truth

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Tensors:
        volume = self.volumes.volume(int(self.rows[position]))
        return {"volume": volume, "truth": self.truth[position]}
