"""Check every staged file that the configuration needs, and list where they came from."""

from _adapter import job

with job(snakemake):
    from ldae.files import write_table
    from ldae.resources import load_resources, stage
    from ldae.resources.staging import staged_table

    table, folder = load_resources(snakemake.params.table), snakemake.params.folder
    for name in snakemake.params.names:
        stage(name, table, folder)
    write_table(staged_table(table, folder), snakemake.output[0])
