"""Networks of others that map a volume to a vector: those of MONAI and timm, and TorchScript files.

Weights are tensors alone (safetensors); nothing of a file is run but a TorchScript network, which
is a program in itself.
"""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ldae.errors import UserError, require
from ldae.nets.pretrained import load_strictly, load_weights
from ldae.nets.timm_import import timm

KINDS = ("monai", "timm", "torchscript")
STAGE = "Give path the file of its weights."
POOLS = ("none", "mean", "first")


class VolumeEncoder(nn.Module):
    """A network whose output is made a vector for each volume.

    Args:
        net: The network; takes volumes (B, 1, X, Y, Z). The first of several outputs counts.
        pool: What becomes of an output that is no vector. ``none``: it is refused; ``mean``: the
            mean over positions, of tokens (B, N, d) or maps (B, d, x, y, z); ``first``: the first
            token.
        what: Name of the encoder, for messages.
    """

    def __init__(self, net: nn.Module, pool: str, what: str):
        super().__init__()
        self.net, self.pool, self.what = net, pool, what

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (B, d) of volumes (B, 1, X, Y, Z).

        Raises:
            UserError: the network does not take such volumes, or gives no vectors.
        """
        try:
            out = self.net(x)
        except (RuntimeError, ValueError, TypeError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise UserError(
                f"{self.what}: the network does not take volumes of shape {tuple(x.shape)} "
                f"({lines[-1] if lines else type(error).__name__}). Set its grid and arguments."
            ) from error
        if isinstance(out, tuple) and out:  # a list is of layers, none of them the output
            out = out[0]
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        if isinstance(out, Tensor) and len(out) == len(x):
            if out.ndim == 2:
                return out
            if out.ndim == 3 and self.pool != "none":
                return out.mean(1) if self.pool == "mean" else out[:, 0]
            if out.ndim == 5 and self.pool == "mean":
                return out.mean((2, 3, 4))
        raise UserError(
            f"{self.what}: the network's output for {len(x)} volume(s) is {shape}, no vector each. "
            "Set pool: mean, or first for the first token, or arguments that end it in a vector."
        )


class SliceMean(nn.Module):
    """A network of pictures as one of volumes: the mean of its features of all axial slices.

    Args:
        net: Takes pictures (B, C, X, Y), gives features (B, d).
        channels: C; slices are repeated for each.
    """

    def __init__(self, net: nn.Module, channels: int):
        super().__init__()
        self.net, self.channels = net, channels

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, d) of volumes (B, 1, X, Y, Z), one volume at a time."""
        slices = x.permute(0, 4, 1, 2, 3).expand(-1, -1, self.channels, -1, -1)
        return torch.stack([self.net(volume).mean(0) for volume in slices])


def build_encoder(name: str, about: dict[str, Any]) -> VolumeEncoder:
    """Build an encoder and load its weights, which have to fit.

    Args:
        name: Its name in the configuration.
        about: ``evaluation.external_encoders.NAME``.

    Raises:
        UserError: there is no such network, or it does not go with its arguments or weights, or
            lacks a package.
    """
    what = f"evaluation.external_encoders.{name}"
    makers = {"monai": _monai, "timm": _timm, "torchscript": _torchscript}
    net = makers[about["kind"]](about, what)
    return VolumeEncoder(net, about.get("pool", "none"), what).eval()


def _monai(about: dict[str, Any], what: str) -> nn.Module:
    from monai.networks import nets

    make = getattr(nets, about["network"], None)
    require(
        inspect.isclass(make) or inspect.isfunction(make),
        f"{what}: MONAI has no network {about['network']!r} in monai.networks.nets.",
    )
    net = _made(make, about, what)
    load_strictly(net, load_weights(about["path"], what, STAGE), about["path"])
    return net


def _timm(about: dict[str, Any], what: str) -> nn.Module:
    name = about["network"]
    require(timm().is_model(name), f"{what}: timm has no network {name!r}; see timm.list_models().")
    net = _made(lambda **given: timm().create_model(name, pretrained=False, **given), about, what)
    load_strictly(net, load_weights(about["path"], what, STAGE), about["path"])
    net.reset_classifier(0)
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    return SliceMean(net, first.in_channels)


def _torchscript(about: dict[str, Any], what: str) -> nn.Module:
    path = Path(about["path"])
    require(path.is_file(), f"{what}: the file {path} does not exist.")
    try:
        return torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        raise UserError(f"{what}: {path} is not a whole file of torch.jit.save.") from error


def _made(make: Any, about: dict[str, Any], what: str) -> nn.Module:
    """A network of random weights."""
    try:
        return make(**about.get("arguments", {}))
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{what}: {about['network']} needs a package that is not installed: {reason}"
        ) from error
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"{what}.arguments: {about['network']} refuses them: {error}") from error
