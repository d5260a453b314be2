"""Stage 3: semantic encoder and gradient estimator (Table 4, Eq. 9), and the embeddings."""

if not PUBLISHED:

    rule ldae:
        input:
            settings=results("models/training/ldae.json"),
            volumes=ready("volumes", "ldae"),
            latents=ready("latents", "ldae"),
            autoencoder=results("models/autoencoder/model.json"),
            ldm=results("models/ldm/model.json"),
            weights=encoder_weights,
        output:
            multiext(
                results("models/ldae/"),
                "model.safetensors",
                "model.json",
                "history.tsv",
                "scans.tsv",
            ),
        log:
            logfile("ldae.log"),
        benchmark:
            timing("ldae.tsv")
        conda:
            "../../envs/ldae.yaml"
        # config["threads"] is of one process; train.py shares them out.
        threads: config["threads"] * config["ldae"]["processes"]
        resources:
            mem_mb=32000 + 16000 * config["ldae"]["processes"],
            runtime=5760,
            gpu=GPUS * config["ldae"]["processes"],
        params:
            stores=results("cache"),
            run_dir=results("runs/ldae"),
        message:
            "Stage 3: training the semantic encoder and the gradient estimator"
        script:
            "../scripts/train.py"


rule embeddings:
    input:
        volumes=results("cache/volumes/store.json"),
        ldm=results("models/ldm/model.json"),
        ldae=results("models/ldae/model.json"),
    output:
        ldae=results("embeddings/ldae.npz"),
        untrained=results("embeddings/untrained.npz"),
    log:
        logfile("embeddings.log"),
    benchmark:
        timing("embeddings.tsv")
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
        "y_sem of every scan, by the trained and by an untrained encoder"
    script:
        "../scripts/embeddings.py"
