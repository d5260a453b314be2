"""Reconstruction of test scans by the voxel-space DAE."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.reconstruction import evaluate_dae
    from ldae.inference.dae_system import DaeSystem

    system = DaeSystem(
        folder(snakemake.input.dae),
        folder(snakemake.input.volumes),
        snakemake.config["device"],
        snakemake.threads,
    )
    params = snakemake.params
    evaluate_dae(system, snakemake.output[0], params.settings, params.most)
