"""Conversion of a study's raw download to BIDS, in Clinica's environment if there is one."""

from _adapter import job

with job(snakemake):
    from ldae.conversion.study_conversion import convert_study

    about = snakemake.params.about
    convert_study(
        about["study"],
        snakemake.input.images,
        snakemake.input.tables,
        snakemake.output.bids,
        snakemake.params.clinica_bin,
        snakemake.threads,
        about["section"],
    )
