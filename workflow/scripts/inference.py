"""Cost of a trained system: sizes of its networks, seconds of one reconstruction."""

from _adapter import folder, job, load_system

with job(snakemake):
    from ldae.evaluation.cost import measure_cost

    measure_cost(
        load_system(snakemake),
        folder(snakemake.input.volumes),
        sizes=snakemake.output.sizes,
        timings=snakemake.output.timings,
        cfg=snakemake.params.settings,
    )
