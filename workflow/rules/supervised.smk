"""Baseline: the semantic encoder trained end to end on labels, and its test predictions."""

SUPERVISED_TARGETS = ("diagnosis", "age") if "supervised" in config["baselines"] else ()

for target in SUPERVISED_TARGETS:

    rule:
        name:
            f"supervised_{target}"
        input:
            settings=results(f"models/training/supervised_{target}.json"),
            volumes=ready("volumes", f"supervised_{target}"),
            weights=encoder_weights,
        output:
            multiext(
                results(f"models/supervised_{target}/"),
                "model.safetensors",
                "model.json",
                "history.tsv",
                "scans.tsv",
            ),
        log:
            logfile(f"supervised_{target}.log"),
        benchmark:
            timing(f"supervised_{target}.tsv")
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"] * config["supervised"]["processes"]
        resources:
            mem_mb=16000 + 16000 * config["supervised"]["processes"],
            runtime=2880,
            gpu=GPUS * config["supervised"]["processes"],
        params:
            stores=results("cache"),
            run_dir=results(f"runs/supervised_{target}"),
        message:
            f"Baseline: training the supervised encoder for {target}"
        script:
            "../scripts/train.py"

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
            f"Test predictions of {target} by the supervised encoder (Table 7)"
        script:
            "../scripts/supervised.py"
