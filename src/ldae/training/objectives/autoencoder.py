"""Stage 1: the compression model (Table 2)."""

from collections.abc import Mapping
from typing import Any

import torch
from monai.losses import PatchAdversarialLoss
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from ldae.compute import Compute, Tensors, detached
from ldae.data.datasets import Volumes
from ldae.data.volume_store import VolumeStore
from ldae.nets.autoencoder import build_autoencoder, build_discriminator
from ldae.nets.shapes import latent_shape
from ldae.seeds import derive_seed
from ldae.training.callbacks import Pictures
from ldae.training.diagnostics import LatentActivity, latent_flags
from ldae.training.objectives.base import CheckInterrupted, Group, Losses, Objective
from ldae.training.validation import SHOWN, interleave_subjects, mean_ssim


class AutoencoderObjective(Objective):
    """L1 + KL + perceptual + patch-adversarial loss; selected by validation SSIM (section 4.2).

    Args:
        volumes: The volume store.
        cfg: ``config["autoencoder"]``.
        compute: The device.
        seed: Seed of the initial weights and of every draw.
    """

    stage = "autoencoder"
    selects = "ssim"

    def __init__(self, volumes: VolumeStore, cfg: Mapping[str, Any], compute: Compute, seed: int):
        super().__init__(compute, seed)
        self.volumes, self.cfg = volumes, cfg
        self.latent_shape = latent_shape(volumes.shape, cfg)
        self.train_rows = volumes.rows("train")
        # Pictures show the first ones.
        self.val_rows = interleave_subjects(volumes.rows("val"), volumes.index["participant_id"])
        torch.manual_seed(derive_seed(seed, self.stage, "weights"))
        self.model = compute.place(build_autoencoder(cfg))
        self.groups["generator"] = Group({"autoencoder": self.model}, cfg["learning_rate"])
        adversary = cfg["adversarial"]
        self.discriminator: nn.Module | None = None
        if adversary["weight"] > 0:
            self.discriminator = compute.place(build_discriminator(adversary))
            self.groups["discriminator"] = Group(
                {"discriminator": self.discriminator},
                adversary["learning_rate"],
                adversary["grad_clip"],
            )
            self.adversarial_loss = PatchAdversarialLoss(
                criterion="least_squares", no_activation_leastsq=adversary["activation"] == "none"
            )
        self.perceptual = build_perceptual(cfg["perceptual"], compute)

    def dataset(self) -> Dataset:
        """Training volumes: ``volume`` (1, X, Y, Z)."""
        return Volumes(self.volumes, self.train_rows)

    def draw(self, generator: torch.Generator, batch_size: int) -> Tensors:
        """Noise of the posterior samples, and seeds for the slices of the perceptual loss."""
        return {
            "posterior": torch.randn(batch_size, *self.latent_shape, generator=generator),
            "slices": torch.randint(2**31, (batch_size,), generator=generator),
        }

    def backward(self, batch: Tensors, draws: Tensors, weight: float, epoch: int) -> Losses:
        """Gradient of the generator's loss, then of the discriminator's on the same pair."""
        cfg, x = self.cfg, batch["volume"]  # x: (B, 1, X, Y, Z)
        adversarial = self.discriminator is not None and epoch >= cfg["adversarial"]["start_epoch"]
        with self.compute.autocast():
            mean, std = self.model.encode(x)
            x_hat = self.model.decode(mean + std * draws["posterior"])
        x_hat, mean, std = x_hat.float(), mean.float(), std.float()
        losses = {"l1": functional.l1_loss(x_hat, x), "kl": kl_divergence(mean, std)}
        loss = losses["l1"] + cfg["kl_weight"] * losses["kl"]
        if self.perceptual is not None:
            slices = torch.Generator().manual_seed(int(draws["slices"][0]))
            with self.compute.autocast_on_gpu():
                losses["perceptual"] = self.perceptual(x_hat, x, slices).float()
            loss = loss + cfg["perceptual"]["weight"] * losses["perceptual"]
        if adversarial:
            self.discriminator.requires_grad_(False)
            losses["adversarial"] = self.judge(x_hat, real=True, trains_it=False)
            loss = loss + cfg["adversarial"]["weight"] * losses["adversarial"]
            self.discriminator.requires_grad_(True)
        self.compute.backward(weight * loss)
        if adversarial:
            fake = self.judge(x_hat.detach(), real=False, trains_it=True)
            losses["discriminator"] = 0.5 * (fake + self.judge(x, real=True, trains_it=True))
            self.compute.backward(weight * losses["discriminator"])
        return {"loss": loss.detach(), **{name: value.detach() for name, value in losses.items()}}

    def judge(self, x: torch.Tensor, real: bool, trains_it: bool) -> torch.Tensor:
        """Least-squares loss of the discriminator's patch logits for volumes (B, 1, X, Y, Z).

        Args:
            x: The volumes.
            real: Label that the logits are compared with.
            trains_it: Whether the loss trains the discriminator, not the generator.
        """
        with self.compute.autocast():
            logits = self.discriminator(x)[-1]
        return self.adversarial_loss(
            logits.float(), target_is_real=real, for_discriminator=trains_it
        )

    @torch.inference_mode()
    def validate(self, check_interrupted: CheckInterrupted) -> dict[str, float]:
        """L1 and SSIM of decode(posterior mean) on the validation split; latent activity."""
        total, ssim, size = 0.0, 0.0, self.cfg["micro_batch"]
        activity = LatentActivity()
        for start in range(0, len(self.val_rows), size):
            check_interrupted()
            x = self.compute.move(self.volumes.volumes(self.val_rows[start : start + size]))
            with self.compute.autocast():
                mean, std = self.model.encode(x)
                x_hat = self.model.decode(mean).float()
            total += functional.l1_loss(x_hat, x).item() * len(x)
            ssim += mean_ssim(x_hat, x, self.cfg["selection"]) * len(x)
            activity.add(mean, std)
        count = len(self.val_rows)
        return {"l1": total / count, "ssim": ssim / count, **activity.result()}

    def flags(self, metrics: dict[str, float]) -> list[str]:
        """Warnings of collapsed latent channels."""
        return latent_flags(metrics)

    @torch.inference_mode()
    def pictures(self, check_interrupted: CheckInterrupted) -> Pictures:
        """Validation scans and their reconstructions."""
        rows = []
        for row in self.val_rows[:SHOWN]:
            check_interrupted()
            x = self.compute.move(self.volumes.volumes([row]))
            with self.compute.autocast():
                x_hat = self.model.decode(self.model.encode(x)[0])
            rows.append(torch.cat([x[0], x_hat[0].float()]).cpu())
        return Pictures(("scan", "reconstruction"), torch.stack(rows))

    def model_state(self) -> Tensors:
        """Weights of the autoencoder, without the discriminator."""
        return detached(self.model.state_dict())

    def identity(self) -> dict[str, Any]:
        """Hash of the training data."""
        return {"data": self.volumes.training_hash}


def kl_divergence(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """KL from N(mean, std^2) to N(0, 1): summed over a latent (B, C, *S), averaged over B.

    The paper's weight of 1e-7 belongs to this sum.
    """
    terms = mean**2 + std**2 - torch.log(std**2) - 1
    return 0.5 * terms.flatten(1).sum(1).mean()


def build_perceptual(cfg: Mapping[str, Any], compute: Compute) -> nn.Module | None:
    """The frozen perceptual loss; None if it is switched off (``net`` null or ``weight`` 0)."""
    if cfg["net"] is None or cfg["weight"] == 0:
        return None
    from ldae.nets.perceptual import Fake3DPerceptual, Lpips

    lpips = Lpips(cfg["net"], cfg["weights"])
    return Fake3DPerceptual(lpips, cfg["fake_3d_ratio"]).to(compute.device).requires_grad_(False)
