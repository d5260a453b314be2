"""Check images and study tables before any conversion; list the subjects."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.convert import prepare

    prepare(snakemake.input.images, snakemake.input.tables, snakemake.output.subjects)
