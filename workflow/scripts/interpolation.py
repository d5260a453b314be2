"""Interpolation of visits between earlier and later ones, extrapolation of next visits."""

from _adapter import folder, job, load_system

with job(snakemake):
    from ldae.evaluation.interpolation import evaluate_interpolation

    evaluate_interpolation(
        load_system(snakemake),
        folder(snakemake.input.volumes),
        snakemake.input.embeddings,
        outputs=dict(snakemake.output.items()),
        cfg=snakemake.params.settings,
        subject=snakemake.params.subject,
        seed=snakemake.params.seed,
    )
