"""Comparison of manipulated scans with the same heads with the other diagnosis' atrophy."""

from _adapter import folder, job, load_system_and_settings

with job(snakemake):
    from ldae.ground_truth.counterfactual import evaluate_counterfactual

    system, settings = load_system_and_settings(snakemake)
    evaluate_counterfactual(
        system,
        folder(snakemake.input.volumes),
        snakemake.input.embeddings,
        snakemake.input.classifier,
        snakemake.input.age_regressor,
        snakemake.input.counterfactuals,
        scans=snakemake.output.scans,
        table=snakemake.output.table,
        difference_table=snakemake.output.differences,
        examples=snakemake.output.examples,
        cfg=settings,
        seed=snakemake.params.seed,
    )
