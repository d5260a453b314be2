"""The cohort: table of scans, split of subjects, ledger of all images, Table 1."""


rule scans:
    input:
        bids=rules.bids.output.bids,
        conversion=rules.bids.output.conversion,
        schema="workflow/schemas/scans.schema.yaml",
    output:
        scans=results("cohort/scans.tsv"),
        shards=expand(results("cohort/shards/shard-{shard}.tsv"), shard=SHARDS),
    log:
        logfile("scans.log"),
    benchmark:
        timing("scans.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        source=source("cohort/scans.py"),
    message:
        "Indexing the BIDS data set with pybids"
    script:
        "../scripts/scans.py"


rule splits:
    input:
        scans=rules.scans.output.scans,
    output:
        splits=results("cohort/splits.tsv"),
    log:
        logfile("splits.log"),
    benchmark:
        timing("splits.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **config["cohort"]["splits"],
        source=source("cohort/splits.py"),
    message:
        "Splitting subjects into training, validation and test"
    script:
        "../scripts/splits.py"


rule ledger:
    input:
        conversion=rules.bids.output.conversion,
        scans=rules.scans.output.scans,
        splits=rules.splits.output.splits,
        n4=expand(results("preproc/manifests/n4/shard-{shard}.tsv"), shard=SHARDS),
        brain=expand(results("preproc/manifests/brain/shard-{shard}.tsv"), shard=SHARDS),
        registration=expand(
            results("preproc/manifests/registration/shard-{shard}.tsv"), shard=SHARDS
        ),
        volumes=results("cache/volumes/index.tsv"),
        exclude=staged(config["cohort"]["exclude"]),
    output:
        ledger=results("cohort/ledger.tsv"),
        flow=results("tables/flow.tsv"),
        table1=results("tables/cohort.tsv"),
    log:
        logfile("ledger.log"),
    benchmark:
        timing("ledger.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        exclude=config["cohort"]["exclude"],
        source=source("cohort/ledger.py", "cohort/table1.py"),
    message:
        "Accounting for every image of the download"
    script:
        "../scripts/ledger.py"


rule cohort:
    input:
        rules.ledger.output,
