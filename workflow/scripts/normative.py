"""Curves of healthy people's measures along age, and test people against them."""

from _adapter import job

with job(snakemake):
    from ldae.evaluation.normative.evaluate import NormativeSources, evaluate_normative

    evaluate_normative(
        NormativeSources(**dict(snakemake.input.items())),
        dict(snakemake.output.items()),
        snakemake.params.settings,
        snakemake.params.seed,
    )
