"""Small networks for the unit tests: same code as the paper's, seconds instead of minutes."""

from pathlib import Path

import torch
import yaml
from torch import nn

PAPER = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text())
for _section in ("autoencoder", "ldm", "ldae", "dae", "supervised"):
    # The networks take what a training has chosen.
    PAPER[_section] |= {"checkpointing": False, "compile": False}
SMALL_LDM = {
    **PAPER["ldm"],
    "base_channels": 8,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_factors": [2],
    "num_heads": 2,
    "norm_num_groups": 4,
}
SMALL_AE = {
    **PAPER["autoencoder"],
    "channels": [8, 16],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "pretrained": None,
}
SMALL_ENCODER = {
    **PAPER["ldae"]["encoder"],
    "backbone": "convnext_atto",
    "backbone_kwargs": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
    "pretrained": None,
    "num_heads": 4,
}
Y_DIM = 6


def count(net: nn.Module, trainable: bool = False) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad or not trainable)


def randomise(net: nn.Module) -> nn.Module:
    """Give every parameter a value, as training would: zero-initialised layers hide mistakes."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net


def latents(batch: int = 2, channels: int = 3, size: tuple[int, ...] = (4, 6, 4)) -> torch.Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))
