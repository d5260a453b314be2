"""Number of trained parameters of each training, by which models and checkpoints take space.

The numbers of the shipped configuration stand in a table, so that a check imports no PyTorch, which
takes a third of a GB. Those of others are counted.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldae.files import digest
from ldae.training.network_keys import relevant

TABLE = Path(__file__).with_name("parameters.json")


def parameters(config: Mapping[str, Any]) -> dict[str, int]:
    """Number of trained parameters by training: from the table, or else counted."""
    known = json.loads(TABLE.read_text())
    return known["parameters"] if known["key"] == key_of(config) else count_parameters(config)


def key_of(config: Mapping[str, Any]) -> str:
    """Digest of all that the numbers of parameters depend on."""
    sections = {name: relevant(config[name]) for name in ("autoencoder", "ldm", "ldae", "dae")}
    return digest(
        {
            "sections": sections,
            "published": any(config["published"].values()),
            "baselines": sorted(config["baselines"]),
        }
    )


def count_parameters(config: Mapping[str, Any]) -> dict[str, int]:
    """Number of trained parameters by training; the networks are built without memory.

    They do not depend on ``checkpointing``, which may still be ``auto``.
    """
    import torch

    from ldae.nets.autoencoder import build_autoencoder, build_discriminator
    from ldae.nets.conditional_unet import build_conditional_unet
    from ldae.nets.gradient_estimator import build_guided_unet
    from ldae.nets.semantic_encoder import build_encoder, build_slice_encoder
    from ldae.nets.unet import build_unet

    def number(net: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in net.parameters())

    found = {}
    sections = ("autoencoder", "ldm", "dae")
    config = {**config, **{name: {**config[name], "checkpointing": False} for name in sections}}
    with torch.device("meta"):
        section = {**config["ldae"]["encoder"], "pretrained": None}
        encoder, slices = build_encoder(section), build_slice_encoder(section)
        if not any(config["published"].values()):
            cfg, channels = config["autoencoder"], config["autoencoder"]["latent_channels"]
            unet = build_unet(config["ldm"], channels)
            guided = build_guided_unet(build_unet(config["ldm"], channels), config["ldm"],
                                       encoder.dim)  # fmt: skip
            found["autoencoder"] = number(build_autoencoder({**cfg, "pretrained": None}))
            found["autoencoder"] += number(build_discriminator(cfg["adversarial"]))
            found["ldm"] = number(unet)
            found["ldae"] = number(guided) - number(unet) + number(encoder)
        if "ldae_slices" in config["baselines"]:
            unet = build_unet(config["ldm"], config["autoencoder"]["latent_channels"])
            of_slices = build_guided_unet(unet, config["ldm"], slices.dim)
            found["ldae_slices"] = number(of_slices.estimator) + number(slices)
        if "dae" in config["baselines"]:
            found["dae"] = number(build_conditional_unet(config["dae"], slices.dim))
            found["dae"] += number(slices)
        if "supervised" in config["baselines"]:
            found |= dict.fromkeys(("supervised_diagnosis", "supervised_age"), number(slices))
    return found
