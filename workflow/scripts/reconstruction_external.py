"""Reconstruction of the scans of external test sets by a trained system."""

from _adapter import folder, job, load_system_and_settings

with job(snakemake):
    from ldae.evaluation.reconstruction import evaluate_reconstruction

    params = snakemake.params
    system, settings = load_system_and_settings(snakemake)
    evaluate_reconstruction(
        system,
        folder(snakemake.input.volumes),
        snakemake.output.scans,
        settings,
        params.seed,
        snakemake.input.get("embeddings"),
        params.max_scans,
        params.external,
    )
