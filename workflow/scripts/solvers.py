"""Quality against network calls, for every solver."""

from _adapter import folder, job, load_system

with job(snakemake):
    from ldae.evaluation.solver_study import evaluate_solvers

    inputs, outputs = snakemake.input, snakemake.output
    evaluate_solvers(
        load_system(snakemake),
        folder(inputs.volumes),
        inputs.embeddings,
        inputs.classifier,
        scans=outputs.scans,
        table=outputs.table,
        differences=outputs.differences,
        cfg=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
