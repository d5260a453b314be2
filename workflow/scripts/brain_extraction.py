"""Brain extraction of a shard's scans."""

from _adapter import job

with job(snakemake):
    from ldae.files import read_table
    from ldae.preprocess.brain_extraction import run_brain_extraction

    run_brain_extraction(
        read_table(snakemake.input.scans),
        snakemake.input.bids,
        snakemake.params.preproc,
        snakemake.output.manifest,
        snakemake.params.settings,
        snakemake.input.earlier or None,
    )
