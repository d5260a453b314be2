"""Embeddings: y_sem of every scan, and the test predictions of the supervised baselines."""

from itertools import product

for system, about in TRAINED_SYSTEMS.items():
    if not about["embeddings"]:
        continue

    rule:
        name:
            with_system("embeddings", system, "")
        input:
            volumes=results("cache/volumes/store.json"),
            model=about["models"][about["encoder"]],
        output:
            **{name: results(f"embeddings/{name}.npz") for name in about["embeddings"]},
        log:
            logfile(with_system("embeddings", system, ".log")),
        benchmark:
            timing(with_system("embeddings", system, ".tsv"))
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=growing(16000),
            runtime=growing(240),
            gpu=GPUS,
        params:
            seed=config["seed"],
            batch_size=config["evaluation"]["batch_size"],
            encoders=about["embeddings"],
            source=source("inference.embeddings:embed", *about["embeddings"].values()),
        message:
            f"Embedding every scan (y_sem): {', '.join(about['embeddings'])}"
        script:
            "../scripts/embeddings.py"


# Encoders of others, whose vectors are probed like y_sem.
ENCODERS = config["evaluation"]["external_encoders"]


rule embeddings_encoder:
    input:
        volumes=results("cache/volumes/store.json"),
        weights=lambda wildcards: ENCODERS[wildcards.encoder]["path"],
    output:
        results("embeddings/{encoder}.npz"),
    log:
        logfile("embeddings_encoder/{encoder}.log"),
    benchmark:
        timing("embeddings_encoder/{encoder}.tsv")
    wildcard_constraints:
        encoder=one_of(ENCODERS),
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=growing(16000),
        runtime=growing(240),
        gpu=GPUS,
    params:
        encoder=lambda wildcards: ENCODERS[wildcards.encoder],
        batch_size=config["evaluation"]["batch_size"],
        source=source("inference.external_encoder:embed_with"),
    message:
        "Vectors of every scan by the encoder {wildcards.encoder}"
    script:
        "../scripts/embeddings_encoder.py"


SUPERVISED_TARGETS = ("diagnosis", "age") if "supervised" in config["baselines"] else ()

# Splits to predict, with the suffix of their rules and files.
PREDICTED_SPLITS = {
    "test": "",
    **({"external": "_external"} if EXTERNAL_COHORTS else {}),
}

for target, split in product(SUPERVISED_TARGETS, PREDICTED_SPLITS):
    suffix = PREDICTED_SPLITS[split]

    rule:
        name:
            f"supervised_predictions_{target}{suffix}"
        input:
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
            model=results(f"models/supervised_{target}/model.json"),
        output:
            results(f"evaluation/supervised_{target}{suffix}.tsv"),
        log:
            logfile(f"supervised_predictions_{target}{suffix}.log"),
        benchmark:
            timing(f"supervised_predictions_{target}{suffix}.tsv")
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=growing(16000),
            runtime=growing(240),
            gpu=GPUS,
        params:
            seed=config["seed"],
            batch_size=config["evaluation"]["batch_size"],
            split=split,
            source=source("inference.supervised:predict_supervised"),
        message:
            f"Predicting {target} of {split} scans with the supervised encoder (Table 7)"
        script:
            "../scripts/supervised.py"
