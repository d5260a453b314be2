"""What differs between the training stages. Everything else is the loop's (`training.loop`)."""

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

CheckInterrupted = Callable[[], None]  # called between pieces of long work; raises to interrupt it


class PartialLoss(NamedTuple):
    """A loss that some items of a micro-batch have: its sum over them, and how many they are."""

    total: torch.Tensor
    count: torch.Tensor


Losses = dict[str, torch.Tensor | PartialLoss]  # a tensor is a mean over the micro-batch


@dataclass(frozen=True)
class Group:
    """Modules trained by one Adam optimizer."""

    modules: dict[str, nn.Module]
    learning_rate: float


class Objective(ABC):
    """A stage: its networks, its loss and its validation.

    Attributes:
        stage: Name of the config section and of the model.
        selects: Validation metric whose maximum chooses the weights; None: the last ones are kept.
        groups: Trained modules by optimizer.
        ema: Average over the trained weights, or None.
        train_rows: Rows of the store that training sees.
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

    @abstractmethod
    def dataset(self) -> Dataset:
        """Training scans: position -> tensors, without any random draw."""

    @abstractmethod
    def draw(self, generator: torch.Generator, batch_size: int) -> Tensors:
        """Random draws of one effective batch, first dimension the batch, on the CPU.

        They are made for the whole batch at once and then cut into micro-batches, so that neither
        accumulation nor the number of processes changes them.
        """

    @abstractmethod
    def backward(self, batch: Tensors, draws: Tensors, weight: float, epoch: int) -> Losses:
        """Add the gradient of ``weight`` times the mean loss of a micro-batch; return its losses.

        By ``compute.backward``, which scales in fp16. One of the losses is called ``loss``; the
        names are the same for every micro-batch of a step.
        """

    def as_judged(self) -> AbstractContextManager:
        """Within the context the networks are as they are judged and kept.

        Entered once for :meth:`validate`, :meth:`pictures` and :meth:`model_state` together, so
        that what they share is made ready once; each of them works outside it as well.
        """
        return nullcontext()

    @abstractmethod
    def validate(self, check_interrupted: CheckInterrupted) -> dict[str, float]:
        """Metrics on the validation split. Must change no state and use fixed draws."""

    def flags(self, metrics: dict[str, float]) -> list[str]:
        """Warnings that the metrics of a validation give cause for, each a sentence."""
        return []

    def pictures(self, check_interrupted: CheckInterrupted) -> Pictures | None:
        """A few validation scans as the networks render them; None: this stage has none.

        Must change no state and use fixed draws, as :meth:`validate`.
        """
        return None

    @abstractmethod
    def model_state(self) -> Tensors:
        """State that goes into the model file, as of now."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What a resumed run must share: hashes of data and of upstream models."""
