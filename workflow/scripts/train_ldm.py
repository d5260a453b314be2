"""Stage 2: pretrain the latent diffusion model."""

from _adapter import folder, job

with job(snakemake):
    from ldae.training.stages import train_ldm

    train_ldm(
        latents_dir=folder(snakemake.input.latents),
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
