"""Workflow from a raw ADNI download to the tables, figures and report of the LDAE paper."""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data_sources.smk"
include: "workflow/rules/job_resources.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/synthetic.smk"
include: "workflow/rules/conversion.smk"
include: "workflow/rules/cohort.smk"
include: "workflow/rules/preprocess.smk"
include: "workflow/rules/stores.smk"
include: "workflow/rules/training_inputs.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/embeddings.smk"
include: "workflow/rules/codes.smk"
include: "workflow/rules/reconstruction.smk"
include: "workflow/rules/probe_inputs.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/scanner.smk"
include: "workflow/rules/external.smk"
include: "workflow/rules/manipulation.smk"
include: "workflow/rules/interpolation.smk"
include: "workflow/rules/solvers.smk"
include: "workflow/rules/ground_truth.smk"
include: "workflow/rules/planted.smk"
include: "workflow/rules/saliency.smk"
include: "workflow/rules/normative.smk"
include: "workflow/rules/fine_tuning.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/paper_tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/explorer.smk"
include: "workflow/rules/check.smk"


onstart:
    if not runs_without_lock():
        lock_results()
        keep_timings()
        remove_finished_checkpoints()


onsuccess:
    if not runs_without_lock():
        remove_finished_checkpoints()


# Named targets: check (before a long run), and one for each stage: resources, synthetic, bids, cohort,
# preprocess, autoencoder, latents, ldm, ldae, embeddings, evaluate, figures, report, explore.
rule all:
    default_target: True
    # With the inputs of the report: Snakemake remakes a deleted file only if a target names it.
    input:
        rules.cohort.input,
        rules.qc.output,
        rules.evaluate.input,
        rules.figures.input,
        rules.application.output,
        rules.model_card.output,
        rules.report.output,
        rules.explore.output,


check_targets()
tell_display()
