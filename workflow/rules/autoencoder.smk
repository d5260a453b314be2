"""Stage 1: the autoencoder (Table 2), and the latents of every scan."""


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
    threads: config["threads"]
    resources:
        mem_mb=32000,
        runtime=5760,
        gpu=GPUS,
    params:
        **TRAINING,
        settings=config["autoencoder"],
        run_dir=results("runs/autoencoder"),
        source=source(
            "training/autoencoder.py", "training/loop.py", "training/product.py"
        ),
    message:
        "Stage 1: training the autoencoder"
    script:
        "../scripts/train_autoencoder.py"


rule latents:
    input:
        volumes=results("cache/volumes/store.json"),
        autoencoder=results("models/autoencoder/model.json"),
    output:
        multiext(
            results("cache/latents/"), "mean.npy", "std.npy", "index.tsv", "store.json"
        ),
    log:
        logfile("latents.log"),
    benchmark:
        timing("latents.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=GPUS,
    params:
        settings=config["latents"],
        device=config["device"],
        source=source("data/latent_store.py"),
    message:
        "Encoding every scan: posterior mean and standard deviation"
    script:
        "../scripts/latents.py"
