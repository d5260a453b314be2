"""Size of the voxel-space DAE, and seconds of one reconstruction."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.cost import measure_dae
    from ldae.inference.dae_system import DaeSystem

    system = DaeSystem(
        folder(snakemake.input.dae),
        folder(snakemake.input.volumes),
        snakemake.params.device,
        snakemake.threads,
    )
    measure_dae(
        system,
        sizes=snakemake.output.sizes,
        timings=snakemake.output.timings,
        cfg=snakemake.params.settings,
    )
