"""Linear probes of one target on frozen embeddings."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.probes.evaluate import Sources, evaluate_target
    from ldae.evaluation.probes.joined_table import scan_list, study_table

    source, params = snakemake.input, snakemake.params
    table = source.get("table")
    if source.get("study_tables"):
        table = study_table(source.study_tables, params.about["study_table"])
    evaluate_target(
        params.target,
        params.about,
        Sources(
            embeddings={name: source[name] for name in params.systems},
            latents=folder(source.latents),
            volumes=source.volumes,
            visits=source.visits,
            pca=source.pca,
            oracle=source.get("oracle"),
            predictions=[source.predictions] if source.predictions else [],
            table=table,
            images=scan_list(source.dates) if source.get("dates") else None,
        ),
        dict(snakemake.output.items()),
        params.settings,
        params.seed,
    )
