"""Noise from which y_sem alone is decoded (Table 6 a), as ``evaluation.start_noise`` says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ldae.seeds import fixed_noise

SHARED = "all scans"  # stands for the scan where one draw serves all


@dataclass(frozen=True)
class StartNoise:
    """z_T of decodes that know y_sem alone: what of the image is left open by the code.

    Attributes:
        seed: Seed of the draws (``evaluation.noise_seed``).
        kind: ``scan``: a draw for each scan, the paper's. ``shared``: one for all scans. ``zero``:
            no noise, the mean of all draws.
        draws: Number of draws whose decodes are averaged, as latents where there are latents.
    """

    seed: int
    kind: Literal["scan", "shared", "zero"] = "scan"
    draws: int = 1

    @classmethod
    def configured(cls, cfg: Mapping[str, Any]) -> "StartNoise":
        """That of section ``evaluation`` (``noise_seed``, ``start_noise``)."""
        return cls(cfg["noise_seed"], **cfg["start_noise"])

    def tensors(self, scan_ids: Sequence[str], shape: Sequence[int]) -> list[Tensor]:
        """The draws, each (B, *shape) float32 on the CPU; they do not depend on the batch.

        Args:
            scan_ids: The B scans.
            shape: Shape of one scan's noise.
        """
        if self.kind == "zero":
            return [torch.zeros(len(scan_ids), *shape)]
        names = scan_ids if self.kind == "scan" else [SHARED] * len(scan_ids)
        return [fixed_noise(names, shape, self.seed, number) for number in range(self.draws)]
