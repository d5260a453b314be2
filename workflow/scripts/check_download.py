"""Conversion plan: a check of every image of the download, and its subjects spread over batches."""

from _adapter import job

with job(snakemake):
    from ldae.conversion.plan import plan_conversion, write_plan

    batches = snakemake.output.batches
    index = plan_conversion(
        snakemake.input.images,
        snakemake.input.tables,
        snakemake.input.exclusions,
        len(batches),
        snakemake.threads,
    )
    write_plan(index, snakemake.output.images, dict(enumerate(batches)))
