"""Stage 2: the unconditional latent diffusion model (Table 3)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Dataset

from ldae.data.latent_store import LatentStore
from ldae.data.sampling import derive_seed
from ldae.diffusion.schedule import Schedule
from ldae.nets.unet import build_unet
from ldae.training.compute import Compute
from ldae.training.datasets import Latents
from ldae.training.ema import Ema
from ldae.training.objective import Beat, Group, Objective, Tensors, detached
from ldae.training.validation import QUARTILES, quartile_draws


class LdmObjective(Objective):
    """Mean (eps - eps_theta(z_t, t))^2 with t uniform; the last epoch's EMA is kept (section 4.2).

    Args:
        latents: The latent store.
        cfg: ``config["ldm"]``.
        schedule: The noise schedule.
        compute: The device.
        seed: Of initial weights and of every draw.
    """

    stage = "ldm"

    def __init__(
        self,
        latents: LatentStore,
        cfg: Mapping[str, Any],
        schedule: Schedule,
        compute: Compute,
        seed: int,
    ):
        super().__init__(compute, seed)
        self.latents, self.cfg, self.schedule = latents, cfg, schedule.to(compute.device)
        self.train_rows, self.val_rows = latents.rows("train"), latents.rows("val")
        torch.manual_seed(derive_seed(seed, self.stage, "weights"))
        self.model = compute.place(build_unet(cfg, latents.shape[0]))
        self.groups["main"] = Group({"unet": self.model}, cfg["learning_rate"])
        self.ema = Ema({"unet": self.model}, cfg["ema_decay"])

    def dataset(self) -> Dataset:
        """Training latents, scaled."""
        return Latents(self.latents, self.train_rows)

    def draw(self, generator: torch.Generator, batch_size: int) -> Tensors:
        """Steps and noise; noise of the posterior too where samples are trained on."""
        return diffusion_draws(self.latents, self.schedule, generator, batch_size)

    def backward(self, batch: Tensors, draws: Tensors, share: float, epoch: int) -> Tensors:
        """Gradient of the noise-prediction loss."""
        z_0, t, eps = clean_latents(batch, draws), draws["t"], draws["eps"]
        with self.compute.autocast():
            predicted = self.model(self.schedule.q_sample(z_0, t, eps), t)
        loss = functional.mse_loss(predicted.float(), eps)
        (share * loss).backward()
        return {"loss": loss.detach()}

    @torch.inference_mode()
    def validate(self, beat: Beat) -> dict[str, float]:
        """Noise-prediction loss of the EMA weights on the validation split, by quartile of t."""
        steps, noise = quartile_draws(
            self.val_rows, self.latents.shape, self.schedule.timesteps, self.seed
        )
        z_0 = self.latents.latents(self.val_rows)
        losses = torch.zeros(QUARTILES, dtype=torch.float64)
        size = self.cfg["micro_batch"]
        with self.ema.applied():
            for quartile in range(QUARTILES):
                for start in range(0, len(z_0), size):
                    beat()
                    part = slice(start, start + size)
                    z, t, eps = map(
                        self.compute.move, (z_0[part], steps[part, quartile], noise[part, quartile])
                    )
                    with self.compute.autocast():
                        predicted = self.model(self.schedule.q_sample(z, t, eps), t)
                    each = functional.mse_loss(predicted.float(), eps)
                    losses[quartile] += each.item() * len(z) / len(z_0)
        by_quartile = {f"loss_q{q + 1}": losses[q].item() for q in range(QUARTILES)}
        return {"loss": losses.mean().item(), **by_quartile}

    def model_state(self) -> Tensors:
        """The EMA weights."""
        with self.ema.applied():
            return detached(self.model.state_dict())

    def identity(self) -> dict[str, Any]:
        """The latents, which name their autoencoder and volumes, and the schedule."""
        return {
            "data": self.latents.sum,
            "latents_source": self.latents.source,
            "diffusion": schedule_settings(self.schedule),
        }


def diffusion_draws(
    latents: LatentStore, schedule: Schedule, generator: torch.Generator, batch_size: int
) -> Tensors:
    """t (B,) uniform, eps (B, C, *S), and ``posterior`` noise where the store says sample."""
    shape = (batch_size, *latents.shape)
    draws = {
        "t": torch.randint(schedule.timesteps, (batch_size,), generator=generator),
        "eps": torch.randn(shape, generator=generator),
    }
    if latents.source == "sample":
        draws["posterior"] = torch.randn(shape, generator=generator)
    return draws


def clean_latents(batch: Tensors, draws: Tensors) -> torch.Tensor:
    """z_0 (B, C, *S): the posterior mean, or a sample of the posterior."""
    if "posterior" in draws:
        return batch["latent"] + batch["std"] * draws["posterior"]
    return batch["latent"]


def schedule_settings(schedule: Schedule) -> dict[str, float]:
    """The numbers of a schedule, for cards and for resuming."""
    return {
        "timesteps": schedule.timesteps,
        "beta_start": schedule.betas[0].item(),
        "beta_end": schedule.betas[-1].item(),
        "gamma": schedule.gamma,
    }
