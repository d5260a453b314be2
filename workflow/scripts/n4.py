"""N4 bias field correction of a shard's scans."""

from _adapter import job

with job(snakemake):
    from ldae.files import read_table
    from ldae.preprocess.n4 import run_n4

    run_n4(
        read_table(snakemake.input.scans),
        snakemake.input.bids,
        snakemake.params.preproc,
        snakemake.output.manifest,
        snakemake.params.settings,
        snakemake.input.earlier or None,
    )
