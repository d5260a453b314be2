"""Trainings: the three stages and the baselines; or the authors' published weights."""

# Training -> its inputs besides the record (stores, models, pretrained files), MiB to add to 16,000
# a process, and minutes. The three stages wait for each other, so they begin before the baselines.
TRAINING_RULES = {
    "autoencoder": dict(
        stores=["volumes"],
        weights=autoencoder_weights,
        priority=1,
        mem_mb=16000,
        runtime=5760,
        message="Stage 1: training the autoencoder (Table 2)",
    ),
    "ldm": dict(
        stores=["latents"],
        models=["autoencoder"],
        priority=1,
        mem_mb=16000,
        runtime=2880,
        message="Stage 2: pretraining the latent diffusion model (Table 3)",
    ),
    "ldae": dict(
        stores=["volumes", "latents"],
        models=["autoencoder", "ldm"],
        weights=ldae_weights,
        priority=1,
        mem_mb=32000,
        runtime=5760,
        message="Stage 3: training the semantic encoder and the gradient estimator (Table 4)",
    ),
    "ldae_slices": dict(
        stores=["volumes", "latents"],
        models=["autoencoder", "ldm"],
        weights=encoder_weights,
        mem_mb=32000,
        runtime=5760,
        message="Baseline: training the LDAE with the paper's encoder of slices",
    ),
    "dae": dict(
        stores=["volumes"],
        weights=encoder_weights,
        mem_mb=32000,
        runtime=20160,
        message="Baseline: training the voxel-space diffusion autoencoder (Eq. 5)",
    ),
    **{
        f"supervised_{target}": dict(
            stores=["volumes"],
            weights=encoder_weights,
            mem_mb=16000,
            runtime=2880,
            message=f"Baseline: training the supervised encoder for {target}",
        )
        for target in ("diagnosis", "age")
    },
}

for training in trainings(config, published=bool(PUBLISHED)):
    about = TRAINING_RULES[training]
    processes = training_section(config, training)["processes"]

    rule:
        name:
            training
        input:
            **{store: ready_mark(store, training) for store in about["stores"]},
            **{
                model: results(f"models/{model}/model.json")
                for model in about.get("models", [])
            },
            settings=results(f"models/training/{training}.json"),
            weights=about.get("weights", []),
        output:
            multiext(
                results(f"models/{training}/"),
                "model.safetensors",
                "model.json",
                "history.tsv",
                "scans.tsv",
            ),
        log:
            logfile(f"{training}.log"),
        benchmark:
            timing(f"{training}.tsv")
        priority: about.get("priority", 0)
        conda:
            "../../envs/ldae.yaml"
        # config["threads"] is for one process; train.py divides the sum among the processes.
        threads: config["threads"] * processes
        resources:
            mem_mb=about["mem_mb"] + 16000 * processes,
            runtime=about["runtime"],
            gpu=GPUS * processes,
        params:
            stores=results("cache"),
            run_dir=results(f"runs/{training}"),
        message:
            about["message"]
        script:
            "../scripts/train.py"


if PUBLISHED:

    rule published:
        input:
            **PUBLISHED,
            settings=results("models/training/published.json"),
            # Only the form of the volumes is read (shape, spacing, grid), not the scans.
            volumes=ready_mark("volumes", "published", STAGES),
        output:
            autoencoder=multiext(
                results("models/autoencoder/"), "model.safetensors", "model.json"
            ),
            ldm=multiext(results("models/ldm/"), "model.safetensors", "model.json"),
            ldae=multiext(results("models/ldae/"), "model.safetensors", "model.json"),
        log:
            logfile("published.log"),
        benchmark:
            timing("published.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(24000),
            runtime=growing(60),
        params:
            out=lambda wildcards, output: parent_folder(output.ldae[0], 2),
            stores=results("cache"),
            source=source(
                "models.published.convert:convert",
                "models.published.authors_model:PARTS",
            ),
        message:
            "Converting the authors' published weights"
        script:
            "../scripts/published.py"
