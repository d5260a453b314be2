"""Limit on failures: an error if too many images failed before or in the conversion."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.inclusion import check_conversion
    from ldae.files import read_table, write_json

    conversion = read_table(snakemake.input.conversion)
    check_conversion(conversion, snakemake.params.max_failed_fraction, snakemake.params.external)
    write_json(conversion["status"].value_counts().to_dict(), snakemake.output.counts)
