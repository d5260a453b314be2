"""Vectors of every scan by an encoder of others."""

from _adapter import folder, job

with job(snakemake):
    from ldae.inference.external_encoder import embed_with

    embed_with(
        snakemake.wildcards.encoder,
        snakemake.params.encoder,
        folder(snakemake.input.volumes),
        snakemake.output[0],
        snakemake.config["device"],
        snakemake.threads,
        snakemake.params.batch_size,
    )
