"""Solvers of the diffusion ODE: quality against network calls."""


rule solvers:
    input:
        **MODELS,
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
        codes=CODES,
        classifier=CLASSIFIER,
    output:
        scans=results("evaluation/solvers_scans.tsv"),
        table=results("tables/solvers.tsv"),
        differences=results("tables/solvers_differences.tsv"),
    log:
        logfile("solvers.log"),
    benchmark:
        timing("solvers.tsv")
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
            "solver_study",
            "guidance",
            "batch_size",
            "bootstrap",
        )
        | part_of("manipulation", "alpha", "mode")
        | part_of("interpolation", "min_visits"),
        source=source("evaluation.solver_study:evaluate_solvers", LDAE),
    message:
        "Comparing solvers: quality against network calls"
    script:
        "../scripts/solvers.py"
