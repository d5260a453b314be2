"""Command ``ldae convert-weights``: the authors' published weights as model folders."""

import logging

import click

from ldae.cli.options import PATH, Finite
from ldae.errors import require

PARTS = {
    "autoencoder": "Their AutoencoderKL.",
    "encoder": "Their semantic encoder.",
    "decoder": "Their denoiser with gradient estimator.",
    "ldae": "A checkpoint of their third stage that holds all.",
}


def _files(command):
    for name in reversed(PARTS):
        command = click.option(f"--{name}", type=PATH, help=PARTS[name])(command)
    return command


@click.command()
@_files
@click.option("--out", type=PATH, required=True, help="written: parent of the model folders.")
@click.option("--volumes", type=PATH, help="Volume store to evaluate on.")
@click.option("--latent-scale", type=Finite(0), help="Scale of their latents; else the known one.")
def convert_weights(out, volumes, latent_scale, **given) -> None:
    """Convert the authors' published weights to model folders.

    \b
    Example:
      ldae convert-weights --autoencoder autoencoderkl.pth --encoder encoder.pth \\
        --decoder decoder.pth --out models
    """
    from ldae.models.published.authors_model import published_files
    from ldae.models.published.convert import LATENT_SCALE, convert

    logging.getLogger().setLevel(logging.INFO)
    files = published_files(given, "--{}")
    require(bool(files), "Give --autoencoder, --encoder, --decoder, or --ldae with all three.")
    scale = LATENT_SCALE if latent_scale is None else latent_scale
    convert(**files, out=out, volumes=volumes, latent_scale=scale)
