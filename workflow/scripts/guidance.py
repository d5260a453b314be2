"""Held-out loss of the frozen LDM with and without the gradient estimator."""

from _adapter import folder, job, load_system

with job(snakemake):
    from ldae.evaluation.guidance import evaluate_guidance

    evaluate_guidance(
        load_system(snakemake),
        folder(snakemake.input.latents),
        snakemake.input.embeddings,
        scans=snakemake.output.scans,
        table=snakemake.output.table,
        differences=snakemake.output.differences,
        cfg=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
