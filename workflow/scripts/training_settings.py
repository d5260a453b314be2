"""Training record, on which a training depends."""

from _adapter import job

with job(snakemake):
    from ldae.files import write_json

    write_json(snakemake.params.record, snakemake.output.settings)
