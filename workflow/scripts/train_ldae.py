"""Stage 3: train the semantic encoder and the gradient estimator."""

from _adapter import folder, job

with job(snakemake):
    from ldae.training.stages import train_ldae

    train_ldae(
        volumes_dir=folder(snakemake.input.volumes),
        latents_dir=folder(snakemake.input.latents),
        autoencoder_dir=folder(snakemake.input.autoencoder),
        ldm_dir=folder(snakemake.input.ldm),
        out_dir=folder(snakemake.output),
        run_dir=snakemake.params.run_dir,
        cfg=snakemake.params.settings,
        diffusion=snakemake.params.diffusion,
        device=snakemake.params.device,
        threads=snakemake.threads,
        seed=snakemake.params.seed,
        fingerprint=snakemake.params.source,
        checkpoint_seconds=snakemake.config["checkpoint_seconds"],
    )
