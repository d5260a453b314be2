"""Objective: interface of a training stage, with its networks, its loss and its validation.

All that the stages share is in the training loop (`ldae.training.loop`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from ldae.compute import Compute, Tensors
from ldae.training.callbacks import Pictures
from ldae.training.ema import Ema

AS_STAGE = "as_stage"  # a gradient is clipped at the section's grad_clip
CheckInterrupted = Callable[[], None]  # called often in long work; raises Interrupted to end it


class PartialLoss(NamedTuple):
    """A loss of some items of a micro-batch only: its sum over them, and their number."""

    total: torch.Tensor
    count: torch.Tensor


Losses = dict[str, torch.Tensor | PartialLoss]  # a tensor is a mean over the micro-batch


@dataclass(frozen=True)
class Group:
    """Modules trained by one Adam optimizer.

    Attributes:
        modules: The modules by name.
        learning_rate: Of the optimizer.
        grad_clip: Largest norm of their gradient; None: not clipped; AS_STAGE: the stage's.
    """

    modules: dict[str, nn.Module]
    learning_rate: float
    grad_clip: float | str | None = AS_STAGE


class Objective(ABC):
    """A stage: its networks, its loss and its validation.

    Attributes:
        stage: Name of the training, a key of ``training.stages.STAGES``, and of its model.
        selects: Validation metric whose maximum chooses the weights; None: the last ones are kept.
        groups: Trained modules by optimizer.
        ema: Average over the trained weights, or None.
        train_rows: Rows of the store that are trained on.
    """

    stage: ClassVar[str]
    selects: str | None = None

    def __init__(self, compute: Compute, seed: int):
        self.compute, self.seed = compute, seed
        self.groups: dict[str, Group] = {}
        self.ema: Ema | None = None
        self.train_rows: np.ndarray

    def modules(self) -> dict[str, nn.Module]:
        """All trained modules by name."""
        return {
            name: module for group in self.groups.values() for name, module in group.modules.items()
        }

    def executed(self) -> list[nn.Module]:
        """Networks that a step runs, the frozen ones included: those that may be compiled."""
        return list(self.modules().values())

    @abstractmethod
    def dataset(self) -> Dataset:
        """Training scans: position in ``train_rows`` -> tensors, without any random draw.

        Of an :class:`ldae.data.augmentation.Augmented` the loop asks for (position, place), whose
        changes are a function of the place.
        """

    @abstractmethod
    def draw(self, generator: torch.Generator, batch_size: int) -> Tensors:
        """Random draws of one effective batch (batch_size, ...), by name, on the CPU.

        They are drawn for the whole batch and then cut into micro-batches, so neither accumulation
        nor the number of processes changes them.
        """

    @abstractmethod
    def backward(self, batch: Tensors, draws: Tensors, weight: float, epoch: int) -> Losses:
        """Add the gradient of ``weight`` times the mean loss of a micro-batch; return its losses.

        Implementations call ``compute.backward``, which scales the loss in fp16.

        Args:
            batch: Tensors of :meth:`dataset`, on the device.
            draws: This micro-batch's part of :meth:`draw`, on the device.
            weight: Fraction of the effective batch that the micro-batch is.
            epoch: Epochs completed.

        Returns:
            Losses without gradients, one of them called ``loss``; the names are the same for every
            micro-batch of a step.
        """

    def as_judged(self) -> AbstractContextManager:
        """Within the context the networks hold the weights that are validated and saved.

        The loop enters it once for :meth:`validate`, :meth:`pictures` and :meth:`model_state`
        together, so that shared preparation is done once. Each of them works outside it as well.
        """
        return nullcontext()

    @abstractmethod
    def validate(self, check_interrupted: CheckInterrupted) -> dict[str, float]:
        """Metrics on the validation split, by name. Must change no state and use fixed draws."""

    def flags(self, metrics: dict[str, float]) -> list[str]:
        """Warnings from the metrics of a validation, each a sentence."""
        return []

    def pictures(self, check_interrupted: CheckInterrupted) -> Pictures | None:
        """A few volumes that the networks generate or reconstruct; None: this stage has none.

        Must change no state and use fixed draws, as :meth:`validate`.
        """
        return None

    @abstractmethod
    def model_state(self) -> Tensors:
        """Current tensors for the model file, by name."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Entries of the run identity: hashes of the data and of upstream models."""
