"""Write down what a training is told, for the training to depend on."""

from _adapter import job

with job(snakemake):
    from ldae.files import write_json

    write_json(snakemake.params.told, snakemake.output.settings)
