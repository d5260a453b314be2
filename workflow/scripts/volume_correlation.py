"""Correlation of the volumes in decoded images with those in their scans."""

from _adapter import job

with job(snakemake):
    from ldae.evaluation.reconstruction_tables import volume_correlation_table

    volume_correlation_table(
        snakemake.input.scans,
        snakemake.output.table,
        snakemake.params.resamples,
        snakemake.params.seed,
    )
