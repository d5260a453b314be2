"""Explorer: a page on which test scans move through the models' codes."""


rule explore:
    input:
        **MODELS,
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
        classifier=CLASSIFIER,
        age_regressor=AGE_REGRESSOR,
        training=rules.application.output.training,
        manipulation=rules.manipulation.output.table,
        counterfactuals=(rules.counterfactual_volumes.output.arrays if TRUTHS else []),
    output:
        page=results("report/explore.html"),
    log:
        logfile("explore.log"),
    benchmark:
        timing("explore.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=growing(24000),
        runtime=growing(240),
        gpu=GPUS,
    params:
        system=LDAE,
        settings=evaluation(
            "manipulation",
            "ddim_steps",
            "solver",
            "guidance",
            "batch_size",
            "noise_seed",
        )
        | part_of("interpolation", "ddim_steps", "solver"),
        samples=config["figures"]["stochastic_samples"],
        explorer=config["explorer"],
        source=source("explorer.build:build_explorer", LDAE),
    message:
        "Computing the volumes of the explorer"
    script:
        "../scripts/explore.py"


REPORT_PAGES.append(rules.explore.output.page)
