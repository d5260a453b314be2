"""Linear probes of frozen embeddings: a job for each target, and their tables (Table 7)."""

# Systems with embeddings (a vector of every scan), and models that predict by themselves.
EMBEDDINGS = {
    name: results(f"embeddings/{name}.npz")
    for about in TRAINED_SYSTEMS.values()
    for name in about["embeddings"]
} | {name: results(f"embeddings/{name}.npz") for name in ENCODERS}
PREDICTIONS = {
    target: results(f"evaluation/supervised_{target}.tsv")
    for target in SUPERVISED_TARGETS
}


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


rule latents_pca:
    input:
        latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
    output:
        results("evaluation/latents_pca.npz"),
    log:
        logfile("latents_pca.log"),
    benchmark:
        timing("latents_pca.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        seed=config["seed"],
        source=source("evaluation.probes.features:write_latents_pca"),
    message:
        "Finding the principal components of the autoencoder's latents"
    script:
        "../scripts/latents_pca.py"


# Parts of a target's results; the tables of all targets are made from them.
TARGET_PARTS = ("scores", "differences", "summary", "contrasts", "calibration")
# Further files of the two targets whose probes are directions of the manipulation.
CLASSIFIER = results("evaluation/classifier.npz")
AGE_REGRESSOR = results("evaluation/age_regressor.npz")
PROJECTION = results("evaluation/lda_projection.tsv")
TARGET_FILES = {
    DIAGNOSIS_TARGET: dict(model=CLASSIFIER, projection=PROJECTION),
    AGE_TARGET: dict(model=AGE_REGRESSOR),
}

for name, target in PROBE_TARGETS.items():

    rule:
        name:
            f"probe_{name}"
        input:
            **EMBEDDINGS,
            **ORACLE,
            **target_files(target),
            predictions=PREDICTIONS.get(name, []),
            latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
            pca=rules.latents_pca.output[0],
            volumes=rules.tissue_volumes.output[0],
            visits=results("cohort/scans.tsv"),
        output:
            **{part: of_target(name, part) for part in TARGET_PARTS},
            **TARGET_FILES.get(name, {}),
            predictions=results(f"evaluation/predictions_{name}.tsv"),
        log:
            logfile(f"probe_{name}.log"),
        benchmark:
            timing(f"probe_{name}.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(8000),
            runtime=growing(120),
        params:
            seed=config["seed"],
            systems=list(EMBEDDINGS),
            target=name,
            about=config["evaluation"]["targets"][name],
            settings=evaluation("probes", "bootstrap", "target_splits"),
            change_hash=tables_change_hash if target.study_table else None,
            source=source(
                "evaluation.probes.evaluate:evaluate_target",
                "evaluation.probes.evaluate:Sources",
                "evaluation.probes.joined_table:scan_list",
                "evaluation.probes.joined_table:study_table",
            ),
        message:
            f"Fitting linear probes for {target.label} (Table 7)"
        script:
            "../scripts/probe_target.py"


STANDARD_TARGETS = [name for name in STANDARD if name in PROBE_TARGETS]


rule probes:
    input:
        scores=[of_target(name, "scores") for name in STANDARD_TARGETS],
        differences=[of_target(name, "differences") for name in STANDARD_TARGETS],
    output:
        table=results("tables/probes.tsv"),
        differences=results("tables/probes_differences.tsv"),
    log:
        logfile("probes.log"),
    benchmark:
        timing("probes.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        source=source("evaluation.probes.all_targets:join_tables"),
    message:
        "Joining the scores of the paper's targets (Table 7)"
    script:
        "../scripts/probes.py"


rule targets:
    input:
        **{
            part: [of_target(name, part) for name in PROBE_TARGETS]
            for part in ("summary", "contrasts", "calibration")
        },
    output:
        summary=results("tables/targets.tsv"),
        contrasts=results("tables/targets_differences.tsv"),
        calibration=results("tables/targets_calibration.tsv"),
    log:
        logfile("targets.log"),
    benchmark:
        timing("targets.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        source=source("evaluation.probes.all_targets:write_targets"),
    message:
        "Correcting the p values of all targets for their number"
    script:
        "../scripts/targets.py"
