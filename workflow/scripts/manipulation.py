"""Manipulation of test scans along the AD direction: what changes, and by how much."""

from _adapter import folder, job, load_system

with job(snakemake):
    from ldae.evaluation.manipulation import evaluate_manipulation

    evaluate_manipulation(
        load_system(snakemake),
        folder(snakemake.input.volumes),
        snakemake.input.embeddings,
        snakemake.input.classifier,
        snakemake.input.age_regressor,
        scans=snakemake.output.scans,
        table=snakemake.output.table,
        trend_table=snakemake.output.trends,
        cfg=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
