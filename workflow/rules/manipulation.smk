"""Manipulation of test scans along the AD direction, and its effect in numbers."""


rule manipulation:
    input:
        **MODELS,
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
        codes=CODES,
        classifier=CLASSIFIER,
        age_regressor=AGE_REGRESSOR,
    output:
        scans=results("evaluation/manipulation_scans.tsv"),
        table=results("tables/manipulation.tsv"),
        trends=results("tables/manipulation_trends.tsv"),
    log:
        logfile("manipulation.log"),
    benchmark:
        timing("manipulation.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=growing(24000),
        runtime=growing(480),
        gpu=GPUS,
    params:
        seed=config["seed"],
        system=LDAE,
        settings=evaluation(
            "manipulation",
            "probes",
            "guidance",
            "batch_size",
            "bootstrap",
        ),
        source=source("evaluation.manipulation:evaluate_manipulation", LDAE),
    message:
        "Manipulating test scans along the AD direction"
    script:
        "../scripts/manipulation.py"
