"""Latents of one shard of the scans, encoded by the autoencoder."""

from pathlib import Path

from _adapter import folder, job

with job(snakemake):
    from ldae.inference.latents import encode_shard

    encode_shard(
        folder(snakemake.input.volumes),
        folder(snakemake.input.autoencoder),
        Path(snakemake.output.card).parents[1],
        snakemake.output.card,
        (int(snakemake.wildcards.shard), snakemake.params.shards),
        snakemake.config["device"],
        snakemake.threads,
        fingerprint=snakemake.params.encoding,
    )
