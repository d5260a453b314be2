"""Application bundle: probes and settings that `ldae` needs beside the trained models."""

from _adapter import folder, job

with job(snakemake):
    from ldae.application.bundle import performance, write_bundle
    from ldae.application.training_codes import TrainingCodes
    from ldae.data.embeddings import load_embeddings
    from ldae.files import read_json, read_table
    from ldae.orchestration.training_record import STAGES

    scans, y_sem = load_embeddings(snakemake.input.embeddings)
    splits = read_table(snakemake.input.volumes[1]).set_index("scan_id").loc[scans, "split"]
    settings = {
        **snakemake.params.settings,
        "affine": read_json(snakemake.input.volumes[0])["affine"],
        "performance": performance(read_table(snakemake.input.probes)),
    }
    write_bundle(
        folder(snakemake.output.card),
        {stage: folder(snakemake.input[stage]) for stage in STAGES},
        snakemake.input.classifier,
        snakemake.input.age_regressor,
        TrainingCodes.measure(y_sem, splits, snakemake.input.classifier),
        settings,
    )
