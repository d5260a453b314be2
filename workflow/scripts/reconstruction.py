"""Reconstruction of test scans by every system."""

from _adapter import folder, job, load_system

with job(snakemake):
    from ldae.evaluation.reconstruction import evaluate_reconstruction

    evaluate_reconstruction(
        load_system(snakemake),
        folder(snakemake.input.volumes),
        snakemake.input.embeddings,
        scans=snakemake.output.scans,
        table=snakemake.output.table,
        controls=snakemake.output.controls,
        cfg=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
