"""Preprocessed scans of a shard on the target grid, with quality measures and pictures."""

from _adapter import job

with job(snakemake):
    from ldae.files import read_table
    from ldae.preprocess.preprocessed_input import run_preprocessed_input

    mriqc = snakemake.input.get("mriqc")
    run_preprocessed_input(
        read_table(snakemake.input.scans),
        snakemake.input.bids,
        snakemake.params.preproc,
        snakemake.output.manifest,
        snakemake.params.settings,
        snakemake.params.volumes,
        read_table(mriqc) if mriqc else None,
    )
