"""Linear models of y_sem as tensors: what the probes found, and ways along and beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor

from ldae.errors import UserError, require
from ldae.seeds import generator

MODES = ("normalised", "raw")
VARIANTS = ("plain", "orthogonal", "random")


@dataclass(frozen=True)
class LinearModel:
    """A probe of y_sem: output = w . (y - mean)/std + b."""

    mean: Tensor
    std: Tensor
    w: Tensor
    b: float

    def __call__(self, y: Tensor) -> Tensor:
        """Output (B,), float64, of y_sem (B, d): a logit, or years."""
        return ((y.double() - self.mean) / self.std) @ self.w + self.b

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> "LinearModel":
        """Read a file of :func:`ldae.evaluation.probes.evaluate.save_linear`.

        Raises:
            UserError: the file does not exist.
        """
        require(Path(path).is_file(), f"The probe {path} does not exist. Run `snakemake evaluate`.")
        with np.load(path) as file:
            tensors = [torch.from_numpy(file[name]).to(device) for name in ("mean", "std", "w")]
            return cls(*tensors, float(file["b"]), *cls._more(file))

    @classmethod
    def of(cls, model: Pipeline, device: torch.device | str = "cpu") -> "LinearModel":
        """A fitted pipeline of a scaler and one linear model with one output."""
        scaler, linear = model[0], model[-1]
        arrays = (scaler.mean_, scaler.scale_, np.ravel(linear.coef_))
        tensors = [torch.from_numpy(np.asarray(a, np.float64)).to(device) for a in arrays]
        return cls(*tensors, float(np.ravel(linear.intercept_)[0]))

    @staticmethod
    def _more(file: np.lib.npyio.NpzFile) -> tuple:
        return ()


@dataclass(frozen=True)
class Direction(LinearModel):
    """The classifier of y_sem, its logit positive for ``classes[1]``, as a direction."""

    classes: tuple[str, str]

    @staticmethod
    def _more(file: np.lib.npyio.NpzFile) -> tuple:
        return (tuple(file["classes"].tolist()),)

    def move(self, y: Tensor, alpha: Tensor | float, mode: str) -> Tensor:
        """Move y_sem (B, d) by ``alpha`` (scalar or (B,)) towards the positive class.

        ``normalised``: z-scored y_sem moves by alpha sqrt(d) along the unit vector of w, so alpha
        is a length in units of the typical norm of a z-scored code, comparable between encoders;
        the alphas of Figures 6 and 7 belong to this mode. ``raw``: y + alpha w_raw, the formula of
        section 5.4.1, w_raw being the weights for y_sem as it is. alpha = 0 is the identity.
        """
        alpha = torch.as_tensor(alpha).to(y.device, torch.float64).reshape(-1, 1)
        return (y.double() + alpha * self.step(mode)).to(y.dtype)

    def step(self, mode: str) -> Tensor:
        """What :meth:`move` adds to y_sem for alpha = 1: (d,) float64.

        Raises:
            UserError: unknown mode.
        """
        scale = self._scale(mode)
        along = self.w * scale / self.std
        if mode == "normalised":
            along = along / along.norm() * len(self.w) ** 0.5
        return scale * along

    def _scale(self, mode: str) -> Tensor:
        """Unit of each dimension of y_sem in which lengths and angles are taken: (d,)."""
        if mode not in MODES:
            raise UserError(
                f"evaluation.manipulation.mode is {mode!r}; allowed: {', '.join(MODES)}."
            )
        return self.std if mode == "normalised" else torch.ones_like(self.std)

    def variants(
        self, kept: LinearModel, mode: str, scan_ids: Sequence[str], seed: int
    ) -> dict[str, Tensor]:
        """Steps for alpha = 1 of every way that y_sem is moved, all of one length.

        ``plain``: :meth:`step`. ``orthogonal``: the same without its part along the weights of
        ``kept`` (the age regressor), whose output it therefore leaves as it is. ``random``: a
        direction of its own for every scan, drawn from (seed, scan): what any move as far does.

        Args:
            kept: The model whose output the orthogonal way must not change.
            mode: As in :meth:`move`; lengths and angles are those of z-scored, or of raw, y_sem.
            scan_ids: The B scans to move.
            seed: Of the random directions.

        Returns:
            Way to (B, d) float64 on the direction's device; moved y_sem = y_sem + alpha step.

        Raises:
            UserError: unknown mode, or the two models point the same way.
        """
        scale = self._scale(mode)
        plain = self.step(mode) / scale
        against = kept.w / kept.std * scale
        rest = plain - (plain @ against) / (against @ against) * against
        require(
            bool(rest.norm() > 1e-6 * plain.norm()),
            "The diagnosis and the age probe have the same direction in y_sem, so nothing of the "
            "one is left beside the other; more subjects, or more ages, may tell them apart.",
        )
        drawn = torch.stack(
            [
                torch.randn(len(plain), generator=generator(seed, "direction", scan))
                for scan in scan_ids
            ]
        ).to(plain)
        steps = dict(zip(VARIANTS, (plain[None], rest[None], drawn), strict=True))
        return {
            name: (scale * step / step.norm(dim=1, keepdim=True) * plain.norm()).expand(
                len(scan_ids), -1
            )
            for name, step in steps.items()
        }
