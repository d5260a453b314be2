"""Labels with a known relation to the truth of a synthetic cohort."""

from _adapter import job

with job(snakemake):
    from ldae.ground_truth.planted_labels import write_planted_labels

    write_planted_labels(snakemake.input.truth, snakemake.output[0], snakemake.params.seed)
