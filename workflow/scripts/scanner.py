"""Scanner probes of codes before and after harmonisation, and what that costs."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.scanner.evaluate import evaluate_scanner

    source, params = snakemake.input, snakemake.params
    evaluate_scanner(
        {
            "embeddings": {name: source[name] for name in params.systems},
            "latents": folder(source.latents),
            **{key: source[key] for key in ("pca", "volumes", "visits", "acquisitions")},
        },
        dict(snakemake.output.items()),
        params.settings,
        tuple(params.classes),
        params.seed,
    )
