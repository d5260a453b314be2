"""Training inputs: the record of each training, and marks that its stores are ready.

New scans alone train no model again.
"""

# Jobs parse this file too, and one of them may be writing the record.
if workflow.is_main_process:
    try:
        restore_training_records(config, RESULTS, bool(PUBLISHED))
    except UserError as error:
        raise WorkflowError(str(error)) from None


localrules:
    training_settings,
    store_ready,


# A rule without input: Snakemake ignores changed params of a job that waits for another job.
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
        record=lambda wildcards: cached_training_inputs(wildcards.stage),
    message:
        "Writing the record of the training {wildcards.stage}"
    script:
        "../scripts/training_settings.py"


# Trainings wait for this file, but its time does not count (`ancient`). With the store itself as
# input, Snakemake would train again if the store is missing for a while, as after a failure.
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
