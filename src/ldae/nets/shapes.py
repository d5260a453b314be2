"""Shape checks: volume, autoencoder and UNet must fit together before anything is computed."""

from collections.abc import Mapping, Sequence
from typing import Any

from ldae.errors import UserError

AXES = "xyz"


def latent_shape(
    volume_shape: Sequence[int], autoencoder_cfg: Mapping[str, Any]
) -> tuple[int, int, int, int]:
    """Shape (C, X, Y, Z) of the latent of a volume of ``volume_shape`` (X, Y, Z) voxels."""
    factor = 2 ** (len(autoencoder_cfg["channels"]) - 1)
    x, y, z = (side // factor for side in volume_shape)
    return autoencoder_cfg["latent_channels"], x, y, z


def check_dae_shape(cfg: Mapping[str, Any]) -> None:
    """Check that every side of ``dae.shape`` can be halved as often as its UNet halves it.

    Raises:
        UserError: naming the axis, the factor it needs and the nearest sizes that fit.
    """
    levels = len(cfg["channel_mult"])
    for axis, side in enumerate(cfg["shape"]):
        factor = 2 ** (levels - 1) if cfg["resample"] == "isotropic" or axis > 0 else 1
        if side % factor:
            low = side // factor * factor
            nearest = f"{low} or {low + factor}" if low else f"{factor}"
            raise UserError(
                f"dae.shape {list(cfg['shape'])}: the {AXES[axis]} side of {side} voxels must be a "
                f"multiple of {factor} for the UNet's {levels} levels; use {nearest}."
            )


def check_shapes(
    volume_shape: Sequence[int], autoencoder_cfg: Mapping[str, Any], ldm_cfg: Mapping[str, Any]
) -> None:
    """Check that every side of the volume can be halved as often as the two networks halve it.

    Args:
        volume_shape: ``volumes.shape``, three numbers of voxels.
        autoencoder_cfg: The ``autoencoder`` section.
        ldm_cfg: The ``ldm`` section.

    Raises:
        UserError: naming the axis, the factor it needs and the nearest sizes that fit.
    """
    if len(volume_shape) != 3:
        raise UserError(f"volumes.shape must be three numbers, not {list(volume_shape)}.")
    compression = 2 ** (len(autoencoder_cfg["channels"]) - 1)
    unet = 2 ** (len(ldm_cfg["channel_mult"]) - 1)
    for axis, side in enumerate(volume_shape):
        halved = ldm_cfg["resample"] == "isotropic" or axis > 0
        factor = compression * (unet if halved else 1)
        if side < factor or side % factor:
            low = side // factor * factor
            nearest = f"{low} or {low + factor}" if low else f"{factor}"
            raise UserError(
                f"volumes.shape {list(volume_shape)}: the {AXES[axis]} side of {side} voxels must "
                f"be a multiple of {factor} ({compression} for the autoencoder's "
                f"{len(autoencoder_cfg['channels'])} levels"
                + (f" times {unet} for the UNet's {len(ldm_cfg['channel_mult'])}" if halved else "")
                + f"); use {nearest}."
            )
