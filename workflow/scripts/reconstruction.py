"""Reconstruction of test scans by a trained system; of the LDAE also its tables."""

from _adapter import folder, job, load_system_and_settings

with job(snakemake):
    from ldae.evaluation.reconstruction import evaluate_reconstruction, write_reconstruction_tables

    params, outputs = snakemake.params, snakemake.output
    system, settings = load_system_and_settings(snakemake)
    scans = evaluate_reconstruction(
        system,
        folder(snakemake.input.volumes),
        outputs.scans,
        settings,
        params.seed,
        snakemake.input.get("embeddings"),
        params.max_scans,
    )
    if outputs.get("table"):
        resamples = params.settings["bootstrap"]
        write_reconstruction_tables(scans, outputs.table, outputs.controls, resamples, params.seed)
