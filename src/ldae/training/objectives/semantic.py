"""Base class of the objectives with a semantic encoder: y_sem, EMA weights, sample pictures."""

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
    """An objective that trains a semantic encoder and validates its EMA weights.

    Attributes:
        encoder: Volumes (B, 1, X, Y, Z) to y_sem (B, d).
        volumes: Input volumes of the encoder, by row of the store.
        val_rows: Validation rows, in the order of
            :func:`ldae.training.validation.interleave_subjects`.
        averaged_weights: Context of the EMA weights.
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
        """Generate volumes (B, 1, X, Y, Z) from codes (B, d) and the rows' fixed noise."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """y_sem (B, d), float32, of volumes (B, 1, X, Y, Z)."""
        with self.compute.autocast():
            return self.encoder(x).float()

    def as_judged(self) -> AveragedWeights:
        """Context of the EMA weights and the batch-norm statistics that fit them."""
        return self.averaged_weights

    @torch.inference_mode()
    def pictures(self, check_interrupted: CheckInterrupted) -> Pictures:
        """Validation scans, and volumes generated from their y_sem and fixed noise."""
        pairs = []
        with self.as_judged():
            for row in self.val_rows[:SHOWN]:
                x = self.compute.move(self.volumes.volumes([row]))
                made = self.generate([row], self.encode(x), check_interrupted)
                pairs.append(torch.cat([x[0], made[0]]).cpu())
        return Pictures(("scan", "from y_sem + noise"), torch.stack(pairs))
