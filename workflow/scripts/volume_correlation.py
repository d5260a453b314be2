"""Whether the volumes of decoded images follow those of their scans."""

from _adapter import job

with job(snakemake):
    from ldae.evaluation.reconstruction_tables import volume_correlation_table

    volume_correlation_table(
        snakemake.input.scans,
        snakemake.output.table,
        snakemake.params.resamples,
        snakemake.params.seed,
    )
