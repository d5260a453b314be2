"""Velocity preconditioning of the denoiser about the mean latent.

A network that predicts eps must first learn that eps is almost z_t where the noise is high, and the
brain that all scans share. A short training learns neither well enough. Where y_sem could tell
most, the network's error is many times what y_sem can explain, and stage 3 corrects that error
instead of using the code. The paper trains long enough to do without (``ldm.prediction: eps``).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Preconditioning(nn.Module):
    """Velocity prediction (Salimans and Ho 2022) about the mean latent.

        r_t = z_t - sqrt(ab_t) mean
        eps = sqrt(1 - ab_t) r_t + sqrt(ab_t) net(r_t, t)

    A network that returns 0 is the best for white latents of unit variance about their mean, and
    its error counts equally at all t. G is multiplied by sqrt(ab_t) as well.

    Args:
        shape: Shape (C, *S) of a latent.
        timesteps: Steps T of the schedule.

    Attributes:
        mean: The mean latent (C, *S), scaled. Zero until :meth:`set`.
        signal: sqrt(ab_t) by step (T,).
    """

    mean: Tensor
    signal: Tensor

    def __init__(self, shape: Sequence[int], timesteps: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(tuple(shape)))
        self.register_buffer("signal", torch.ones(timesteps))

    def set(self, mean: Tensor, alphas_cumprod: Tensor) -> None:
        """Copy the mean latent (C, *S) and the schedule's ab (T,) into the buffers."""
        self.mean.copy_(mean)
        self.signal.copy_(alphas_cumprod.sqrt())

    def card(self) -> dict[str, Any]:
        """The arguments that build it again, for the model card."""
        return {"shape": list(self.mean.shape), "timesteps": len(self.signal)}

    def _signal(self, t: Tensor) -> Tensor:
        return self.signal[t].reshape(-1, *[1] * self.mean.ndim)

    def residual(self, z_t: Tensor, t: Tensor) -> Tensor:
        """Input of the network (B, C, *S), r_t, for z_t at steps t (B,)."""
        return z_t - self._signal(t) * self.mean

    def eps(self, out: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """Noise eps, shaped like z_t, from the network's output ``out``; in float32 or wider."""
        signal = self._signal(t)
        noise = (1 - signal.square()).sqrt()
        return noise * self.residual(z_t, t) + signal * out

    def gradient(self, out: Tensor, t: Tensor) -> Tensor:
        """G (B, C, *S): the estimator's output at steps t (B,), times sqrt(ab_t)."""
        return self._signal(t) * out
