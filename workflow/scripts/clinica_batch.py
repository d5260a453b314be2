"""Conversion of one batch of subjects, in Clinica's environment if there is one for the rule."""

from _adapter import job

with job(snakemake):
    from ldae.conversion.batch import convert_batch
    from ldae.files import write_table

    conversion = convert_batch(
        snakemake.input.batch,
        snakemake.input.images,
        snakemake.input.tables,
        snakemake.params.part,
        snakemake.params.cohort,
        snakemake.params.source,
        clinica_bin=snakemake.params.clinica_bin,
        jobs=snakemake.threads,
        log=snakemake.log[0],
        passed_over=snakemake.input.passed_over,
    )
    write_table(conversion, snakemake.output.conversion)
