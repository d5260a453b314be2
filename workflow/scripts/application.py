"""Application bundle: probes and settings that `python -m ldae` needs beside the trained models."""

from _adapter import folder, job

with job(snakemake):
    from ldae.application.bundle import write_bundle
    from ldae.orchestration.training_record import STAGES

    write_bundle(
        folder(snakemake.output.card),
        {stage: folder(snakemake.input[stage]) for stage in STAGES},
        snakemake.input.classifier,
        snakemake.input.age_regressor,
        snakemake.params.settings,
    )
