"""Linear probes on external test sets."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.probes.external import evaluate_external_probes

    source, params = snakemake.input, snakemake.params
    targets = params.names
    evaluate_external_probes(
        {name: source[name] for name in params.systems},
        folder(source.latents),
        {target: source[target] for target in targets},
        params.cohorts,
        params.reference,
        snakemake.output.table,
        snakemake.output.differences,
        params.settings,
        params.seed,
        volumes=source.volumes,
        visits=source.visits,
        oracle=source.get("oracle"),
        names=targets,
        predictions={
            target: [source[f"{target}_predictions"]]
            for target in targets
            if source.get(f"{target}_predictions")
        },
    )
