"""Converter of the authors' published weights to model folders, for evaluation without training.

    ldae convert-weights --autoencoder autoencoderkl.pth --encoder encoder.pth \
        --decoder decoder.pth --out results/published --volumes results/cache/volumes

or, from a Lightning checkpoint of their third stage, ``--ldae best.ckpt`` in place of all three.
In the workflow the rule ``published`` does this where the config section of that name has files.
Only tensors are read from the files (:mod:`ldae.nets.torch_files`). A tensor without a place in our
networks, or one that they lack, is an error that names it
(:mod:`ldae.models.published.key_names`).

The cards record what differs from a model trained here: the architecture of the authors'
configuration, and the latents' constant scale of 0.8730 (latents drawn from the posterior). They
also say that the authors' training subjects are unknown. The authors' volumes were made by another
registration (SyN to the ANTs MNI template). They have that template's orientation, which could not
be established here; ours are RAS+.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ldae.config import slice_branch
from ldae.models.published.authors_model import (
    ARCHITECTURE,
    FLAG,
    LATENT_SCALE,
    UNKNOWN_TRAINING_SCANS,
)
from ldae.models.published.key_names import load_encoder, load_guided
from ldae.models.storage import ldae_state, save_model
from ldae.nets.autoencoder import build_autoencoder
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.pretrained import load_strictly, monai_autoencoder, tensors_below
from ldae.nets.semantic_encoder import build_slice_encoder
from ldae.nets.torch_files import read_torch_file, state_dict_of
from ldae.nets.unet import build_unet

log = logging.getLogger("ldae.models.published.convert")


def read_part(path: str | Path, what: str, *prefixes: str) -> dict[str, Tensor]:
    """Read one network's tensors from a file that holds it alone, or below one of ``prefixes``.

    Raises:
        UserError: the file cannot be read or holds no state dict.
    """
    return tensors_below(state_dict_of(read_torch_file(path, what), path, what), *prefixes)


def convert(
    autoencoder: str | Path,
    encoder: str | Path,
    decoder: str | Path,
    out: str | Path,
    volumes: str | Path | None = None,
    latent_scale: float = LATENT_SCALE,
    architecture: Mapping[str, Mapping[str, Any]] = ARCHITECTURE,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write the model folders ``autoencoder``, ``ldm`` and ``ldae`` below ``out``.

    Args:
        autoencoder: State dict of the AutoencoderKL, or a checkpoint of their first or third stage.
        encoder: State dict of the semantic encoder, or a checkpoint of the third stage, whose
            averaged weights are taken.
        decoder: As ``encoder``, of the denoiser with its gradient estimator.
        out: Parent of the model folders.
        volumes: The volume store to evaluate on, whose form goes into the cards; without it
            evaluation refuses the models.
        latent_scale: Factor that the latents were multiplied by in training.
        architecture: Architectures of the networks, and the noise schedule, as
            :data:`ldae.models.published.authors_model.ARCHITECTURE`.
        record: Inputs that the conversion depends on, for the cards; None outside the workflow.

    Raises:
        UserError: a file cannot be read; or tensors, which are named, are missing, unexpected or
            of another shape.
    """
    out = Path(out)
    # The untrained control takes its architecture and this seed from the card.
    common = {**_data(volumes), "published": True, "seed": 0, "told": record}
    flags = [FLAG, UNKNOWN_TRAINING_SCANS]

    shape = {**architecture["autoencoder"], "pretrained": None}
    compression = build_autoencoder(shape)
    weights = read_part(autoencoder, "--autoencoder", "vae.", "model.")
    load_strictly(compression, monai_autoencoder(weights), str(autoencoder))
    card = {"kind": "autoencoder", "architecture": dict(architecture["autoencoder"]), **common}
    saved = save_model(out / "autoencoder", compression.state_dict(), card, flags)
    log.info("%s: the autoencoder", out / "autoencoder")
    common |= {
        "autoencoder_sha256": saved["sha256"],
        "latent_scale": latent_scale,
        "diffusion": dict(architecture["diffusion"]),
    }

    semantic = build_slice_encoder({**architecture["encoder"], "pretrained": None})
    load_encoder(semantic, read_part(encoder, "--encoder", "ema_encoder."), str(encoder))
    channels = architecture["autoencoder"]["latent_channels"]
    unet = build_unet(architecture["ldm"], channels)
    guided = build_guided_unet(unet, architecture["ldm"], semantic.dim)
    load_guided(guided, read_part(decoder, "--decoder", "ema_decoder."), str(decoder))
    card = {"kind": "ldm", "architecture": dict(architecture["ldm"]), **common}
    saved = save_model(
        out / "ldm", guided.unet.state_dict(), card | {"latent_channels": channels}, flags
    )
    log.info("%s: the denoiser", out / "ldm")
    card = {"kind": "ldae", "architecture": slice_branch(architecture["encoder"]), **common}
    card |= {"y_dim": semantic.dim, "ldm_sha256": saved["sha256"]}
    save_model(out / "ldae", ldae_state(semantic, guided.estimator), card, flags)
    log.info("%s: semantic encoder and gradient estimator", out / "ldae")


def _data(volumes: str | Path | None) -> dict[str, Any]:
    """Entries of the card on the data: the authors', and the form of the volume store."""
    known = {"data": "published", "split": "published", "form": None}
    if volumes is None:
        return known
    from ldae.data.volume_store import VolumeStore

    return known | {"form": VolumeStore(volumes).form}
