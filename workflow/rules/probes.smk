"""Linear probes of frozen embeddings, and their comparison with a known truth."""


rule probes:
    input:
        latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
        ldae=results("embeddings/ldae.npz"),
        untrained=results("embeddings/untrained.npz"),
    output:
        table=results("tables/probes.tsv"),
        differences=results("tables/probes_differences.tsv"),
        classifier=results("evaluation/classifier.npz"),
        age_regressor=results("evaluation/age_regressor.npz"),
        lda=results("evaluation/lda_projection.tsv"),
        diagnosis=results("evaluation/predictions_diagnosis.tsv"),
        age=results("evaluation/predictions_age.tsv"),
    log:
        logfile("probes.log"),
    benchmark:
        timing("probes.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        **TRAINING,
        settings=evaluation("probes", "bootstrap"),
        source=source("evaluation/probes.py"),
    message:
        "Linear probes for diagnosis and age (Table 7)"
    script:
        "../scripts/probes.py"


if config["evaluation"]["truth"]:

    rule truth:
        input:
            latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
            ldae=results("embeddings/ldae.npz"),
            untrained=results("embeddings/untrained.npz"),
            truth=config["evaluation"]["truth"],
        output:
            table=results("tables/truth.tsv"),
            predictions=results("evaluation/truth_predictions.tsv"),
        log:
            logfile("truth.log"),
        benchmark:
            timing("truth.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=8000,
            runtime=60,
        params:
            **TRAINING,
            settings=evaluation("probes", "bootstrap"),
            source=source("evaluation/truth.py"),
        message:
            "Comparing probes with the known truth of a synthetic cohort"
        script:
            "../scripts/truth.py"
