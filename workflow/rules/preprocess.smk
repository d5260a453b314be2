"""Per-scan steps, a shard of subjects a job: N4, brain extraction, affine registration, store."""


rule n4:
    input:
        scans=results("cohort/shards/shard-{shard}.tsv"),
        bids=ancient(rules.bids.output.bids),
    output:
        manifest=results("preproc/manifests/n4/shard-{shard}.tsv"),
    log:
        logfile("n4/shard-{shard}.log"),
    benchmark:
        timing("n4/shard-{shard}.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=4000,
        runtime=480,
    params:
        preproc=lambda wildcards, output: above(output.manifest, 3),
        settings=step_settings("n4"),
        source=source("preprocess/bias.py"),
    message:
        "N4 bias field correction, shard {wildcards.shard}"
    script:
        "../scripts/n4.py"


rule brain_extraction:
    input:
        scans=results("cohort/shards/shard-{shard}.tsv"),
        n4=rules.n4.output.manifest,
        weights=brain_extraction_weights,
    output:
        manifest=results("preproc/manifests/brain/shard-{shard}.tsv"),
    log:
        logfile("brain_extraction/shard-{shard}.log"),
    benchmark:
        timing("brain_extraction/shard-{shard}.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=6000,
        runtime=480,
    params:
        preproc=lambda wildcards, output: above(output.manifest, 3),
        settings=step_settings("brain_extraction"),
        source=source("preprocess/brain.py"),
    message:
        "Brain extraction by {params.settings[brain_extraction][method]}, shard {wildcards.shard}"
    script:
        "../scripts/brain_extraction.py"


rule registration:
    input:
        scans=results("cohort/shards/shard-{shard}.tsv"),
        brain=rules.brain_extraction.output.manifest,
        template=config["preprocess"]["template"]["image"],
        mask=config["preprocess"]["template"]["mask"],
    output:
        manifest=results("preproc/manifests/registration/shard-{shard}.tsv"),
    log:
        logfile("registration/shard-{shard}.log"),
    benchmark:
        timing("registration/shard-{shard}.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=4000,
        runtime=480,
    params:
        preproc=lambda wildcards, output: above(output.manifest, 3),
        settings=step_settings("registration", "qc"),
        volumes=config["volumes"],
        source=source("preprocess/registration.py"),
    message:
        "Registration to the template, shard {wildcards.shard}"
    script:
        "../scripts/registration.py"


rule volumes:
    input:
        scans=rules.scans.output.scans,
        splits=rules.splits.output.splits,
        exclude=staged(config["cohort"]["exclude"]),
        n4=expand(rules.n4.output.manifest, shard=SHARDS),
        brain=expand(rules.brain_extraction.output.manifest, shard=SHARDS),
        registration=expand(rules.registration.output.manifest, shard=SHARDS),
    output:
        volumes=results("cache/volumes/volumes.npy"),
        index=results("cache/volumes/index.tsv"),
        card=results("cache/volumes/store.json"),
    log:
        logfile("volumes.log"),
    benchmark:
        timing("volumes.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=8000,
        runtime=480,
    params:
        preproc=lambda wildcards, input: above(input.registration[0], 3),
        exclude=config["cohort"]["exclude"],
        settings=config["volumes"],
        template=config["preprocess"]["template"]["name"],
        max_failed_fraction=config["cohort"]["max_failed_fraction"],
        source=source("data/volume_store.py", "cohort/ledger.py"),
    message:
        "Packing registered scans into one memory-mapped store"
    script:
        "../scripts/volumes.py"


rule preprocess:
    input:
        rules.volumes.output,
