"""Stochastic codes of one shard of the test scans, for all experiments that need them."""

from _adapter import folder, job, load_system_and_settings

with job(snakemake):
    from ldae.evaluation.inversion_plan import plan_of_store
    from ldae.inference.codes import invert_shard

    params = snakemake.params
    system, settings = load_system_and_settings(snakemake)
    volumes = folder(snakemake.input.volumes)
    wanted = plan_of_store(
        system.volume_store(volumes), settings, params.subjects, params.interpolation_subject
    )
    invert_shard(
        system,
        volumes,
        snakemake.input.embeddings,
        wanted,
        snakemake.output.card,
        (int(snakemake.wildcards.shard), settings["code_shards"]),
        settings["batch_size"],
        fingerprint=params.inverting,
    )
