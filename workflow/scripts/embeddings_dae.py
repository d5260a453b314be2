"""y_sem of every scan by the voxel-space DAE's encoder, in fp32."""

from _adapter import folder, job

with job(snakemake):
    from ldae.inference.dae_system import DaeSystem
    from ldae.inference.embeddings import embed_dae

    system = DaeSystem(
        folder(snakemake.input.dae),
        folder(snakemake.input.volumes),
        snakemake.config["device"],
        snakemake.threads,
        precision="fp32",
    )
    embed_dae(system, snakemake.output[0], snakemake.params.batch_size)
