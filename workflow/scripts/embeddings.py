"""y_sem of every scan, by the trained encoder and by the same encoder before its training."""

from _adapter import folder, job

with job(snakemake):
    from ldae.inference.embeddings import embed

    for system in ("ldae", "untrained"):
        embed(
            folder(snakemake.input.volumes),
            folder(snakemake.input.ldae),
            folder(snakemake.input.ldm),
            snakemake.output[system],
            system,
            snakemake.config["device"],
            snakemake.threads,
            batch_size=snakemake.params.batch_size,
        )
