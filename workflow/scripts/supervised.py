"""Test predictions of a supervised baseline."""

from _adapter import folder, job

with job(snakemake):
    from ldae.inference.supervised import predict_supervised

    predict_supervised(
        folder(snakemake.input.volumes),
        folder(snakemake.input.model),
        snakemake.output[0],
        snakemake.config["device"],
        snakemake.threads,
        snakemake.params.batch_size,
        snakemake.params.split,
    )
