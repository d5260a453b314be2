"""Memory of a training on a GPU, by stage and micro-batch, followed on tensors without content.

A :class:`Step` repeats a stage's networks and its loss, in the types of that objective's
``backward``, and its largest calls of a validation.
"""

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from ldae.compute import reduce_weights
from ldae.config import section_name
from ldae.nets.memory import build_hollow, peak_bytes, weight_bytes, without_content
from ldae.nets.shapes import latent_shape

GRADIENT, ADAM = 1, 2  # bytes over those of the weights; Adam keeps two moments


class Upstream(NamedTuple):
    """What a stage takes from others: shape of the volumes (X, Y, Z), architectures."""

    shape: Sequence[int]
    autoencoder: Mapping[str, Any]
    ldm: Mapping[str, Any]


@dataclass
class Step:
    """A stage's networks and its loss on a micro-batch of made-up data.

    Attributes:
        trained: Networks that take gradients.
        losses: Functions that each compute one scalar, to be differentiated one after the other.
        frozen: Networks that are there as well.
        validation: Calls of a validation, of which no graph is kept.
        ema: Whether the weights are averaged.
    """

    trained: list[nn.Module]
    losses: list[Callable[[], Tensor]]
    frozen: list[nn.Module] = field(default_factory=list)
    validation: list[Callable[[], Tensor]] = field(default_factory=list)
    ema: bool = True

    def run(self) -> None:
        """Forward and backward; gradients accumulate."""
        for loss in self.losses:
            loss().backward()

    def validate(self) -> None:
        """All calls of the validation."""
        with torch.no_grad():
            for call in self.validation:
                call()

    def state_bytes(self) -> int:
        """Bytes of weights, their gradients, Adam's moments and averages."""
        trainable = [p for net in self.trained for p in net.parameters() if p.requires_grad]
        copies = GRADIENT + ADAM + self.ema
        extra = copies * sum(p.numel() * p.element_size() for p in trainable)
        return weight_bytes([*self.trained, *self.frozen]) + extra


def training_memory(
    stage: str, section: Mapping[str, Any], upstream: Upstream, precision: str = "bf16"
) -> tuple[int, int]:
    """Bytes that a training needs at its peak, and those of them that are its state.

    Args:
        stage: Name of the training.
        section: Its section (:func:`ldae.training.settings.training_section`); ``micro_batch`` and
            ``checkpointing`` are a number and a truth value.
        upstream: What it takes from other stages.
        precision: bf16, fp16 or fp32.
    """
    with without_content():
        step = STEPS[section_name(stage)](section, upstream, autocast(precision))
        _drop_gradients(step)
        state = step.state_bytes()
        return state + peak_bytes([step.run, step.validate]), state


