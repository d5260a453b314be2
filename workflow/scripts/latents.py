"""Latent store: posterior mean and standard deviation of every scan."""

from _adapter import folder, job

with job(snakemake):
    from ldae.inference.latents import build_latent_store

    build_latent_store(
        folder(snakemake.input.volumes),
        folder(snakemake.input.autoencoder),
        folder(snakemake.output),
        snakemake.params.settings,
        fingerprint=snakemake.params.encoding,
    )
