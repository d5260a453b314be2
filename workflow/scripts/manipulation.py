"""Manipulation of test scans along the AD direction: what changes, and by how much."""

from _adapter import folder, job, load_system_and_settings

with job(snakemake):
    from ldae.evaluation.manipulation import evaluate_manipulation

    system, settings = load_system_and_settings(snakemake)
    evaluate_manipulation(
        system,
        folder(snakemake.input.volumes),
        snakemake.input.embeddings,
        snakemake.input.classifier,
        snakemake.input.age_regressor,
        scans=snakemake.output.scans,
        table=snakemake.output.table,
        trend_table=snakemake.output.trends,
        cfg=settings,
        seed=snakemake.params.seed,
    )
