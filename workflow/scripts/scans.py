"""Scan table, one table of the same form for each shard of preprocessing, and the duplicates."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.scans import build_scans
    from ldae.derivatives import Shards
    from ldae.files import read_table, write_table

    shards = snakemake.output.shards
    conversion = read_table(snakemake.input.conversion)
    scans, duplicates = build_scans(
        snakemake.input.bids,
        conversion,
        Shards(**snakemake.params.shards),
        snakemake.params.preprocessed,
        snakemake.input.schema,
        snakemake.params.external,
    )
    write_table(duplicates, snakemake.output.duplicates)
    for shard, path in enumerate(shards):
        write_table(scans[scans["shard"] == shard], path)
    write_table(scans, snakemake.output.scans)
