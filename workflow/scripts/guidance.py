"""Held-out loss of the frozen LDM with and without the gradient estimator."""

from _adapter import folder, job, load_system_and_settings

with job(snakemake):
    from ldae.evaluation.guidance import evaluate_guidance

    system, settings = load_system_and_settings(snakemake)
    evaluate_guidance(
        system,
        folder(snakemake.input.latents),
        snakemake.input.embeddings,
        scans=snakemake.output.scans,
        table=snakemake.output.table,
        differences=snakemake.output.differences,
        cfg=settings,
        seed=snakemake.params.seed,
    )
