"""Stage 2: the unconditional latent diffusion model (Table 3)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ldae.compute import Compute, Tensors, detached
from ldae.data.datasets import Latents
from ldae.data.latent_store import LatentStore
from ldae.diffusion.ddim import ddim_decode
from ldae.diffusion.schedule import Schedule
from ldae.errors import require
from ldae.nets.preconditioning import Preconditioning
from ldae.nets.unet import build_unet
from ldae.seeds import derive_seed
from ldae.training.callbacks import Pictures
from ldae.training.ema import Ema
from ldae.training.objectives.base import CheckInterrupted, Group, Losses, Objective
from ldae.training.validation import QUARTILES, SHOWN, by_quartile, fixed_noise, quartile_draws

if TYPE_CHECKING:
    from monai.networks.nets import AutoencoderKL

# eps: the network predicts the noise. velocity: see ldae.nets.preconditioning.
PREDICTIONS = ("eps", "velocity")


class LdmObjective(Objective):
    """Mean (eps - eps_theta(z_t, t))^2 with t uniform; the last epoch's EMA is kept (section 4.2).

    Args:
        latents: The latent store.
        cfg: ``config["ldm"]``.
        schedule: The noise schedule.
        compute: The device.
        seed: Seed of the initial weights and of every draw.
        autoencoder: Decodes samples for pictures; None: no pictures.
    """

    stage = "ldm"

    def __init__(
        self,
        latents: LatentStore,
        cfg: Mapping[str, Any],
        schedule: Schedule,
        compute: Compute,
        seed: int,
        autoencoder: "AutoencoderKL | None" = None,
    ):
        super().__init__(compute, seed)
        self.autoencoder = None if autoencoder is None else compute.place_frozen(autoencoder)
        self.latents, self.cfg, self.schedule = latents, cfg, schedule.to(compute.device)
        self.train_rows, self.val_rows = latents.rows("train"), latents.rows("val")
        torch.manual_seed(derive_seed(seed, self.stage, "weights"))
        known = preconditioning(cfg, latents, self.train_rows, schedule)
        self.model = compute.place(build_unet(cfg, latents.shape[0], known))
        self.groups["main"] = Group({"unet": self.model}, cfg["learning_rate"])
        self.ema = Ema({"unet": self.model}, cfg["ema_decay"])

    def dataset(self) -> Dataset:
        """Training latents, scaled."""
        return Latents(self.latents, self.train_rows)

    def draw(self, generator: torch.Generator, batch_size: int) -> Tensors:
        """Timesteps and noise; with a store of posterior samples also their noise."""
        return diffusion_draws(self.latents, self.schedule, generator, batch_size)

    def backward(self, batch: Tensors, draws: Tensors, weight: float, epoch: int) -> Losses:
        """Gradient of the noise-prediction loss."""
        z_0, t, eps = clean_latents(batch, draws), draws["t"], draws["eps"]
        with self.compute.autocast():
            predicted = self.model(self.schedule.q_sample(z_0, t, eps), t)
        losses = (predicted.float() - eps).square().flatten(1).mean(1)  # (B,)
        self.compute.backward(weight * losses.mean())
        losses = losses.detach()
        return {"loss": losses.mean(), **by_quartile(losses, t, self.schedule.timesteps)}

    @torch.inference_mode()
    def validate(self, check_interrupted: CheckInterrupted) -> dict[str, float]:
        """Noise-prediction loss of the EMA weights on the validation split, by quartile of t."""
        scans = self.latents.index["scan_id"][self.val_rows]
        steps, noise = quartile_draws(scans, self.latents.shape, self.schedule.timesteps, self.seed)
        z_0 = self.latents.latents(self.val_rows)
        losses = torch.zeros(QUARTILES, dtype=torch.float64)
        size = self.cfg["micro_batch"]
        with self.ema.applied():
            for quartile in range(QUARTILES):
                for start in range(0, len(z_0), size):
                    check_interrupted()
                    part = slice(start, start + size)
                    z, t, eps = map(
                        self.compute.move, (z_0[part], steps[part, quartile], noise[part, quartile])
                    )
                    with self.compute.autocast():
                        predicted = self.model(self.schedule.q_sample(z, t, eps), t)
                    each = (predicted.float() - eps).square().mean()
                    losses[quartile] += each.item() * len(z) / len(z_0)
        parts = {f"loss_q{q + 1}": losses[q].item() for q in range(QUARTILES)}
        return {"loss": losses.mean().item(), **parts}

    @torch.inference_mode()
    def pictures(self, check_interrupted: CheckInterrupted) -> Pictures | None:
        """Volumes decoded from unconditional samples by the EMA weights, from fixed noise."""
        if self.autoencoder is None:
            return None

        def eps_fn(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            check_interrupted()
            with self.compute.autocast():
                return self.model(z, t).float()

        shape, steps = self.latents.shape, self.cfg["sample_steps"]
        noise = torch.stack([fixed_noise(self.seed, number, shape) for number in range(SHOWN)])
        with self.ema.applied():
            z_0 = ddim_decode(eps_fn, self.compute.move(noise), self.schedule, steps)
        decoded = []
        for z in z_0 / self.latents.scale:
            check_interrupted()
            with self.compute.autocast():
                decoded.append(self.autoencoder.decode(z[None])[0, 0].float().cpu())
        columns = tuple(f"sample {number + 1}" for number in range(SHOWN))
        return Pictures(columns, torch.stack(decoded)[None])

    def model_state(self) -> Tensors:
        """The EMA weights."""
        with self.ema.applied():
            return detached(self.model.state_dict())

    def identity(self) -> dict[str, Any]:
        """The latents, whose hash covers their autoencoder, and the schedule."""
        return {
            "data": self.latents.training_hash,
            "latents_source": self.latents.source,
            "latents_variance": self.latents.variance,
            "diffusion": schedule_settings(self.schedule),
        }


def preconditioning(
    cfg: Mapping[str, Any], latents: LatentStore, rows: np.ndarray, schedule: Schedule
) -> Preconditioning | None:
    """Conversion of the network's output to eps by ``ldm.prediction``; None for ``eps`` itself.

    The mean latent that it needs is computed over ``rows``.

    Raises:
        UserError: an unknown value of ``ldm.prediction``.
    """
    require(
        cfg["prediction"] in PREDICTIONS,
        f"ldm.prediction is {cfg['prediction']!r}; allowed are {', '.join(PREDICTIONS)}.",
    )
    if cfg["prediction"] == "eps":
        return None
    known = Preconditioning(latents.shape, schedule.timesteps)
    total = torch.zeros(latents.shape, dtype=torch.float64)
    for row in rows:
        total += latents.latent(int(row))
    known.set(total / len(rows), schedule.alphas_cumprod.cpu())
    return known


def diffusion_draws(
    latents: LatentStore,
    schedule: Schedule,
    generator: torch.Generator,
    batch_size: int,
    chances: torch.Tensor | None = None,
) -> Tensors:
    """Draw t (B,), eps (B, C, *S), and ``posterior`` noise if the store's source is ``sample``.

    Timesteps are uniform, or drawn in proportion to ``chances`` (T,).
    """
    shape = (batch_size, *latents.shape)
    if chances is None:
        t = torch.randint(schedule.timesteps, (batch_size,), generator=generator)
    else:
        t = torch.multinomial(chances, batch_size, replacement=True, generator=generator)
    draws = {
        "t": t,
        "eps": torch.randn(shape, generator=generator),
    }
    if latents.source == "sample":
        draws["posterior"] = torch.randn(shape, generator=generator)
    return draws


def clean_latents(batch: Tensors, draws: Tensors) -> torch.Tensor:
    """z_0 (B, C, *S): the posterior mean, or with ``posterior`` noise a sample."""
    if "posterior" in draws:
        return batch["latent"] + batch["std"] * draws["posterior"]
    return batch["latent"]


def schedule_settings(schedule: Schedule) -> dict[str, float]:
    """Parameters of a schedule, for the run identity."""
    return {
        "timesteps": schedule.timesteps,
        "beta_start": schedule.betas[0].item(),
        "beta_end": schedule.betas[-1].item(),
        "gamma": schedule.gamma,
    }
