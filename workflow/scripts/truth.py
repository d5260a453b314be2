"""Comparison of probes with the known truth of a synthetic cohort."""

from _adapter import folder, job

with job(snakemake):
    from ldae.ground_truth.probes import correlate_with_truth

    correlate_with_truth(
        snakemake.input.truth,
        {name: snakemake.input[name] for name in snakemake.params.systems},
        folder(snakemake.input.latents),
        predictions=snakemake.output.predictions,
        table=snakemake.output.table,
        cfg=snakemake.params.settings,
        seed=snakemake.params.seed,
        pca=snakemake.input.pca,
    )
