"""Training of the stage that the rule is named after, in as many processes as its section sets."""

from _adapter import folder, job

with job(snakemake):
    from ldae.files import read_json
    from ldae.training.settings import Settings, stage_of, training_section
    from ldae.training.stages import run

    record = read_json(snakemake.input.settings)
    given = {
        name: f"{snakemake.params.stores}/{name}" if path.endswith(".ready") else str(folder(path))
        for name, path in snakemake.input.items()
        if name not in ("settings", "weights")
    }
    settings = Settings(
        stage=stage_of(snakemake.rule),
        inputs=given,
        out_dir=str(folder(snakemake.output)),
        run_dir=snakemake.params.run_dir,
        cfg=training_section(snakemake.config, snakemake.rule),
        seed=record["seed"],
        device=snakemake.config["device"],
        threads=snakemake.threads,
        diffusion=record.get("diffusion"),
        fingerprint=record["source"],
        record=record,
        checkpoint_seconds=snakemake.config["checkpoint_seconds"],
        keep_checkpoints=True,  # until Snakemake has seen the end of this job
        scratch=snakemake.config["paths"]["scratch"],
        compile_cache=f"{snakemake.params.stores}/compiled",
        tracker=snakemake.config["training"]["tracker"],
        tracking=f"{snakemake.config['paths']['results']}/tracking",
    )
    run(settings, log_file=snakemake.log[0])
