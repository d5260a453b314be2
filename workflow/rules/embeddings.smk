"""Embeddings: y_sem of every scan, and the test predictions of the supervised baselines."""

# Model -> systems whose embeddings are made with it.
SYSTEMS_OF_MODEL = {"ldae": ("ldae", "untrained")}
if "dae" in config["baselines"]:
    SYSTEMS_OF_MODEL["dae"] = ("dae",)

for model, systems in SYSTEMS_OF_MODEL.items():
    job_name = "embeddings" if model == "ldae" else f"embeddings_{model}"

    rule:
        name:
            job_name
        input:
            volumes=results("cache/volumes/store.json"),
            model=results(f"models/{model}/model.json"),
        output:
            **{system: results(f"embeddings/{system}.npz") for system in systems},
        log:
            logfile(f"{job_name}.log"),
        benchmark:
            timing(f"{job_name}.tsv")
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
            source=source("inference.embeddings:embed"),
        message:
            f"Embedding every scan (y_sem): {', '.join(systems)}"
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
