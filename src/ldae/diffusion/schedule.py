"""Noise schedule and every coefficient derived from it, as float64 tables over t = 0..T-1.

Notation (the paper's letters, names here, definitions):

    beta_t       betas                 linear from beta_start to beta_end (Table 3)
    alpha_t      alphas                1 - beta_t
    alpha-bar_t  alphas_cumprod        product of alphas up to t (the paper at times drops the bar)
    Sigma_t      posterior_variance    beta_t (1 - ab_{t-1}) / (1 - ab_t), with ab_{-1} = 1
    SNR(t)       snr                   ab_t / (1 - ab_t)
    c_t          guidance              coefficient of G in Eq. 9
    lambda_t     weights               loss weight of Eq. 10

The voxel-space DAE diffuses voxels in [-1, 1], as is usual for images: :func:`to_signal` and
:func:`to_image` convert volumes in [0, 1].
"""

import math
from typing import Literal

import torch
from torch import Tensor

Guidance = Literal["c_t", "sqrt_one_minus_ab"]


class Schedule:
    """Linear beta schedule with the tables of DDPM, PDAE's guidance and PDAE's loss weights.

    Args:
        timesteps: Number of diffusion steps (Table 3: 1000).
        beta_start: beta_0 (Table 3: 1e-4).
        beta_end: beta of the last step (Table 3: 2e-2).
        gamma: Exponent of Eq. 10 (section 3.3: 0.1).

    Attributes:
        betas, alphas, alphas_cumprod, alphas_cumprod_prev, posterior_variance, snr, guidance,
        weights: float64 tensors of shape (timesteps,), on the CPU unless moved by :meth:`to`.

    Raises:
        ValueError: the numbers give no noise schedule.
    """

    TABLES = (
        "betas",
        "alphas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "posterior_variance",
        "snr",
        "guidance",
        "weights",
    )

    def __init__(
        self,
        timesteps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 2e-2,
        gamma: float = 0.1,
    ):
        if timesteps < 2 or not 0 < beta_start <= beta_end < 1:
            raise ValueError(
                f"need timesteps >= 2 and 0 < beta_start <= beta_end < 1, "
                f"got {timesteps}, {beta_start}, {beta_end}"
            )
        self.timesteps = timesteps
        self.gamma = gamma
        self.betas = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
        self.alphas = 1 - self.betas
        self.alphas_cumprod = torch.cumprod(self.alphas, dim=0)
        self.alphas_cumprod_prev = torch.cat(
            [torch.ones_like(self.betas[:1]), self.alphas_cumprod[:-1]]
        )
        one_minus_ab = 1 - self.alphas_cumprod
        one_minus_ab_prev = 1 - self.alphas_cumprod_prev
        self.posterior_variance = self.betas * one_minus_ab_prev / one_minus_ab
        self.snr = self.alphas_cumprod / one_minus_ab
        # Eq. 9: sqrt(alpha_t) sqrt(1 - ab_t) / beta_t * Sigma_t; beta_t cancels. c_0 = 0.
        self.guidance = self.alphas.sqrt() * one_minus_ab_prev / one_minus_ab.sqrt()
        # Eq. 10: (1 / (1 + SNR))^(1 - gamma) (SNR / (1 + SNR))^gamma = SNR^gamma / (1 + SNR)
        self.weights = self.snr**gamma / (1 + self.snr)

    def to(self, device: torch.device | str) -> "Schedule":
        """Move the tables to ``device``, so that :meth:`at` copies nothing there; returns self."""
        for name in self.TABLES:
            setattr(self, name, getattr(self, name).to(device))
        return self

    def at(self, table: Tensor, t: Tensor, like: Tensor) -> Tensor:
        """Look up ``table[t]``, shaped (B, 1, ...) to broadcast against ``like`` (B, ...).

        The result has the dtype of ``like``, but never less than float32: coefficients near zero
        or one must not be rounded to bfloat16.
        """
        values = table.to(like.device)[t.to(like.device)]
        dtype = torch.promote_types(like.dtype, torch.float32)
        return values.to(dtype).reshape(-1, *[1] * (like.ndim - 1))

    def q_sample(self, z_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Diffuse ``z_0`` to step ``t`` with the noise ``eps`` (Eq. 4).

        Args:
            z_0: Clean latents (B, C, ...).
            t: Steps (B,), long, 0..timesteps-1.
            eps: Noise, shaped like ``z_0``.

        Returns:
            z_t = sqrt(ab_t) z_0 + sqrt(1 - ab_t) eps.
        """
        ab = self.alphas_cumprod
        return self.at(ab.sqrt(), t, z_0) * z_0 + self.at((1 - ab).sqrt(), t, z_0) * eps

    def guided_eps(self, eps: Tensor, g: Tensor, t: Tensor, mode: Guidance = "c_t") -> Tensor:
        """Shift the unconditional noise estimate by the gradient estimator's output.

        Args:
            eps: eps_theta(z_t, t), (B, C, ...).
            g: G(z_t, y_sem, t), shaped like ``eps``.
            t: Steps (B,).
            mode: ``c_t`` is Eq. 9, the coefficient G is trained with; ``sqrt_one_minus_ab`` is the
                DDIM rule of Eq. 7 that PDAE samples with. They differ at small t only.

        Returns:
            eps - coefficient(t) * G.

        Raises:
            ValueError: unknown ``mode``.
        """
        if mode == "c_t":
            table = self.guidance
        elif mode == "sqrt_one_minus_ab":
            table = (1 - self.alphas_cumprod).sqrt()
        else:
            raise ValueError(f"guidance mode is c_t or sqrt_one_minus_ab, not {mode!r}")
        return eps - self.at(table, t, eps) * g

    def level(self, t: int) -> tuple[float, float]:
        """Return (sqrt(ab_t), sqrt(1 - ab_t)) of one step as Python floats."""
        ab = self.alphas_cumprod[t].item()
        return math.sqrt(ab), math.sqrt(1 - ab)


def to_signal(x: Tensor) -> Tensor:
    """Scale volumes from [0, 1] to [-1, 1], the range that is diffused."""
    return 2 * x - 1


def to_image(x_0: Tensor) -> Tensor:
    """Scale the result of the diffusion from [-1, 1] back to volumes, clamped to [0, 1]."""
    return ((x_0 + 1) / 2).clamp(0, 1)
