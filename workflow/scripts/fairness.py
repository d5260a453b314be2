"""Headline score of every target by group of people."""

from _adapter import job

with job(snakemake):
    from ldae.evaluation.scanner.fairness import evaluate_fairness

    source, params = snakemake.input, snakemake.params
    evaluate_fairness(
        dict(zip(params.targets, source.predictions, strict=True)),
        source.scans,
        source.acquisitions,
        source.splits,
        snakemake.output[0],
        params.settings,
        params.seed,
    )
