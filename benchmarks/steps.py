"""Training steps, one of each stage, for benchmarks/nets.py: operations and memory."""

import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ldae.nets._torchvision  # noqa: F401

# isort: split
import lpips
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from ldae.nets.autoencoder import build_autoencoder, build_discriminator
from ldae.nets.execution import apply_execution_options
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.perceptual import Fake3DPerceptual, Lpips
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.shapes import latent_shape
from ldae.nets.unet import build_unet


@dataclass
class Step:
    """A stage's networks and its loss on made-up data.

    Attributes:
        trained: Networks that take gradients.
        losses: Functions that each compute one scalar, to be differentiated one after the other.
        batch: Items in it.
    """

    trained: list[nn.Module]
    losses: list[Callable[[], Tensor]]
    batch: int

    def run(self, device: str) -> None:
        """Forward in bfloat16, and backward; gradients accumulate."""
        for loss in self.losses:
            with torch.autocast(device, dtype=torch.bfloat16):
                value = loss()
            value.backward()

    def bytes(self) -> int:
        """Bytes of weights, gradients and Adam's two moments."""
        return 4 * 4 * sum(p.numel() for net in self.trained for p in net.parameters())


def autoencoder_step(cfg: Mapping[str, Any], device: str) -> Step:
    """Stage 1: reconstruction, perceptual distance and adversary; then the discriminator."""
    section, batch = cfg["autoencoder"], cfg["autoencoder"]["micro_batch"]
    net = build_random(lambda: build_autoencoder({**section, "pretrained": None}), device)
    adversary = build_random(lambda: build_discriminator(section["adversarial"]), device)
    perceptual = random_perceptual(section["perceptual"], device)
    x = torch.rand(batch, 1, *cfg["volumes"]["shape"], device=device)
    latest: list[Tensor] = []

    def generator() -> Tensor:
        mean, std = net.encode(x)
        x_hat = net.decode(mean + std).float()
        latest[:] = [x_hat.detach()]
        adversary.requires_grad_(False)
        loss = (x_hat - x).abs().mean() + perceptual(x_hat, x) + adversary(x_hat)[-1].float().mean()
        adversary.requires_grad_(True)
        return loss

    def discriminator() -> Tensor:
        return adversary(latest[0])[-1].float().mean() + adversary(x)[-1].float().mean()

    return Step([net, adversary], [generator, discriminator], batch)


def ldm_step(cfg: Mapping[str, Any], device: str) -> Step:
    """Stage 2: the denoiser."""
    size = latent_shape(cfg["volumes"]["shape"], cfg["autoencoder"])
    batch = cfg["ldm"]["micro_batch"]
    net = build_random(lambda: build_unet(cfg["ldm"], size[0]), device)
    z = torch.randn(batch, *size, device=device)
    t = torch.zeros(batch, dtype=torch.long, device=device)
    return Step([net], [lambda: net(z, t).square().mean()], batch)


def ldae_step(cfg: Mapping[str, Any], device: str) -> Step:
    """Stage 3: semantic encoder and gradient estimator on the frozen denoiser."""
    size = latent_shape(cfg["volumes"]["shape"], cfg["autoencoder"])
    section, batch = cfg["ldae"], cfg["ldae"]["micro_batch"]
    ldm = {**cfg["ldm"], "compile": False}
    encoder = build_random(
        lambda: build_encoder({**section["encoder"], "pretrained": None}), device
    )
    guided = build_random(
        lambda: build_guided_unet(build_unet(ldm, size[0]), ldm, encoder.dim), device
    )
    for net in (encoder, guided):
        apply_execution_options(net, section)
    x = torch.rand(batch, 1, *cfg["volumes"]["shape"], device=device)
    z = torch.randn(batch, *size, device=device)
    t = torch.zeros(batch, dtype=torch.long, device=device)

    def loss() -> Tensor:
        eps, g = guided(z, t, encoder(x))
        return (eps - g).square().mean()

    return Step([encoder, guided.estimator], [loss], batch)


STEPS = {"autoencoder": autoencoder_step, "ldm": ldm_step, "ldae": ldae_step}


def build_random(build: Callable[[], nn.Module], device: str) -> nn.Module:
    """A network with small random weights, also of fake tensors, which some builders reject.

    It is built on the meta device without initialisation; its tensors are assigned afterwards.
    """
    with unset_fake_temporarily(), torch.device("meta"):
        net = build().train()
    for module in net.modules():
        for name, value in module.named_parameters(recurse=False):
            filled = nn.Parameter(0.02 * torch.randn(value.shape, device=device))
            module.register_parameter(name, filled.requires_grad_(value.requires_grad))
        for name, value in module.named_buffers(recurse=False):
            zeros = torch.zeros(value.shape, dtype=value.dtype, device=device)
            module.register_buffer(name, zeros, persistent=False)
    return net


def random_perceptual(cfg: Mapping[str, Any], device: str) -> nn.Module:
    """The perceptual loss with zero weights, which costs as much as with real ones."""
    with unset_fake_temporarily(), tempfile.TemporaryDirectory() as folder:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision's deprecation of `pretrained`
            names = lpips.LPIPS(pretrained=False, net=cfg["net"], pnet_rand=True, verbose=False)
        path = Path(folder) / "zeros.safetensors"
        save_file({k: torch.zeros(v.shape) for k, v in names.state_dict().items()}, path)
        return Fake3DPerceptual(Lpips(cfg["net"], path), cfg["fake_3d_ratio"]).to(device)


class PeakBytes(TorchDispatchMode):
    """Peak bytes of tensors made within the context and alive at once.

    Memory inside of kernels and the allocator's rounding are not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._note, out)
        return out

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._alive:
            self._alive.add(storage._cdata)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size
