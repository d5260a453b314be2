"""Linear probes for diagnosis, age, three groups and conversion on frozen embeddings."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.probes.evaluate import evaluate_probes

    evaluate_probes(
        {name: snakemake.input[name] for name in snakemake.params.systems},
        folder(snakemake.input.latents),
        out_dir=folder(snakemake.output.classifier),
        table=snakemake.output.table,
        differences=snakemake.output.differences,
        cfg=snakemake.params.settings,
        seed=snakemake.params.seed,
        volumes=snakemake.input.volumes,
        visits=snakemake.input.visits,
        oracle=snakemake.input.get("oracle"),
        predictions={
            target: snakemake.input.get(f"{target}_predictions", [])
            for target in ("diagnosis", "age")
        },
    )
