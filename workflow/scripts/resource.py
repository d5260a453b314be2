"""Stage one weight file or template, checked by its checksum."""

from _adapter import job

with job(snakemake):
    from ldae.resources import load_resources, stage

    table = load_resources(snakemake.params.table)
    mirrors = snakemake.config["paths"]["mirrors"]
    stage(snakemake.params.name, table, snakemake.params.folder, mirrors)
