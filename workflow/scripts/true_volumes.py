"""True volumes of ventricles and hippocampi of every scan."""

from _adapter import job

with job(snakemake):
    from ldae.ground_truth.oracle import write_true_volumes

    write_true_volumes(snakemake.input.truth, snakemake.input.index, snakemake.output[0])
