"""Sample in the package: the run's models in half precision, and a synthetic subject's visits."""

from _adapter import job

with job(snakemake):
    from ldae.application.sample_packing import write_sample

    write_sample(
        snakemake.output[0],
        snakemake.params.models,
        snakemake.params.settings,
        snakemake.params.configuration,
        snakemake.params.command,
    )