def autocast(precision: str, device: str = "cpu") -> Callable[[], Any]:
    """Maker of the contexts in which the networks run."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return lambda: torch.autocast(device, dtype=dtype, enabled=precision != "fp32")


def _frozen(net: nn.Module, cast: Callable[[], Any], device: str) -> nn.Module:
    """The network with weights in the type that a GPU keeps them in where they are not trained."""
    with cast():
        if torch.is_autocast_enabled(device):
            reduce_weights(net, torch.get_autocast_dtype(device))
    return net.eval()


def _drop_gradients(step: Step) -> None:
    """Free every gradient as soon as it is complete: its memory is counted with the state."""
    for net in step.trained:
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))


def autoencoder_step(
    section: Mapping[str, Any], upstream: Upstream, cast: Callable[[], Any], device: str = "cpu"
) -> Step:
    """Stage 1: reconstruction, perceptual distance and adversary; then the discriminator."""
    from ldae.nets.autoencoder import build_autoencoder, build_discriminator

    batch = section["micro_batch"]
    net = build_hollow(lambda: build_autoencoder({**section, "pretrained": None}), device)
    adversary = build_hollow(lambda: build_discriminator(section["adversarial"]), device)
    perceptual = hollow_perceptual(section["perceptual"], device)
    x = torch.rand(batch, 1, *upstream.shape, device=device)
    latest: list[Tensor] = []

    def judged(volume: Tensor) -> Tensor:
        with cast():
            logits = adversary(volume)[-1]
        return logits.float().square().mean()

    def generator() -> Tensor:
        with cast():
            mean, std = net.encode(x)
            x_hat = net.decode(mean + std * torch.randn_like(mean))
        x_hat = x_hat.float()
        latest[:] = [x_hat.detach()]
        loss = (x_hat - x).abs().mean()
        if perceptual is not None:
            with cast():
                loss = loss + perceptual(x_hat, x).float()
        adversary.requires_grad_(False)
        loss = loss + judged(x_hat)
        adversary.requires_grad_(True)
        return loss

    def discriminator() -> Tensor:
        return judged(latest[0]) + judged(x)

    def reconstruction() -> Tensor:
        with cast():
            return net.decode(net.encode(x)[0]).float()

    frozen = [] if perceptual is None else [perceptual]
    adversarial = section["adversarial"]["weight"] > 0
    losses = [generator, discriminator] if adversarial else [generator]
    return Step([net, adversary], losses, frozen, [reconstruction], ema=False)


def ldm_step(
    section: Mapping[str, Any], upstream: Upstream, cast: Callable[[], Any], device: str = "cpu"
) -> Step:
    """Stage 2: the denoiser."""
    from ldae.nets.autoencoder import build_autoencoder
    from ldae.nets.unet import build_unet

    size, batch = latent_shape(upstream.shape, upstream.autoencoder), section["micro_batch"]
    net = build_hollow(lambda: build_unet(section, size[0]), device)
    restored = {**upstream.autoencoder, "pretrained": None, "checkpointing": False}
    decoder = _frozen(build_hollow(lambda: build_autoencoder(restored), device), cast, device)
    z = torch.randn(batch, *size, device=device)
    t = torch.zeros(batch, dtype=torch.long, device=device)

    def loss() -> Tensor:
        with cast():
            eps = net(z, t)
        return eps.float().square().mean()

    def picture() -> Tensor:
        with cast():
            return decoder.decode(z[:1]).float()

    return Step([net], [loss], [decoder], [loss, picture])


def ldae_step(
    section: Mapping[str, Any], upstream: Upstream, cast: Callable[[], Any], device: str = "cpu"
) -> Step:
    """Stage 3: semantic encoder and gradient estimator on the frozen denoiser."""
    from ldae.nets.autoencoder import build_autoencoder
    from ldae.nets.execution import apply_execution_options
    from ldae.nets.gradient_estimator import build_guided_unet
    from ldae.nets.semantic_encoder import build_encoder
    from ldae.nets.unet import build_unet

    size, batch = latent_shape(upstream.shape, upstream.autoencoder), section["micro_batch"]
    ldm = {**upstream.ldm, "compile": False, "checkpointing": False}
    cfg = {**section["encoder"], "pretrained": None}
    encoder = build_hollow(lambda: build_encoder(cfg), device)
    guided = build_hollow(
        lambda: build_guided_unet(build_unet(ldm, size[0]), ldm, encoder.dim), device
    )
    for net in (encoder, guided):
        apply_execution_options(net, section)
    _frozen(guided.unet, cast, device)
    restored = {**upstream.autoencoder, "pretrained": None, "checkpointing": False}
    decoder = _frozen(build_hollow(lambda: build_autoencoder(restored), device), cast, device)
    draws = section["draws"]
    x = torch.rand(batch, 1, *upstream.shape, device=device)
    z = torch.randn(batch * draws, *size, device=device)
    t = torch.zeros(batch * draws, dtype=torch.long, device=device)

    def code() -> Tensor:
        with cast():
            return encoder(x).float().repeat_interleave(draws, dim=0)

    def loss() -> Tensor:
        y_sem = code()
        with cast():
            eps, g = guided(z, t, y_sem)
        return (eps.float() - g.float()).square().mean()

    def generated() -> Tensor:
        with cast():
            return decoder.decode(z[:batch]).float()

    unet = guided.unet
    return Step([encoder, guided.estimator], [loss], [unet, decoder], [loss, generated])


def dae_step(
    section: Mapping[str, Any], upstream: Upstream, cast: Callable[[], Any], device: str = "cpu"
) -> Step:
    """Voxel-space DAE: semantic encoder and conditional denoiser."""
    from ldae.nets.conditional_unet import build_conditional_unet
    from ldae.nets.execution import apply_execution_options
    from ldae.nets.semantic_encoder import build_slice_encoder

    batch, cfg = section["micro_batch"], {**section["encoder"], "pretrained": None}
    encoder = build_hollow(
        lambda: apply_execution_options(build_slice_encoder(cfg), section), device
    )
    net = build_hollow(lambda: build_conditional_unet(section, encoder.dim), device)
    x = torch.rand(batch, 1, *section["shape"], device=device)
    t = torch.zeros(batch, dtype=torch.long, device=device)

    def loss() -> Tensor:
        noisy = 2 * x - 1
        with cast():
            y_sem = encoder(x).float()
        with cast():
            eps = net(noisy, t, y_sem)
        return (eps.float() - x).square().mean()

    return Step([encoder, net], [loss], [], [loss])


def supervised_step(
    section: Mapping[str, Any], upstream: Upstream, cast: Callable[[], Any], device: str = "cpu"
) -> Step:
    """Supervised baseline: semantic encoder and head."""
    from ldae.nets.semantic_encoder import build_supervised

    cfg = {**section, "encoder": {**section["encoder"], "pretrained": None}}
    net = build_hollow(lambda: build_supervised(cfg, len(cfg["classes"])), device)
    x = torch.rand(section["micro_batch"], 1, *upstream.shape, device=device)

    def loss() -> Tensor:
        with cast():
            predicted = net(x).float()
        return predicted.square().mean()

    return Step([net], [loss], [], [loss], ema=False)


STEPS: dict[str, Callable[..., Step]] = {
    "autoencoder": autoencoder_step,
    "ldm": ldm_step,
    "ldae": ldae_step,
    "dae": dae_step,
    "supervised": supervised_step,
}


def hollow_perceptual(cfg: Mapping[str, Any], device: str = "cpu") -> nn.Module | None:
    """The perceptual loss with zero weights, which costs as much as with real ones; or None."""
    if cfg["net"] is None or cfg["weight"] == 0:
        return None
    import ldae.nets._torchvision  # noqa: F401

    # isort: split
    import lpips
    from safetensors.torch import save_file

    from ldae.nets.perceptual import Fake3DPerceptual, Lpips

    with unset_fake_temporarily(), tempfile.TemporaryDirectory() as folder:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision's deprecation of `pretrained`
            names = lpips.LPIPS(pretrained=False, net=cfg["net"], pnet_rand=True, verbose=False)
        path = Path(folder) / "zeros.safetensors"
        save_file({k: torch.zeros(v.shape) for k, v in names.state_dict().items()}, path)
        return Fake3DPerceptual(Lpips(cfg["net"], path), cfg["fake_3d_ratio"]).to(device)
