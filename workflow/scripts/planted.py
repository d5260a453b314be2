"""Planted targets and sites: what was found of them."""

from _adapter import folder, job

with job(snakemake):
    from ldae.ground_truth.planted import evaluate_planted

    source, params = snakemake.input, snakemake.params
    names = ("labels", "targets", "pca", "volumes", "oracle", "visits")
    evaluate_planted(
        {
            "embeddings": {name: source[name] for name in params.systems},
            "latents": folder(source.latents),
            **{name: source[name] for name in names},
        },
        snakemake.output[0],
        params.settings,
        tuple(params.classes),
        params.seed,
    )
