"""Embeddings: y_sem of every scan, by each system that the rule has an output for."""

from _adapter import definition, folder, job

with job(snakemake):
    from ldae.inference.embeddings import embed

    for system, out in snakemake.output.items():
        embed(
            system,
            definition(snakemake.params.encoders[system]),
            folder(snakemake.input.model),
            folder(snakemake.input.volumes),
            out,
            snakemake.config["device"],
            snakemake.threads,
            snakemake.params.batch_size,
        )
