"""Brain extraction of a shard's scans."""

from _adapter import job

with job(snakemake):
    from ldae.files import read_table
    from ldae.preprocess.brain import run_brain_extraction

    run_brain_extraction(
        read_table(snakemake.input.scans),
        snakemake.params.preproc,
        snakemake.input.n4,
        snakemake.output.manifest,
        snakemake.params.settings,
    )
