"""Linear probes of frozen embeddings (Table 7)."""

# Systems with embeddings (a vector of every scan), and models that predict by themselves.
EMBEDDINGS = {
    name: results(f"embeddings/{name}.npz")
    for about in TRAINED_SYSTEMS.values()
    for name in about["embeddings"]
} | {name: results(f"embeddings/{name}.npz") for name in ENCODERS}
PREDICTIONS = dict(diagnosis_predictions=[], age_predictions=[])
for target in SUPERVISED_TARGETS:
    file = results(f"evaluation/supervised_{target}.tsv")
    PREDICTIONS[f"{target}_predictions"] = [file]


# The true volumes of a synthetic cohort: an upper bound for every model of its scans.
ORACLE = {}
if TRUTHS:
    ORACLE["oracle"] = results("evaluation/true_volumes.tsv")


rule tissue_volumes:
    input:
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
    output:
        results("evaluation/tissue_volumes.tsv"),
    log:
        logfile("tissue_volumes.log"),
    benchmark:
        timing("tissue_volumes.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        source=source("evaluation.metrics.volumes:measure_volumes"),
    message:
        "Measuring tissues and ventricles of every registered scan"
    script:
        "../scripts/tissue_volumes.py"


rule probes:
    input:
        **EMBEDDINGS,
        **PREDICTIONS,
        **ORACLE,
        latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
        volumes=rules.tissue_volumes.output[0],
        visits=results("cohort/scans.tsv"),
    output:
        table=results("tables/probes.tsv"),
        differences=results("tables/probes_differences.tsv"),
        classifier=results("evaluation/classifier.npz"),
        age_regressor=results("evaluation/age_regressor.npz"),
        lda=results("evaluation/lda_projection.tsv"),
        diagnosis=results("evaluation/predictions_diagnosis.tsv"),
        age=results("evaluation/predictions_age.tsv"),
        groups=results("evaluation/predictions_groups.tsv"),
        conversion=results("evaluation/predictions_conversion.tsv"),
    log:
        logfile("probes.log"),
    benchmark:
        timing("probes.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        seed=config["seed"],
        systems=list(EMBEDDINGS),
        settings=evaluation("probes", "bootstrap"),
        source=source("evaluation.probes.evaluate:evaluate_probes"),
    message:
        "Fitting linear probes for diagnosis, age, three groups and conversion (Table 7)"
    script:
        "../scripts/probes.py"
