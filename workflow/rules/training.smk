"""What starts a training: what it is told, and that its store is there. New scans alone do not."""


localrules:
    training_settings,
    store_ready,


# A job of its own, with no input: Snakemake overlooks changed params of a job behind one that runs.
rule training_settings:
    output:
        settings=results("models/training/{stage}.json"),
    log:
        logfile("training_settings/{stage}.log"),
    wildcard_constraints:
        stage="|".join(TRAININGS),
    conda:
        "../../envs/ldae.yaml"
    params:
        told=lambda wildcards: told_of(wildcards.stage),
    message:
        "Writing down what the training {wildcards.stage} is told"
    script:
        "../scripts/training_settings.py"


# Trainings wait for this file, but its time says nothing to them. The store itself would not do:
# where it is missing for a while, as after a failure, Snakemake would train anew.
rule store_ready:
    input:
        results("cache/{store}/store.json"),
    output:
        touch(results("models/training/{store}.ready")),
    log:
        logfile("store_ready/{store}.log"),
    wildcard_constraints:
        store="volumes|latents",
    conda:
        "../../envs/ldae.yaml"
    message:
        "The store of {wildcards.store} is ready"
