"""Train the stage that the rule is named after, in as many processes as its section says."""

from _adapter import folder, job

with job(snakemake):
    from ldae.training.settings import Settings, section
    from ldae.training.stages import run

    given = dict(snakemake.input.items())
    given.pop("weights", None)
    settings = Settings(
        stage=snakemake.rule,
        inputs={name: str(folder(path)) for name, path in given.items()},
        out_dir=str(folder(snakemake.output)),
        run_dir=snakemake.params.run_dir,
        cfg=section(snakemake.config, snakemake.rule),
        seed=snakemake.params.seed,
        device=snakemake.params.device,
        threads=snakemake.threads,
        diffusion=snakemake.params.get("diffusion"),
        fingerprint=snakemake.params.source,
        checkpoint_seconds=snakemake.config["checkpoint_seconds"],
        keep_checkpoints=snakemake.config["keep_checkpoints"],
    )
    run(settings, log_file=snakemake.log[0])
