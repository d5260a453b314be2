"""What the objectives with a semantic encoder share: its code, its average, its pictures."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from ldae.data.volume_store import ByRow
from ldae.nets.semantic_encoder import SemanticEncoder
from ldae.training.callbacks import Pictures
from ldae.training.ema import AveragedWeights
from ldae.training.objectives.base import CheckInterrupted, Objective
from ldae.training.validation import SHOWN


class SemanticObjective(Objective):
    """An objective that trains an encoder to y_sem and is judged by its average.

    Attributes:
        encoder: Volumes to y_sem.
        volumes: What the encoder sees, by row of the store.
        val_rows: Validation rows, those of most subjects first.
        averaged: Context of the EMA weights.
    """

    encoder: SemanticEncoder
    volumes: ByRow
    val_rows: np.ndarray
    averaged_weights: AveragedWeights

    @abstractmethod
    def generate(
        self,
        rows: Sequence[int] | np.ndarray,
        codes: torch.Tensor,
        check_interrupted: CheckInterrupted,
    ) -> torch.Tensor:
        """Volumes (B, 1, X, Y, Z) from codes (B, d) and the rows' fixed noise."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """y_sem (B, d), float32."""
        with self.compute.autocast():
            return self.encoder(x).float()

    def as_judged(self) -> AveragedWeights:
        """Within the context the networks hold the EMA weights, and statistics that fit them."""
        return self.averaged_weights

    @torch.inference_mode()
    def pictures(self, check_interrupted: CheckInterrupted) -> Pictures:
        """Validation scans, and what their y_sem alone makes of fixed noise."""
        pairs = []
        with self.as_judged():
            for row in self.val_rows[:SHOWN]:
                x = self.compute.move(self.volumes.volumes([row]))
                made = self.generate([row], self.encode(x), check_interrupted)
                pairs.append(torch.cat([x[0], made[0]]).cpu())
        return Pictures(("scan", "from y_sem + noise"), torch.stack(pairs))
