"""Stage one weight file or template, checked by its checksum."""

from _adapter import job

with job(snakemake):
    from ldae.resources import stage

    stage(snakemake.params.name, snakemake.params.table, snakemake.params.folder)
