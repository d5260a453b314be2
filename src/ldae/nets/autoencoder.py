"""The compression model: MONAI's AutoencoderKL, and the patch discriminator it trains against."""

from collections.abc import Mapping
from typing import Any

from monai.networks.nets import AutoencoderKL, PatchDiscriminator

from ldae.nets.weights import load_pretrained

HOW_TO_STAGE = (
    "Put the weights of an AutoencoderKL there as safetensors with MONAI's key names, "
    "or set autoencoder.pretrained to null to train from scratch."
)


def build_autoencoder(cfg: Mapping[str, Any]) -> AutoencoderKL:
    """Build the autoencoder of the ``autoencoder`` section of the config (Table 2).

    No attention; 13,766,248 parameters in the paper's configuration. ``encode(x)[0]`` is the
    posterior mean; ``encode_stage_2_inputs`` draws a sample.

    Raises:
        UserError: ``pretrained`` names a file that is missing or does not fit.
    """
    levels = len(cfg["channels"])
    net = AutoencoderKL(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        channels=cfg["channels"],
        num_res_blocks=cfg["num_res_blocks"],
        attention_levels=[False] * levels,
        latent_channels=cfg["latent_channels"],
        norm_num_groups=cfg["norm_num_groups"],
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )
    if cfg["pretrained"] is not None:
        load_pretrained(net, cfg["pretrained"], "autoencoder.pretrained", HOW_TO_STAGE)
    return net


def build_discriminator(cfg: Mapping[str, Any]) -> PatchDiscriminator:
    """Build the discriminator of ``autoencoder.adversarial`` (Table 2; 11,048,769 parameters).

    Its forward returns the features of every layer; the last item holds the patch logits.
    """
    return PatchDiscriminator(
        spatial_dims=3,
        channels=cfg["channels"],
        in_channels=1,
        out_channels=1,
        num_layers_d=cfg["num_layers"],
    )
