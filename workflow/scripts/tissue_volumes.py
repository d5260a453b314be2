"""Volumes of tissues, ventricles and hippocampi of every registered scan."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.metrics.volumes import measure_volumes

    measure_volumes(folder(snakemake.input.volumes), snakemake.output[0])
