"""Tables of the reconstruction of external test sets."""

from _adapter import job

with job(snakemake):
    from ldae.evaluation.external_reconstruction import external_reconstruction_tables

    external_reconstruction_tables(
        snakemake.input.external,
        snakemake.input.own,
        snakemake.params.cohorts,
        snakemake.params.reference,
        snakemake.output.table,
        snakemake.output.differences,
        snakemake.params.resamples,
        snakemake.params.seed,
    )
