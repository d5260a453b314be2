"""Stage 1: the autoencoder (Table 2)."""

if not PUBLISHED:

    rule autoencoder:
        input:
            settings=results("models/training/autoencoder.json"),
            volumes=ready("volumes", "autoencoder"),
            weights=autoencoder_weights,
        output:
            multiext(
                results("models/autoencoder/"),
                "model.safetensors",
                "model.json",
                "history.tsv",
                "scans.tsv",
            ),
        log:
            logfile("autoencoder.log"),
        benchmark:
            timing("autoencoder.tsv")
        conda:
            "../../envs/ldae.yaml"
        # config["threads"] is of one process; train.py shares them out.
        threads: config["threads"] * config["autoencoder"]["processes"]
        resources:
            mem_mb=16000 + 16000 * config["autoencoder"]["processes"],
            runtime=5760,
            gpu=GPUS * config["autoencoder"]["processes"],
        params:
            stores=results("cache"),
            run_dir=results("runs/autoencoder"),
        message:
            "Stage 1: training the autoencoder"
        script:
            "../scripts/train.py"
