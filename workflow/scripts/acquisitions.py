"""Table of site, study phase and scanner of every scan."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.acquisitions import acquisition_table
    from ldae.files import read_table, write_table

    datasets = zip(snakemake.params.cohorts, snakemake.input.datasets, strict=True)
    table = acquisition_table(
        read_table(snakemake.input.scans),
        read_table(snakemake.input.conversion),
        snakemake.input.bids,
        dict(datasets),
        snakemake.params.site,
    )
    write_table(table, snakemake.output[0])
