"""What each training depends on, and how it waits for its store. New scans alone train nothing."""

# Jobs read this as well: not where the record is just being written.
if workflow.is_main_process:
    try:
        restore_training_records(config, RESULTS, bool(PUBLISHED))
    except UserError as error:
        raise WorkflowError(str(error)) from None


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
        stage="|".join([*TRAININGS, PUBLISHED_MODEL]),
    conda:
        "../../envs/ldae.yaml"
    params:
        record=lambda wildcards: inputs_of(wildcards.stage),
    message:
        "Writing the record of the training {wildcards.stage}"
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
