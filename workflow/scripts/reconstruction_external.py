"""Reconstruction of the scans of external test sets by a trained system."""

from _adapter import folder, job, load_system

with job(snakemake):
    from ldae.evaluation.reconstruction import evaluate_reconstruction

    params = snakemake.params
    evaluate_reconstruction(
        load_system(snakemake),
        folder(snakemake.input.volumes),
        snakemake.output.scans,
        params.settings,
        params.seed,
        snakemake.input.get("embeddings"),
        params.max_scans,
        params.external,
    )
