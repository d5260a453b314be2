"""Tables of all targets, with p values corrected for their number."""

from _adapter import job

with job(snakemake):
    from ldae.evaluation.probes.all_targets import write_targets

    for part in ("summary", "contrasts", "calibration"):
        write_targets(part, snakemake.input[part], snakemake.output[part])
