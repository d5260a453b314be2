"""Counterfactual heads: synthetic test scans made again with the other diagnosis' atrophy."""

from _adapter import folder, job

with job(snakemake):
    from ldae.ground_truth.counterfactual_heads import make_counterfactuals

    make_counterfactuals(
        snakemake.input.truth,
        snakemake.input.scans,
        folder(snakemake.input.volumes),
        snakemake.params.bids,
        snakemake.params.preproc,
        snakemake.output.arrays,
        template=snakemake.params.template,
        volumes_cfg=snakemake.params.volumes,
        cfg=snakemake.params.settings,
    )
