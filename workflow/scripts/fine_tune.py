"""Training of a case of the fine-tuning experiment, and its predictions of the test split."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.fine_tuning import fine_tune
    from ldae.evaluation.fine_tuning_cases import Case
    from ldae.training.settings import training_section

    config, given = snakemake.config, snakemake.input
    fine_tune(
        Case.of(snakemake.wildcards.case),
        {name: folder(given[name]) for name in ("volumes", "ldae") if given.get(name)},
        {
            "model": folder(snakemake.output.model),
            "run": snakemake.params.run_dir,
            "predictions": snakemake.output.predictions,
        },
        training_section(config, "fine_tuning"),
        snakemake.params.settings,
        snakemake.params.seed,
        config["evaluation"]["batch_size"],
        log_file=snakemake.log[0],
        device=config["device"],
        threads=snakemake.threads,
        fingerprint=snakemake.params.source,
        keep_checkpoints=True,  # until Snakemake has seen the end of this job
        checkpoint_seconds=config["checkpoint_seconds"],
        scratch=config["paths"]["scratch"],
        compile_cache=snakemake.params.compile_cache,
        tracker=config["training"]["tracker"],
        tracking=f"{config['paths']['results']}/tracking",
    )
