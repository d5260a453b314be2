"""Linear probes for diagnosis and age on frozen embeddings."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.probes import evaluate_probes

    evaluate_probes(
        {name: snakemake.input[name] for name in ("ldae", "untrained")},
        folder(snakemake.input.latents),
        out_dir=folder(snakemake.output.classifier),
        table=snakemake.output.table,
        differences=snakemake.output.differences,
        cfg=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
