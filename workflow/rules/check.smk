"""Preflight check: `snakemake check`, with the arguments of the run, reports what would fail."""


localrules:
    check,


# No input and no output: it always runs, also where nothing has run yet.
rule check:
    log:
        logfile("check.log"),
    # A cluster's profile would retry it.
    retries: 0
    conda:
        "../../envs/ldae.yaml"
    # Outside the container: it calls Slurm and Snakemake.
    container:
        None
    params:
        facts=facts,
        folder=results("check"),
    message:
        "Checking data, space, environment, cluster and cost of the run"
    script:
        "../scripts/check.py"
