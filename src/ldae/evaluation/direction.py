"""Linear models of y_sem as tensors: what the probes found, and the way along it (5.4.1)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ldae.errors import UserError, require

MODES = ("normalised", "raw")


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
        """Read a file of :func:`ldae.evaluation.probes.save_linear`.

        Raises:
            UserError: the file does not exist.
        """
        require(Path(path).is_file(), f"The probe {path} does not exist. Run `snakemake evaluate`.")
        with np.load(path) as file:
            tensors = [torch.from_numpy(file[name]).to(device) for name in ("mean", "std", "w")]
            return cls(*tensors, float(file["b"]), *cls._more(file))

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

        Raises:
            UserError: unknown mode.
        """
        if mode not in MODES:
            raise UserError(
                f"evaluation.manipulation.mode is {mode!r}; allowed: {', '.join(MODES)}."
            )
        alpha = torch.as_tensor(alpha).to(y.device, torch.float64).reshape(-1, 1)
        if mode == "normalised":
            step = self.std * self.w / self.w.norm() * len(self.w) ** 0.5
        else:
            step = self.w / self.std
        return (y.double() + alpha * step).to(y.dtype)
