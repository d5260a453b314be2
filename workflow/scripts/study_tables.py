"""Study tables that Clinica accepts, from the ones that were downloaded."""

from _adapter import job

with job(snakemake):
    from ldae.conversion.prepare_tables import prepare_tables

    prepare_tables(
        snakemake.input.tables,
        snakemake.output.tables,
        snakemake.output.provenance,
        snakemake.output.exclusions,
    )
