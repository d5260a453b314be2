"""Stage 1: train the autoencoder."""

from _adapter import folder, job

with job(snakemake):
    from ldae.training.stages import train_autoencoder

    train_autoencoder(
        volumes_dir=folder(snakemake.input.volumes),
        out_dir=folder(snakemake.output),
        run_dir=snakemake.params.run_dir,
        cfg=snakemake.params.settings,
        device=snakemake.params.device,
        threads=snakemake.threads,
        seed=snakemake.params.seed,
        fingerprint=snakemake.params.source,
        checkpoint_seconds=snakemake.config["checkpoint_seconds"],
    )
