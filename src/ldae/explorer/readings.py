"""Readings of volumes on the explorer: linear probes of the code, and soft volumes in ml."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ldae.evaluation.metrics.volumes import Regions, soft_volumes
from ldae.evaluation.probes.direction import Direction, LinearModel
from ldae.inference.ldae_system import LdaeSystem

DIGITS = 5  # significant digits of numbers on the page


@dataclass(frozen=True)
class Measure:
    """A measure of the page.

    Attributes:
        label: Name on the page.
        unit: Unit; empty for none.
        digits: Decimals.
        change: Metric of its mean change in the table of the manipulation.
        is_asked: Whether the code that is decoded has a value of its own beside the volume's.
    """

    label: str
    unit: str
    digits: int
    change: str
    is_asked: bool = False


MEASURES = {
    "logit": Measure("{positive} logit", "", 2, "change_logit_decoded", is_asked=True),
    "ventricle_ml": Measure("Ventricles", "ml", 1, "change_ventricle_ml"),
    "hippocampus_ml": Measure("Hippocampi", "ml", 1, "change_hippocampus_ml"),
    "age": Measure("Predicted age", "years", 1, "change_age_decoded", is_asked=True),
}


@dataclass(frozen=True)
class Readings:
    """Values of several volumes.

    Attributes:
        codes: y_sem of the volumes, encoded again, (F, d) float64.
        decoded: Each measure of :data:`MEASURES`, (F,).
        asked: ``logit`` and ``age`` of the codes that were decoded, (F,); empty for real scans.
    """

    codes: np.ndarray
    decoded: dict[str, np.ndarray]
    asked: dict[str, np.ndarray]


@dataclass(frozen=True)
class Reader:
    """The instruments that read a volume: encoder, probes, regions.

    Attributes:
        system: The trained models.
        direction: Classifier of AD against CN.
        age: Regressor of age in years.
        regions: Regions of ventricles and hippocampi on the volumes' grid.
        batch_size: Volumes encoded at a time.
    """

    system: LdaeSystem
    direction: Direction
    age: LinearModel
    regions: Regions
    batch_size: int

    def probes(self, codes: Tensor) -> dict[str, np.ndarray]:
        """``logit`` and ``age`` (F,) of codes (F, d)."""
        codes = self.system.compute.move(codes)
        both = {"logit": self.direction(codes), "age": self.age(codes)}
        return {name: value.cpu().numpy() for name, value in both.items()}

    def __call__(
        self, images: Tensor, asked: Tensor | None = None, base: Tensor | None = None
    ) -> Readings:
        """Read volumes.

        Args:
            images: (F, 1, X, Y, Z) in [0, 1] on the CPU.
            asked: y_sem that they were decoded from, (F, d); None for real scans.
            base: Volume (1, 1, X, Y, Z) whose brain and intensity scale all are measured with;
                None: each its own.
        """
        rows: list[dict[str, np.ndarray]] = []
        codes = []
        for part in images.split(self.batch_size):
            image = self.system.compute.move(part)
            like = image if base is None else self.system.compute.move(base).expand_as(image)
            codes.append(self.system.y_sem(image).cpu())
            volumes = soft_volumes(image, like, self.regions)
            found = {name: value.cpu().numpy() for name, value in volumes.items()}
            rows.append(found | self.probes(codes[-1]))
        decoded = {name: np.concatenate([row[name] for row in rows]) for name in MEASURES}
        y_sem = np.concatenate([code.double().numpy() for code in codes])
        return Readings(y_sem, decoded, {} if asked is None else self.probes(asked))


def plain(values: Any) -> list[float | None]:
    """Numbers for JSON, with :data:`DIGITS` significant digits; None for a missing one."""
    return [float(f"{v:.{DIGITS}g}") if np.isfinite(v) else None for v in np.asarray(values, float)]
