"""Stage 3: semantic encoder and gradient estimator on the frozen diffusion model (Table 4)."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from ldae.compute import Compute, Tensors, detached
from ldae.data.augmentation import augmented, seen
from ldae.data.datasets import LatentsAndVolumes
from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.ddim import ddim_decode
from ldae.diffusion.schedule import Schedule
from ldae.errors import require
from ldae.models.storage import ldae_state
from ldae.nets.execution import apply_execution_options
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.joined_encoder import JoinedEncoder
from ldae.nets.semantic_encoder import initial_encoder
from ldae.nets.unet import UNet
from ldae.seeds import derive_seed
from ldae.training.components import start_components
from ldae.training.diagnostics import OnlineProbes, code_flags, code_spread
from ldae.training.ema import AveragedWeights, Ema
from ldae.training.objectives.base import CheckInterrupted, Group, Losses
from ldae.training.objectives.ldm import clean_latents, diffusion_draws, schedule_settings
from ldae.training.objectives.semantic import SemanticObjective
from ldae.training.validation import (
    QUARTILES,
    by_quartile,
    fixed_noise,
    interleave_subjects,
    mean_ssim,
    quartile_draws,
)

if TYPE_CHECKING:
    from monai.networks.nets import AutoencoderKL

STEPS = ("uniform", "balanced")


def step_chances(steps: str, schedule: Schedule) -> torch.Tensor | None:
    """Relative chances (T,) of the timesteps (``ldae.steps``); None: uniform, as in the paper.

    ``balanced`` draws t in proportion to lambda_t ab_t and divides its loss by that chance. The
    mean loss stays the same (Eq. 10), at less variance with ``ldm.prediction: velocity``: there the
    squared error in eps is ab_t times that in the velocity, so every draw counts alike. With
    ``ldm.prediction: eps`` the variance is not lower.

    Raises:
        UserError: an unknown value of ``ldae.steps``.
    """
    require(steps in STEPS, f"ldae.steps is {steps!r}; allowed are {', '.join(STEPS)}.")
    if steps == "uniform":
        return None
    return (schedule.weights * schedule.alphas_cumprod).cpu()


class LdaeObjective(SemanticObjective):
    """Mean lambda_t (eps - eps_theta + c_t G(z_t, y_sem, t))^2 (Eqs. 9 and 10).

    The weights are selected by the SSIM between a scan and its decoding from y_sem and fixed noise
    (section 4.2).

    Args:
        volumes: The volume store.
        latents: The latent store made from it.
        autoencoder: Decoder of latents, for validation.
        unet: The trained denoiser (its EMA weights); it is frozen.
        ldm_card: The denoiser's card.
        cfg: ``config["ldae"]``.
        schedule: The noise schedule.
        compute: The device.
        seed: Seed of the initial weights and of every draw.
    """

    stage = "ldae"
    selects = "ssim"

    def __init__(
        self,
        volumes: VolumeStore,
        latents: LatentStore,
        autoencoder: "AutoencoderKL",
        unet: UNet,
        ldm_card: Mapping[str, Any],
        cfg: Mapping[str, Any],
        schedule: Schedule,
        compute: Compute,
        seed: int,
    ):
        super().__init__(compute, seed)
        self.volumes, self.latents, self.cfg = volumes, latents, cfg
        self.ldm_card, self.schedule = ldm_card, schedule.to(compute.device)
        self.chances, self.factors = step_chances(cfg["steps"], schedule), None
        if self.chances is not None:
            self.factors = (self.chances.mean() / self.chances).to(compute.device)
        self.train_rows = volumes.rows("train")
        subjects = volumes.index["participant_id"]
        val = volumes.rows("val")
        self.val_rows = interleave_subjects(val, subjects)[: cfg["validate_scans"]]
        self.val_subjects = subjects[self.val_rows].tolist()
        self.online_probes = OnlineProbes.choose(
            volumes.index, self.train_rows, val, cfg["probe_scans"]
        )
        self.autoencoder = compute.place_frozen(autoencoder)
        self.encoder = compute.place(
            apply_execution_options(initial_encoder(cfg["encoder"], seed), cfg)
        )
        if isinstance(self.encoder, JoinedEncoder):
            start_components(self.encoder.components, volumes, self.train_rows, compute, seed)
        torch.manual_seed(derive_seed(seed, self.stage, "estimator"))
        guided = build_guided_unet(unet, ldm_card["architecture"], self.encoder.dim)
        self.guided = compute.place(apply_execution_options(guided, cfg))
        compute.store_reduced(self.guided.unet)
        estimator = self.guided.estimator
        trained = {"encoder": self.encoder, "estimator": estimator}
        rate = cfg["encoder_learning_rate"]
        # An encoder of components alone has nothing to train.
        if rate is None or not any(True for _ in self.encoder.parameters()):
            self.groups["main"] = Group(trained, cfg["learning_rate"])
        else:
            self.groups["main"] = Group({"estimator": estimator}, cfg["learning_rate"])
            self.groups["encoder"] = Group({"encoder": self.encoder}, rate)
        self.ema = Ema(trained, cfg["ema_decay"])
        self.averaged_weights = AveragedWeights(
            self.ema, self.encoder, self.encode, volumes, self.train_rows, compute
        )

    def executed(self) -> list[nn.Module]:
        """See :meth:`Objective.executed`; the frozen denoiser is a part of the guided network."""
        return [self.encoder, self.guided]

    def dataset(self) -> Dataset:
        """Training latents with their volumes; of these the encoder's view may be augmented."""
        scans = LatentsAndVolumes(self.latents, self.volumes, self.train_rows)
        return augmented(scans, self.cfg, self.volumes, self.seed, self.stage)

    def draw(self, generator: torch.Generator, batch_size: int) -> Tensors:
        """Timesteps (B, draws), noise (B, draws, C, *S), and noise of posterior samples, if any."""
        count = batch_size * self.cfg["draws"]
        drawn = diffusion_draws(self.latents, self.schedule, generator, count, self.chances)
        return {name: each.unflatten(0, (batch_size, -1)) for name, each in drawn.items()}

    def backward(self, batch: Tensors, draws: Tensors, weight: float, epoch: int) -> Losses:
        """Gradient of the weighted loss for encoder and estimator."""
        draws = {name: each.flatten(0, 1) for name, each in draws.items()}
        t, eps = draws["t"], draws["eps"]
        latents = {name: self.repeated(batch[name]) for name in ("latent", "std") if name in batch}
        z_t = self.schedule.q_sample(clean_latents(latents, draws), t, eps)
        y_sem = self.repeated(self.encode(seen(batch)))
        with self.compute.autocast():
            eps_theta, g = self.guided(z_t, t, y_sem)
        guided = self.schedule.guided_eps(eps_theta.float(), g.float(), t)
        losses = self.weighted(eps - guided, t)
        drawn = self.evenly(t, losses)
        loss = (drawn * losses).mean()
        self.compute.backward(weight * loss)
        losses = losses.detach()
        return {
            "loss": loss.detach(),
            "loss_frozen": (drawn * self.weighted(eps - eps_theta.float(), t)).mean(),
            **by_quartile(losses, t, self.schedule.timesteps),
        }

    def repeated(self, each: torch.Tensor) -> torch.Tensor:
        """Repeat each scan's tensor for its draws: (B, ...) to (B * draws, ...)."""
        return each.repeat_interleave(self.cfg["draws"], dim=0)

    def evenly(self, t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Factors (B,) by which the mean loss is that of uniform timesteps, however t is drawn."""
        return torch.ones_like(like) if self.factors is None else self.factors.to(like)[t]

    def weighted(self, error: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """lambda_t times the mean square of each item's error (B, C, *S): (B,)."""
        squares = error.square().flatten(1).mean(1)
        return self.schedule.at(self.schedule.weights, t, squares) * squares

    @torch.inference_mode()
    def validate(self, check_interrupted: CheckInterrupted) -> dict[str, float]:
        """SSIM, losses with and without guidance, spread of y_sem, probes; by the EMA weights."""
        with self.as_judged():
            codes = self.codes(self.val_rows, check_interrupted)
            ssim = self.generation_ssim(codes, check_interrupted)
            return {
                "ssim": ssim,
                **self.guided_losses(codes, check_interrupted),
                **code_spread(codes, self.val_subjects),
                **self.online_probes.measures(
                    self.codes(self.online_probes.rows, check_interrupted)
                ),
            }

    def flags(self, metrics: dict[str, float]) -> list[str]:
        """Warnings of a collapsed y_sem or of idle guidance."""
        return code_flags(metrics, len(set(self.val_subjects)))

    def codes(self, rows: np.ndarray, check_interrupted: CheckInterrupted) -> torch.Tensor:
        """y_sem (N, d) of the rows' scans."""
        codes = [torch.empty(0, self.encoder.dim, device=self.compute.device)]
        for start in range(0, len(rows), self.cfg["micro_batch"]):
            check_interrupted()
            part = rows[start : start + self.cfg["micro_batch"]]
            codes.append(self.encode(self.compute.move(self.volumes.volumes(part))))
        return torch.cat(codes)

    def generation_ssim(self, codes: torch.Tensor, check_interrupted: CheckInterrupted) -> float:
        """Mean SSIM(scan, decode(y_sem, fixed noise)), by DDIM with ``validate_steps`` steps."""
        total, size = 0.0, self.cfg["micro_batch"]
        for start in range(0, len(self.val_rows), size):
            rows = self.val_rows[start : start + size]
            x = self.compute.move(self.volumes.volumes(rows))
            made = self.generate(rows, codes[start : start + size], check_interrupted)
            total += mean_ssim(made, x, self.cfg["selection"]) * len(x)
        return total / len(self.val_rows)

    def generate(
        self, rows: np.ndarray, codes: torch.Tensor, check_interrupted: CheckInterrupted
    ) -> torch.Tensor:
        """Generate volumes (B, 1, X, Y, Z) from codes (B, d) and the rows' fixed noise."""
        scans, shape = self.volumes.index["scan_id"][rows], self.latents.shape
        noise = torch.stack([fixed_noise(self.seed, scan, shape) for scan in scans])
        z_0 = ddim_decode(
            partial(self.eps_hat, codes, check_interrupted),
            self.compute.move(noise),
            self.schedule,
            self.cfg["validate_steps"],
        )
        with self.compute.autocast():
            return self.autoencoder.decode(z_0 / self.latents.scale).float()

    def eps_hat(
        self,
        y_sem: torch.Tensor,
        check_interrupted: CheckInterrupted,
        z: torch.Tensor,
        t: torch.Tensor,
    ) -> torch.Tensor:
        """The guided noise estimate (Eq. 9) for codes y_sem (B, d)."""
        check_interrupted()
        with self.compute.autocast():
            eps, g = self.guided(z, t, y_sem)
        return self.schedule.guided_eps(eps.float(), g.float(), t)

    def guided_losses(
        self, codes: torch.Tensor, check_interrupted: CheckInterrupted
    ) -> dict[str, float]:
        """Mean weighted loss at fixed timesteps and noise, and that of the frozen denoiser."""
        scans = self.volumes.index["scan_id"][self.val_rows]
        steps, noise = quartile_draws(scans, self.latents.shape, self.schedule.timesteps, self.seed)
        totals, size = torch.zeros(2, dtype=torch.float64), self.cfg["micro_batch"]
        for start in range(0, len(self.val_rows), size):
            part = slice(start, start + size)
            z_0 = self.compute.move(self.latents.latents(self.val_rows[part]))
            for quartile in range(QUARTILES):
                check_interrupted()
                t, eps = map(self.compute.move, (steps[part, quartile], noise[part, quartile]))
                with self.compute.autocast():
                    z_t = self.schedule.q_sample(z_0, t, eps)
                    eps_theta, g = self.guided(z_t, t, codes[part])
                guided = self.schedule.guided_eps(eps_theta.float(), g.float(), t)
                for i, estimate in enumerate((guided, eps_theta.float())):
                    totals[i] += self.weighted(eps - estimate, t).sum().item()
        loss, frozen = (totals / len(self.val_rows) / QUARTILES).tolist()
        return {"loss": loss, "loss_frozen": frozen}

    @torch.inference_mode()
    def model_state(self) -> Tensors:
        """EMA weights of encoder and estimator; the denoiser stays in its own file."""
        with self.as_judged():
            return detached(ldae_state(self.encoder, self.guided.estimator))

    def identity(self) -> dict[str, Any]:
        """The data, the frozen denoiser and the schedule."""
        return {
            "data": self.volumes.training_hash,
            "latents": self.latents.training_hash,
            "latents_source": self.latents.source,
            "ldm": self.ldm_card["sha256"],
            "diffusion": schedule_settings(self.schedule),
        }
