"""Stage 3: semantic encoder and gradient estimator on the frozen diffusion model (Table 4)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

from ldae.data.latent_store import LatentStore
from ldae.data.sampling import derive_seed
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.ddim import ddim_decode
from ldae.diffusion.schedule import Schedule
from ldae.modelfile import ldae_state
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.unet import UNet
from ldae.training.compute import Compute
from ldae.training.datasets import LatentsAndVolumes
from ldae.training.ema import Ema
from ldae.training.encoding import initial_encoder, recalibrate
from ldae.training.ldm import clean_latents, diffusion_draws, schedule_settings
from ldae.training.objective import Beat, Group, Objective, Tensors, detached
from ldae.training.validation import QUARTILES, fixed_noise, mean_ssim, quartile_draws

if TYPE_CHECKING:
    from monai.networks.nets import AutoencoderKL


class LdaeObjective(Objective):
    """Mean lambda_t (eps - eps_theta + c_t G(z_t, y_sem, t))^2 (Eqs. 9 and 10).

    Selected by the SSIM between the scan and its decoding from y_sem and fixed noise (section 4.2).

    Args:
        volumes: The volume store.
        latents: The latent store made from it.
        autoencoder: Decoder of the validation.
        unet: The trained denoiser (its EMA weights); it is frozen.
        ldm_card: The denoiser's card.
        cfg: ``config["ldae"]``.
        schedule: The noise schedule.
        compute: The device.
        seed: Of initial weights and of every draw.
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
        self.train_rows = volumes.rows("train")
        self.val_rows = volumes.rows("val")[: cfg["validate_scans"]]
        self.autoencoder = compute.place(autoencoder)
        self.encoder = compute.place(initial_encoder(cfg["encoder"], seed))
        torch.manual_seed(derive_seed(seed, self.stage, "estimator"))
        guided = build_guided_unet(unet, ldm_card["architecture"], self.encoder.dim)
        self.guided = compute.place(guided)
        trained = {"encoder": self.encoder, "estimator": self.guided.estimator}
        self.groups["main"] = Group(trained, cfg["learning_rate"])
        self.ema = Ema(trained, cfg["ema_decay"])

    def dataset(self) -> Dataset:
        """Training latents with their volumes."""
        return LatentsAndVolumes(self.latents, self.volumes, self.train_rows)

    def draw(self, generator: torch.Generator, batch_size: int) -> Tensors:
        """Steps and noise; noise of the posterior too where samples are trained on."""
        return diffusion_draws(self.latents, self.schedule, generator, batch_size)

    def backward(self, batch: Tensors, draws: Tensors, share: float, epoch: int) -> Tensors:
        """Gradient of the weighted loss for encoder and estimator."""
        t, eps = draws["t"], draws["eps"]
        z_t = self.schedule.q_sample(clean_latents(batch, draws), t, eps)
        with self.compute.autocast():
            eps_theta, g = self.guided(z_t, t, self.encoder(batch["volume"]))
        guided = self.schedule.guided_eps(eps_theta.float(), g.float(), t)
        weights = self.schedule.at(self.schedule.weights, t, eps)
        loss = (weights * (eps - guided) ** 2).mean()
        (share * loss).backward()
        with torch.no_grad():
            frozen = (weights * (eps - eps_theta.float()) ** 2).mean()
        return {"loss": loss.detach(), "loss_frozen": frozen}

    @torch.inference_mode()
    def validate(self, beat: Beat) -> dict[str, float]:
        """SSIM from y_sem and fixed noise, and the loss with and without guidance, by EMA."""
        with self.averaged():
            return {"ssim": self.generation_ssim(beat), **self.guided_losses(beat)}

    def generation_ssim(self, beat: Beat) -> float:
        """SSIM(scan, decode(y_sem, fixed noise)), DDIM with ``validate_steps`` steps."""
        total, size = 0.0, self.cfg["micro_batch"]
        for start in range(0, len(self.val_rows), size):
            rows = self.val_rows[start : start + size]
            x = self.compute.move(self.volumes.volumes(rows))
            noise = torch.stack([fixed_noise(self.seed, row, self.latents.shape) for row in rows])

            eps_fn = partial(self.eps_hat, self.encode(x), beat)
            z_0 = ddim_decode(
                eps_fn, self.compute.move(noise), self.schedule, self.cfg["validate_steps"]
            )
            with self.compute.autocast():
                x_hat = self.autoencoder.decode(z_0 / self.latents.scale)
            total += mean_ssim(x_hat, x) * len(rows)
        return total / len(self.val_rows)

    def eps_hat(
        self, y_sem: torch.Tensor, beat: Beat, z: torch.Tensor, t: torch.Tensor
    ) -> torch.Tensor:
        """The guided noise estimate (Eq. 9) for codes y_sem (B, d)."""
        beat()
        with self.compute.autocast():
            eps, g = self.guided(z, t, y_sem)
        return self.schedule.guided_eps(eps.float(), g.float(), t)

    def guided_losses(self, beat: Beat) -> dict[str, float]:
        """Weighted loss at fixed steps and noise, and the frozen denoiser's at the same ones."""
        steps, noise = quartile_draws(
            self.val_rows, self.latents.shape, self.schedule.timesteps, self.seed
        )
        totals, size = torch.zeros(2, dtype=torch.float64), self.cfg["micro_batch"]
        for start in range(0, len(self.val_rows), size):
            part = slice(start, start + size)
            rows = self.val_rows[part]
            z_0 = self.compute.move(self.latents.latents(rows))
            y_sem = self.encode(self.compute.move(self.volumes.volumes(rows)))
            for quartile in range(QUARTILES):
                beat()
                t, eps = map(self.compute.move, (steps[part, quartile], noise[part, quartile]))
                with self.compute.autocast():
                    eps_theta, g = self.guided(self.schedule.q_sample(z_0, t, eps), t, y_sem)
                weights = self.schedule.at(self.schedule.weights, t, eps)
                guided = self.schedule.guided_eps(eps_theta.float(), g.float(), t)
                for i, estimate in enumerate((guided, eps_theta.float())):
                    loss = (weights * (eps - estimate) ** 2).mean().item()
                    totals[i] += loss * len(rows) / len(self.val_rows) / QUARTILES
        return {"loss": totals[0].item(), "loss_frozen": totals[1].item()}

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """y_sem (B, d), float32."""
        with self.compute.autocast():
            return self.encoder(x).float()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the context the networks hold the EMA weights, and statistics that fit them."""
        buffers = detached(dict(self.encoder.named_buffers()))
        with self.ema.applied():
            try:
                recalibrate(self.encoder, self.encode, self.volumes, self.train_rows, self.compute)
                yield
            finally:
                for key, buffer in self.encoder.named_buffers():
                    buffer.copy_(buffers[key])

    @torch.inference_mode()
    def model_state(self) -> Tensors:
        """EMA weights of encoder and estimator; the denoiser stays in its own file."""
        with self.averaged():
            return detached(ldae_state(self.encoder, self.guided.estimator))

    def identity(self) -> dict[str, Any]:
        """The data, the frozen denoiser and the schedule."""
        return {
            "data": self.volumes.sum,
            "latents": self.latents.sum,
            "latents_source": self.latents.source,
            "ldm": self.ldm_card["sha256"],
            "diffusion": schedule_settings(self.schedule),
        }
