"""Stage 1: the autoencoder (Table 2)."""

if not PUBLISHED:

    rule autoencoder:
        input:
            volumes=results("cache/volumes/store.json"),
            weights=autoencoder_weights,
        output:
            multiext(
                results("models/autoencoder/"),
                "model.safetensors",
                "model.json",
                "history.tsv",
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
            **TRAINING,
            settings=learnt(config["autoencoder"]),
            run_dir=results("runs/autoencoder"),
            source=source(
                "training/autoencoder.py", "training/loop.py", "training/product.py"
            ),
        message:
            "Stage 1: training the autoencoder"
        script:
            "../scripts/train.py"
