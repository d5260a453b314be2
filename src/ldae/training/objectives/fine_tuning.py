"""Fine-tuning: the diagnosis learnt from few people, by an encoder that has learnt before."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ldae.compute import Compute
from ldae.data.few_labels import rows_of_people
from ldae.data.volume_store import VolumeStore
from ldae.nets.fine_tuning import freeze_but
from ldae.training.objectives.base import Group
from ldae.training.objectives.supervised import DiagnosisObjective


class FineTuningObjective(DiagnosisObjective):
    """Cross-entropy of the diagnosis, of so many people of each class.

    Head and encoder have a learning rate each. The weights of the last epoch are kept: a choice by
    validation scans would use further labels than those that the curve counts.

    Args:
        volumes: The volume store, whose index has the labels.
        cfg: Section ``supervised`` with ``encoder``, ``classes``, and ``people``, ``trainable`` and
            ``head_learning_rate`` of the experiment.
        compute: The device.
        seed: Seed of the initial weights, of the people and of every draw.
        start: Tensors of the encoder that it starts from, by name; None: its initial weights.
        start_hash: What identifies them; None: nothing.

    Raises:
        UserError: a class has no training scan.
    """

    stage = "fine_tuning"

    def __init__(
        self,
        volumes: VolumeStore,
        cfg: Mapping[str, Any],
        compute: Compute,
        seed: int,
        start: Mapping[str, torch.Tensor] | None = None,
        start_hash: str | None = None,
    ):
        super().__init__(volumes, cfg, compute, seed)
        self.start_hash = start_hash
        self.train_rows = rows_of_people(
            volumes.index, self.train_rows, self.classes, cfg["people"], seed
        )
        self.val_rows, self.selects = self.val_rows[:0], None
        self.read_labels(volumes.index.loc[self.train_rows])
        if start is not None:
            self.model.encoder.load_state_dict(start)
        parts = freeze_but(self.model, cfg["trainable"])
        self.groups = {"encoder": Group(parts, cfg["learning_rate"])} if parts else {}
        self.groups["head"] = Group({"head": self.model.head}, cfg["head_learning_rate"])

    def executed(self) -> list[nn.Module]:
        """The whole network, also where a part of it is frozen."""
        return [self.model]

    def flags(self, metrics: dict[str, float]) -> list[str]:
        """None: no weights are selected on purpose."""
        return []

    def card(self) -> dict[str, Any]:
        """Also the numbers of people and scans that were learnt from."""
        people = self.volumes.index.loc[self.train_rows, "participant_id"].nunique()
        learnt = {"people": int(people), "scans": len(self.train_rows)}
        return {**super().card(), "learnt_from": learnt, "start_sha256": self.start_hash}

    def identity(self) -> dict[str, Any]:
        """Also the weights that it starts from."""
        return {**super().identity(), "start": self.start_hash}
