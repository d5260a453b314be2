"""Principal components of the autoencoder's latents, a baseline of the probes."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.probes.features import write_latents_pca

    write_latents_pca(folder(snakemake.input.latents), snakemake.output[0], snakemake.params.seed)
