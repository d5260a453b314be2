"""Interpolation of visits between earlier and later ones, extrapolation of next visits."""

from _adapter import folder, job, load_system_and_settings

with job(snakemake):
    from ldae.evaluation.interpolation import evaluate_interpolation

    system, settings = load_system_and_settings(snakemake)
    evaluate_interpolation(
        system,
        folder(snakemake.input.volumes),
        snakemake.input.embeddings,
        folder(snakemake.input.latents),
        outputs=dict(snakemake.output.items()),
        cfg=settings,
        subject=snakemake.params.subject,
        seed=snakemake.params.seed,
    )
