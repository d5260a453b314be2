"""Conversion plan: a check of every image, the scan of every visit, and subjects by batch."""

from _adapter import job

with job(snakemake):
    from ldae.conversion.clinica_tables import read_clinica_tables
    from ldae.conversion.downloaded_scans import choose_downloaded, mark_passed_over, write_choice
    from ldae.conversion.plan import plan_conversion, write_plan

    outputs = snakemake.output
    index = plan_conversion(
        snakemake.input.images,
        snakemake.input.tables,
        snakemake.input.exclusions,
        len(outputs.batches),
        snakemake.threads,
    )
    tables = read_clinica_tables(snakemake.input.tables)
    choice = choose_downloaded(index, tables, snakemake.params.prefer)
    index = mark_passed_over(index, choice.passed_over)
    write_choice(choice, outputs.to_download, outputs.passed_over)
    write_plan(index, outputs.images, dict(enumerate(outputs.batches)))
