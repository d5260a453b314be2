"""Embeddings: y_sem of every scan, and the test predictions of the supervised baselines."""

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


SUPERVISED_TARGETS = ("diagnosis", "age") if "supervised" in config["baselines"] else ()

for target in SUPERVISED_TARGETS:

    rule:
        name:
            f"supervised_predictions_{target}"
        input:
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
            model=results(f"models/supervised_{target}/model.json"),
        output:
            results(f"evaluation/supervised_{target}.tsv"),
        log:
            logfile(f"supervised_predictions_{target}.log"),
        benchmark:
            timing(f"supervised_predictions_{target}.tsv")
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
            source=source("inference.supervised:predict_supervised"),
        message:
            f"Predicting {target} of test scans with the supervised encoder (Table 7)"
        script:
            "../scripts/supervised.py"
