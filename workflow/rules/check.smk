"""Before a long night: `snakemake check`, with the arguments of the run, reports what would fail."""


localrules:
    check,


# No input and no output: it runs whenever it is asked for, wherever nothing has run yet.
rule check:
    log:
        logfile("check.log"),
    # A cluster's profile would have it tried again.
    retries: 0
    conda:
        "../../envs/ldae.yaml"
    # Outside of it: it asks Slurm and Snakemake.
    container:
        None
    params:
        facts=facts,
        folder=results("check"),
    message:
        "Checking data, space, environment, cluster and cost of the run"
    script:
        "../scripts/check.py"
