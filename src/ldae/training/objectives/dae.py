"""The voxel-space diffusion autoencoder (Preechakul et al. 2022): the baseline of Tables 5 to 7."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ldae.compute import Compute, Tensors, detached
from ldae.data.augmentation import augmented, seen
from ldae.data.datasets import Volumes
from ldae.data.resize import ResizedVolumes
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.ddim import ddim_decode
from ldae.diffusion.schedule import Schedule, to_image, to_signal
from ldae.models.storage import dae_state
from ldae.nets.conditional_unet import build_conditional_unet
from ldae.nets.execution import apply_execution_options
from ldae.nets.semantic_encoder import build_slice_encoder
from ldae.seeds import derive_seed
from ldae.training.diagnostics import code_flags, code_spread
from ldae.training.ema import AveragedWeights, Ema
from ldae.training.objectives.base import CheckInterrupted, Group, Losses
from ldae.training.objectives.ldm import schedule_settings
from ldae.training.objectives.semantic import SemanticObjective
from ldae.training.validation import (
    QUARTILES,
    by_quartile,
    fixed_noise,
    interleave_subjects,
    mean_ssim,
    quartile_draws,
)


class DaeObjective(SemanticObjective):
    """Mean (eps - eps_theta(x_t, t, Enc(x_0)))^2 with t uniform (Eq. 5), all trained jointly.

    The diffusion works on volumes of ``dae.shape`` scaled to [-1, 1]; the encoder sees the same
    volumes in [0, 1]. As in stage 3, the weights are selected by the SSIM between these volumes and
    their decoding from y_sem and fixed noise (section 4.2), at this resolution.

    Args:
        volumes: The volume store.
        cfg: Section ``dae`` with the ``encoder`` of section ``ldae``.
        schedule: The noise schedule.
        compute: The device.
        seed: Seed of the initial weights and of every draw.
    """

    stage = "dae"
    selects = "ssim"

    def __init__(
        self,
        volumes: VolumeStore,
        cfg: Mapping[str, Any],
        schedule: Schedule,
        compute: Compute,
        seed: int,
    ):
        super().__init__(compute, seed)
        self.store, self.cfg, self.schedule = volumes, cfg, schedule.to(compute.device)
        self.volumes = ResizedVolumes(volumes, cfg["shape"], cfg["resize"])
        self.train_rows = volumes.rows("train")
        subjects = volumes.index["participant_id"]
        self.val_rows = interleave_subjects(volumes.rows("val"), subjects)[: cfg["validate_scans"]]
        self.val_subjects = subjects[self.val_rows].tolist()
        torch.manual_seed(derive_seed(seed, self.stage, "weights"))
        self.encoder = compute.place(
            apply_execution_options(build_slice_encoder(cfg["encoder"]), cfg)
        )
        self.unet = compute.place(build_conditional_unet(cfg, self.encoder.dim))
        trained = {"encoder": self.encoder, "unet": self.unet}
        self.groups["main"] = Group(trained, cfg["learning_rate"])
        self.ema = Ema(trained, cfg["ema_decay"])
        self.averaged_weights = AveragedWeights(
            self.ema, self.encoder, self.encode, self.volumes, self.train_rows, compute
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of a diffused volume: (1, X, Y, Z)."""
        return (1, *self.volumes.shape)

    def dataset(self) -> Dataset:
        """Training volumes at the DAE's resolution; the encoder's view may be augmented."""
        if "augmentation" not in self.cfg:
            return Volumes(self.volumes, self.train_rows)
        # Augmented on the store's grid, so that the same strengths are the same changes.
        scans, resize = Volumes(self.store, self.train_rows), self.volumes.resized
        return augmented(scans, self.cfg, self.store, self.seed, self.stage, resize)

    def draw(self, generator: torch.Generator, batch_size: int) -> Tensors:
        """Timesteps, and noise, or a seed for the noise of each scan (``dae.noise``)."""
        t = torch.randint(self.schedule.timesteps, (batch_size,), generator=generator)
        if self.cfg["noise"] == "by_scan":
            return {"t": t, "seed": torch.randint(2**32, (batch_size,), generator=generator)}
        return {"t": t, "eps": torch.randn(batch_size, *self.shape, generator=generator)}

    def noise(self, seeds: torch.Tensor) -> torch.Tensor:
        """Noise (B, 1, X, Y, Z) of scans with seeds (B,), drawn on the CPU, scan by scan."""
        drawn = [
            torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))
            for seed in seeds.tolist()
        ]
        return self.compute.move(torch.stack(drawn))

    def losses(
        self, x: torch.Tensor, code: torch.Tensor, t: torch.Tensor, eps: torch.Tensor
    ) -> torch.Tensor:
        """Loss of Eq. 5 for each item, (B,), of x and eps (B, 1, X, Y, Z), code (B, d), t (B,)."""
        x_t = self.schedule.q_sample(to_signal(x), t, eps)
        with self.compute.autocast():
            predicted = self.unet(x_t, t, code)
        return (predicted.float() - eps).square().flatten(1).mean(1)

    def backward(self, batch: Tensors, draws: Tensors, weight: float, epoch: int) -> Losses:
        """Gradient of the loss for encoder and denoiser."""
        x, t = batch["volume"], draws["t"]
        eps = draws["eps"] if "eps" in draws else self.noise(draws["seed"])
        losses = self.losses(x, self.encode(seen(batch)), t, eps)
        self.compute.backward(weight * losses.mean())
        losses = losses.detach()
        return {"loss": losses.mean(), **by_quartile(losses, t, self.schedule.timesteps)}

    @torch.inference_mode()
    def validate(self, check_interrupted: CheckInterrupted) -> dict[str, float]:
        """SSIM of decoding, loss by quartile of t, and spread of y_sem, all by the EMA weights."""
        ssim, codes = 0.0, []
        losses = torch.zeros(QUARTILES, dtype=torch.float64)
        size = self.cfg["micro_batch"]
        with self.as_judged():
            for start in range(0, len(self.val_rows), size):
                check_interrupted()
                rows = self.val_rows[start : start + size]
                x = self.compute.move(self.volumes.volumes(rows))
                code = self.encode(x)
                codes.append(code)
                made = self.generate(rows, code, check_interrupted)
                ssim += mean_ssim(made, x, self.cfg["selection"]) * len(rows)
                losses += self.fixed_losses(rows, x, code, check_interrupted)
        ssim, losses = ssim / len(self.val_rows), losses / len(self.val_rows)
        parts = {f"loss_q{q + 1}": losses[q].item() for q in range(QUARTILES)}
        spread = code_spread(torch.cat(codes), self.val_subjects)
        return {"ssim": ssim, "loss": losses.mean().item(), **parts, **spread}

    def fixed_losses(
        self,
        rows: np.ndarray,
        x: torch.Tensor,
        code: torch.Tensor,
        check_interrupted: CheckInterrupted,
    ) -> torch.Tensor:
        """Loss at fixed timesteps and noise, summed over ``rows``, by quartile of t: (4,)."""
        scans = self.store.index["scan_id"][rows]
        steps, noise = quartile_draws(scans, self.shape, self.schedule.timesteps, self.seed)
        sums = []
        for quartile in range(QUARTILES):
            check_interrupted()
            t, eps = map(self.compute.move, (steps[:, quartile], noise[:, quartile]))
            sums.append(self.losses(x, code, t, eps).sum().item())
        return torch.tensor(sums, dtype=torch.float64)

    def flags(self, metrics: dict[str, float]) -> list[str]:
        """Warnings of a collapsed y_sem."""
        return code_flags(metrics, len(set(self.val_subjects)))

    def generate(
        self, rows: np.ndarray, codes: torch.Tensor, check_interrupted: CheckInterrupted
    ) -> torch.Tensor:
        """Generate volumes (B, 1, X, Y, Z) in [0, 1] from codes (B, d) and fixed noise of rows."""
        scans = self.store.index["scan_id"][rows]
        noise = torch.stack([fixed_noise(self.seed, scan, self.shape) for scan in scans])
        x_0 = ddim_decode(
            self.eps_fn(codes, check_interrupted),
            self.compute.move(noise),
            self.schedule,
            self.cfg["validate_steps"],
            self.cfg["clamp"],
        )
        return to_image(x_0)

    def eps_fn(
        self, codes: torch.Tensor, check_interrupted: CheckInterrupted
    ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """The noise estimate as a function of x_t and t, for codes y_sem (B, d)."""

        def estimate(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            check_interrupted()
            with self.compute.autocast():
                return self.unet(x_t, t, codes).float()

        return estimate

    @torch.inference_mode()
    def model_state(self) -> Tensors:
        """EMA weights of encoder and denoiser."""
        with self.as_judged():
            return detached(dae_state(self.encoder, self.unet))

    def identity(self) -> dict[str, Any]:
        """The data and the schedule."""
        return {"data": self.store.training_hash, "diffusion": schedule_settings(self.schedule)}
