"""Stores that the networks read by memory map: volumes, packed by shard, and latents."""


rule volume_shard:
    input:
        scans=results("cohort/shards/shard-{shard}.tsv"),
        registration=MANIFEST["registration"],
    output:
        # The array beside it is not declared: Snakemake would delete it before a rerun, and only
        # changed scans are packed again.
        card=results("cache/volumes/shards/shard-{shard}.json"),
        manifest=MANIFEST["pack"],
    log:
        logfile("volume_shard/shard-{shard}.log"),
    benchmark:
        timing("volume_shard/shard-{shard}.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        preproc=lambda wildcards, input: parent_folder(input.registration, 3),
        settings={
            key: config["volumes"][key]
            for key in ("spacing", "shape", "interpolation", "dtype")
        },
        template=config["preprocess"]["template"]["name"],
        source=source(
            "data.volume_packing:pack_shard", "data.volume_packing:write_manifest"
        ),
    message:
        "Packing the registered scans of shard {wildcards.shard}"
    script:
        "../scripts/volume_shard.py"


rule volumes:
    input:
        **MANIFESTS,
        scans=rules.scans.output.scans,
        splits=rules.splits.output.splits,
        decisions=rules.decisions.output.decisions,
        shards=expand(rules.volume_shard.output.card, shard=SHARDS),
        # If too many scans failed, the error refers to this page.
        page=rules.qc.output.page,
    output:
        card=results("cache/volumes/store.json"),
        index=results("cache/volumes/index.tsv"),
        index_hash=results("cache/volumes/index.sha256"),
    log:
        logfile("volumes.log"),
    benchmark:
        timing("volumes.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        max_failed_fraction=config["cohort"]["max_failed_fraction"],
        external=EXTERNAL_COHORTS,
        source=source(
            "data.volume_index:build_volume_store",
            "cohort.inclusion:included_scans",
            "cohort.inclusion:check_failures",
            "cohort.ratings:load_decisions",
            "derivatives:read_manifests",
        ),
    message:
        "Indexing the included volumes of all shards in one store"
    script:
        "../scripts/volumes.py"


rule preprocess:
    input:
        rules.volumes.output,
        rules.qc.output,


rule latent_shard:
    input:
        volumes=rules.volumes.output.card,
        autoencoder=results("models/autoencoder/model.json"),
    output:
        # Encoded scans, below rows/, are not declared: Snakemake would delete them before a rerun.
        card=results("cache/latents/shards/shard-{shard}.json"),
    log:
        logfile("latent_shard/shard-{shard}.log"),
    benchmark:
        timing("latent_shard/shard-{shard}.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=growing(16000),
        runtime=growing(240),
        gpu=GPUS,
    params:
        shards=config["latents"]["shards"],
        # A scan is encoded again only if this changes.
        encoding=source(*ENCODING),
    message:
        "Encoding scans, shard {wildcards.shard}"
    script:
        "../scripts/latent_shard.py"


rule latents:
    input:
        # The index as well: its columns, such as the diagnosis, are copied.
        volumes=rules.volumes.output,
        autoencoder=results("models/autoencoder/model.json"),
        shards=expand(
            rules.latent_shard.output.card, shard=range(config["latents"]["shards"])
        ),
    output:
        card=results("cache/latents/store.json"),
        arrays=multiext(results("cache/latents/"), "mean.npy", "std.npy"),
        index=multiext(results("cache/latents/index"), ".tsv", ".sha256"),
    log:
        logfile("latents.log"),
    benchmark:
        timing("latents.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        settings={key: config["latents"][key] for key in ("source", "variance")},
        source=source("inference.latents:build_latent_store"),
        encoding=source(*ENCODING),
    message:
        "Merging the latents to one store: posterior mean and standard deviation of every scan"
    script:
        "../scripts/latents.py"
