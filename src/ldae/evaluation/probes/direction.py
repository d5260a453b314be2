"""Linear probes of y_sem as tensors, and directions of manipulation derived from them.

The AD/CN direction is that of the diagnosis classifier. Control directions are orthogonal to the
age regressor, or random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ldae.errors import UserError, require
from ldae.seeds import generator

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

MODES = ("normalised", "raw")
VARIANTS = ("plain", "orthogonal", "random")


@dataclass(frozen=True)
class LinearModel:
    """A linear probe of y_sem: output = w . (y - mean)/std + b.

    Attributes:
        mean, std: (d,) float64, the standardisation of y_sem.
        w, b: Weights (d,) float64 and bias.
    """

    mean: Tensor
    std: Tensor
    w: Tensor
    b: float

    def __call__(self, y: Tensor) -> Tensor:
        """Output (B,) float64 for y_sem (B, d): a logit, or years."""
        return ((y.double() - self.mean) / self.std) @ self.w + self.b

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> "LinearModel":
        """Read a file written by :func:`ldae.evaluation.probes.linear.save_linear`.

        Raises:
            UserError: the file does not exist.
        """
        require(
            Path(path).is_file(), f"The probe {path} does not exist. Run the target `evaluate`."
        )
        with np.load(path) as file:
            tensors = [torch.from_numpy(file[name]).to(device) for name in ("mean", "std", "w")]
            return cls(*tensors, float(file["b"]), *cls._more(file))

    @classmethod
    def of(cls, model: "Pipeline", device: torch.device | str = "cpu") -> "LinearModel":
        """Convert a fitted pipeline of a scaler and one linear model with one output."""
        scaler, linear = model[0], model[-1]
        arrays = (scaler.mean_, scaler.scale_, np.ravel(linear.coef_))
        tensors = [torch.from_numpy(np.asarray(a, np.float64)).to(device) for a in arrays]
        return cls(*tensors, float(np.ravel(linear.intercept_)[0]))

    @staticmethod
    def _more(file: np.lib.npyio.NpzFile) -> tuple:
        return ()


@dataclass(frozen=True)
class Direction(LinearModel):
    """The classifier of y_sem as a direction; its logit is positive for ``classes[1]``."""

    classes: tuple[str, str]

    @staticmethod
    def _more(file: np.lib.npyio.NpzFile) -> tuple:
        return (tuple(file["classes"].tolist()),)

    def move(self, y: Tensor, alpha: Tensor | float, mode: str) -> Tensor:
        """Move y_sem towards the positive class; alpha = 0 is the identity.

        ``normalised``: z-scored y_sem moves by alpha sqrt(d) along the unit vector of w. alpha is
        then a length in units of the typical norm of a z-scored code, comparable between encoders.
        The alphas of Figures 6 and 7 belong to this mode. ``raw``: y + alpha w_raw, the formula of
        section 5.4.1, where w_raw are the weights for y_sem without standardisation.

        Args:
            y: (B, d) semantic codes.
            alpha: Strength, a scalar or (B,).
            mode: One of :data:`MODES`.

        Raises:
            UserError: unknown mode.
        """
        alpha = torch.as_tensor(alpha).to(y.device, torch.float64).reshape(-1, 1)
        return (y.double() + alpha * self.step(mode)).to(y.dtype)

    def step(self, mode: str) -> Tensor:
        """The step that :meth:`move` adds to y_sem for alpha = 1: (d,) float64.

        Raises:
            UserError: unknown mode.
        """
        scale = self._scale(mode)
        along = self.w * scale / self.std
        if mode == "normalised":
            along = along / along.norm() * len(self.w) ** 0.5
        return scale * along

    def _scale(self, mode: str) -> Tensor:
        """Unit (d,) of each dimension of y_sem for lengths and angles: its SD, or 1."""
        if mode not in MODES:
            raise UserError(
                f"evaluation.manipulation.mode is {mode!r}; allowed are {', '.join(MODES)}."
            )
        return self.std if mode == "normalised" else torch.ones_like(self.std)

    def variants(
        self, kept: LinearModel, mode: str, scan_ids: Sequence[str], seed: int
    ) -> dict[str, Tensor]:
        """Steps for alpha = 1 of every variant of :data:`VARIANTS`, all of one length.

        ``plain`` is :meth:`step`. ``orthogonal`` is the same without its component along the
        weights of ``kept`` (the age regressor), so it does not change that model's output.
        ``random`` is a control for the length of the step: a random direction for every scan, drawn
        from (seed, scan).

        Args:
            kept: The model whose output the orthogonal variant must not change.
            mode: As in :meth:`move`; lengths and angles are those of z-scored, or of raw, y_sem.
            scan_ids: The B scans to move.
            seed: Seed of the random directions.

        Returns:
            Variant to (B, d) float64 on the direction's device; moved y_sem = y_sem + alpha step.

        Raises:
            UserError: unknown mode, or the two models have the same direction.
        """
        scale = self._scale(mode)
        plain = self.step(mode) / scale
        against = kept.w / kept.std * scale
        orthogonal = plain - (plain @ against) / (against @ against) * against
        require(
            bool(orthogonal.norm() > 1e-6 * plain.norm()),
            "The diagnosis and the age probe have the same direction in y_sem, so the orthogonal "
            "variant of the manipulation does not exist. Add subjects, or a wider range of ages.",
        )
        drawn = torch.stack(
            [
                torch.randn(len(plain), generator=generator(seed, "direction", scan))
                for scan in scan_ids
            ]
        ).to(plain)
        steps = dict(zip(VARIANTS, (plain[None], orthogonal[None], drawn), strict=True))
        return {
            name: (scale * step / step.norm(dim=1, keepdim=True) * plain.norm()).expand(
                len(scan_ids), -1
            )
            for name, step in steps.items()
        }
