"""Scan of every visit, as Clinica will choose it, and preferred images that are not there."""

from _adapter import job

with job(snakemake):
    from ldae.conversion.clinica_tables import read_clinica_tables
    from ldae.conversion.downloaded_scans import choose_downloaded, write_choice
    from ldae.files import read_table

    index = read_table(snakemake.input.images, ["image_id", "subject_id", "status", "reason"])
    tables = read_clinica_tables(snakemake.input.tables)
    choice = choose_downloaded(index, tables, snakemake.params.prefer)
    write_choice(choice, snakemake.output.to_download, snakemake.output.passed_over)
