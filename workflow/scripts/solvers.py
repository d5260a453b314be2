"""Quality against network calls, for every solver."""

from _adapter import folder, job, load_system_and_settings

with job(snakemake):
    from ldae.evaluation.solver_study import evaluate_solvers

    inputs, outputs = snakemake.input, snakemake.output
    system, settings = load_system_and_settings(snakemake)
    evaluate_solvers(
        system,
        folder(inputs.volumes),
        inputs.embeddings,
        inputs.classifier,
        scans=outputs.scans,
        table=outputs.table,
        differences=outputs.differences,
        cfg=settings,
        seed=snakemake.params.seed,
    )
