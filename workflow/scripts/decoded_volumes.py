"""Volumes in decoded images against the true volumes of a synthetic cohort."""

from _adapter import job

with job(snakemake):
    from ldae.ground_truth.decoded_volumes import correlate_decoded_volumes

    correlate_decoded_volumes(
        snakemake.input.scans,
        snakemake.input.true_volumes,
        snakemake.output.table,
        snakemake.params.resamples,
        snakemake.params.seed,
    )
