"""Model card: what the trained models are, how good, for which uses, and for which not."""

from _adapter import job

with job(snakemake):
    from ldae.report.model_card import write_model_card

    write_model_card(snakemake.params.results, snakemake.params.config, snakemake.output.card)
