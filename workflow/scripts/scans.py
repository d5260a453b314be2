"""The table of scans, and one like it for each shard of the preprocessing."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.scans import build_scans
    from ldae.files import write_table

    shards = snakemake.output.shards
    scans = build_scans(snakemake.input.bids, len(shards), snakemake.input.schema)
    for shard, path in enumerate(shards):
        write_table(scans[scans["shard"] == shard], path)
    write_table(scans, snakemake.output.scans)
