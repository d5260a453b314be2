"""MRIQC's measures of the scans, from the tables that the configuration names."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.mriqc import join_mriqc
    from ldae.files import read_table, write_table

    source, params = snakemake.input, snakemake.params
    tables = dict(zip(params.cohorts, source.tables, strict=True))
    conversion = read_table(source.conversion, ["cohort", "path", "scan_id", "status"])
    write_table(join_mriqc(tables, conversion, params.bounded), snakemake.output.measures)
