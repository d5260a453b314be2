"""Autoencoder of stage 1: MONAI's AutoencoderKL, and its patch discriminator."""

from collections.abc import Mapping
from typing import Any

from monai.networks.nets import AutoencoderKL, PatchDiscriminator
from monai.networks.nets.autoencoderkl import AEKLResBlock, Decoder, Encoder
from torch import Tensor, nn

from ldae.nets.blocks import FACTORS, repeat_voxels
from ldae.nets.execution import (
    Recomputable,
    apply_execution_options,
    call_recomputed,
    guard_gradients,
)
from ldae.nets.normalisation import GroupNorm, GroupNormSiLU, channels_last, keeps_reduced
from ldae.nets.pretrained import load_strictly, load_weights, monai_autoencoder

HOW_TO_STAGE = (
    "Put the weights of an AutoencoderKL there, as safetensors or as the torch file of MONAI's "
    "bundle, or set autoencoder.pretrained to null to train from scratch."
)


class _Blocks(Recomputable):
    """MONAI's loop over the blocks of an encoder or decoder, recomputed if asked."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, X, Y, Z) through all blocks."""
        for block in self.blocks:
            x = channels_last(call_recomputed(block, x, recompute=self.checkpointing))
        return x


class BlockEncoder(_Blocks, Encoder):
    """MONAI's encoder with recomputable blocks."""


class BlockDecoder(_Blocks, Decoder):
    """MONAI's decoder with recomputable blocks."""


class ResidualBlock(AEKLResBlock):
    """MONAI's residual block, whose normalisations apply SiLU themselves."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, X, Y, Z) to (B, C', X, Y, Z)."""
        h = self.conv2(self.norm2(self.conv1(self.norm1(x))))
        return self.nin_shortcut(x) + h


class NearestUpsample(nn.Upsample):
    """Upsampling of MONAI's decoder, by 2; on a GPU it stays in reduced precision.

    CUDA's autocast would copy the volume to float32, and PyTorch's kernel would undo its layout.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, X, Y, Z) to twice the size."""
        return repeat_voxels(x, FACTORS["isotropic"]) if keeps_reduced(x) else super().forward(x)


# Same attributes and state dict: only the forward pass differs.
CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    Encoder: BlockEncoder,
    Decoder: BlockDecoder,
    AEKLResBlock: ResidualBlock,
    nn.Upsample: NearestUpsample,
}


def _adopt_classes(net: nn.Module) -> None:
    """Give the modules of MONAI's autoencoder the classes of this project, in place."""
    for module in net.modules():
        if isinstance(module, AEKLResBlock):
            module.norm1.__class__ = module.norm2.__class__ = GroupNormSiLU
        module.__class__ = CLASSES.get(type(module), type(module))
    for module in net.modules():
        if type(module) is nn.GroupNorm:  # the encoder's last one
            module.__class__ = GroupNorm


def build_autoencoder(cfg: Mapping[str, Any]) -> AutoencoderKL:
    """Build the autoencoder of the ``autoencoder`` section of the config (Table 2).

    No attention; 13,766,248 parameters in the paper's configuration. ``encode(x)[0]`` is the
    posterior mean; ``encode_stage_2_inputs`` draws a sample. MONAI's own ``use_checkpoint``
    recomputes a whole encoder at once, which does not lower the peak memory. Here every block is
    recomputed on its own.

    Optional keys: ``checkpointing`` and ``compile`` (see :mod:`ldae.nets.execution`).

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
    _adopt_classes(net)
    if cfg["pretrained"] is not None:
        path = str(cfg["pretrained"])
        state = load_weights(path, "autoencoder.pretrained", HOW_TO_STAGE)
        load_strictly(net, monai_autoencoder(state), path)
    guard_gradients(
        net, "autoencoder", "autoencoder.precision: fp32, or choose another volumes.shape"
    )
    return apply_execution_options(net, cfg)


def build_discriminator(cfg: Mapping[str, Any]) -> PatchDiscriminator:
    """Build the discriminator of ``autoencoder.adversarial`` (Table 2; 11,048,769 parameters).

    Its forward returns the features of every layer; the last item holds the patch logits.
    """
    net = PatchDiscriminator(
        spatial_dims=3,
        channels=cfg["channels"],
        in_channels=1,
        out_channels=1,
        num_layers_d=cfg["num_layers"],
    )
    guard_gradients(
        net,
        "discriminator",
        "autoencoder.precision: fp32, or choose another autoencoder.adversarial.num_layers",
    )
    return net
